/* Follow a tar that passes by in pieces, head by head, counting the images in it without keeping anything. */
#ifndef TARWALK_H
#define TARWALK_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "crc32c.h"

#define TAR_BLOCK 512

struct tar_walk {
    unsigned char head[TAR_BLOCK];
    size_t filled;         /* bytes of the next head that are here */
    uint64_t content_left; /* bytes of the present member that are still to come */
    uint64_t padding_left;
    bool counts;    /* the present member is an image */
    bool ended;     /* the closing zero block was seen */
    bool malformed; /* a head's checksum was wrong: nothing behind it can be believed */
    bool sums;      /* whether to take the checksum of each image as well */
    uint32_t crc;
    uint64_t images, image_bytes, image_sum; /* the sum is of all images' crc32c: the same in any order and any sharding */
};

static inline bool tar_is_zero(const unsigned char *head)
{
    static const unsigned char zeros[TAR_BLOCK];
    return memcmp(head, zeros, TAR_BLOCK) == 0;
}

static inline bool tar_checks(const unsigned char *head)
{
    uint32_t sum = 8 * ' '; /* the checksum's own field counts as spaces */
    for (int at = 0; at < TAR_BLOCK; at++)
        sum += head[at];
    for (int at = 148; at < 156; at++)
        sum -= head[at];
    return strtoul((const char *)head + 148, NULL, 8) == sum;
}

static inline void tar_finish_member(struct tar_walk *walk)
{
    if (walk->counts && walk->sums)
        walk->image_sum += crc32c_value(walk->crc);
    walk->counts = false;
}

static inline void tar_read_head(struct tar_walk *walk)
{
    walk->filled = 0;
    if (tar_is_zero(walk->head)) {
        walk->ended = true;
        return;
    }
    if (!tar_checks(walk->head)) {
        walk->malformed = walk->ended = true;
        return;
    }
    char size[13] = {0}; /* octal: enough for images, larger sizes need forms that no contender uses */
    memcpy(size, walk->head + 124, 12);
    walk->content_left = strtoull(size, NULL, 8);
    walk->padding_left = (TAR_BLOCK - walk->content_left % TAR_BLOCK) % TAR_BLOCK;
    char kind = (char)walk->head[156];
    walk->counts = (kind == '0' || kind == '\0') && strncmp((char *)walk->head, "notification_config.json", 100) != 0;
    walk->crc = CRC32C_START;
    if (walk->counts) {
        walk->images++;
        walk->image_bytes += walk->content_left;
    }
    if (walk->content_left == 0)
        tar_finish_member(walk);
}

static inline size_t tar_take(uint64_t *left, size_t length)
{
    size_t taken = *left < length ? (size_t)*left : length;
    *left -= taken;
    return taken;
}

/* Take the next piece of the tar, of any length. */
static inline void tar_feed(struct tar_walk *walk, const unsigned char *bytes, size_t length)
{
    while (length > 0 && !walk->ended) {
        size_t taken;
        if (walk->content_left > 0) {
            taken = tar_take(&walk->content_left, length);
            if (walk->sums && walk->counts)
                walk->crc = crc32c_update(walk->crc, bytes, taken);
            if (walk->content_left == 0)
                tar_finish_member(walk);
        } else if (walk->padding_left > 0) {
            taken = tar_take(&walk->padding_left, length);
        } else {
            taken = TAR_BLOCK - walk->filled < length ? TAR_BLOCK - walk->filled : length;
            memcpy(walk->head + walk->filled, bytes, taken);
            walk->filled += taken;
            if (walk->filled == TAR_BLOCK)
                tar_read_head(walk);
        }
        bytes += taken;
        length -= taken;
    }
}

/* Whether the tar was whole: every member complete and the closing block seen. */
static inline bool tar_is_whole(const struct tar_walk *walk) { return walk->ended && !walk->malformed; }

#endif
