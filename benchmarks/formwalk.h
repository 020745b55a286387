/* Follow a form with one file in it that passes by in pieces, summing the file without keeping it. */
#ifndef FORMWALK_H
#define FORMWALK_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "crc32c.h"

#define FORM_BOUNDARY_BYTES 70 /* RFC 2046 */
#define FORM_HEAD_BYTES 4096   /* more than any file's name takes */

struct form_walk {
    char opening[FORM_BOUNDARY_BYTES + 5]; /* --boundary and the line's end */
    char closing[FORM_BOUNDARY_BYTES + 9]; /* what follows the file's last byte, to the body's end */
    size_t opening_length, closing_length;
    char head[FORM_HEAD_BYTES];
    size_t head_length;
    unsigned char held[FORM_BOUNDARY_BYTES + 9]; /* the last bytes that came: the closing, if nothing follows */
    size_t held_length;
    bool in_file, malformed;
    bool sums; /* whether to take the file's checksum as well */
    uint32_t crc;
    uint64_t bytes;
};

static inline void form_begin(struct form_walk *walk, const char *content_type, bool sums)
{
    const char *boundary = strstr(content_type, "boundary=");
    boundary = boundary == NULL ? "" : boundary + strlen("boundary=");
    boundary += *boundary == '"';
    int length = (int)strcspn(boundary, "\"; \t");
    *walk = (struct form_walk){.sums = sums, .crc = CRC32C_START};
    walk->malformed = length == 0 || length > FORM_BOUNDARY_BYTES || strncmp(content_type, "multipart/form-data", 19) != 0;
    if (walk->malformed)
        return;
    walk->opening_length = (size_t)snprintf(walk->opening, sizeof walk->opening, "--%.*s\r\n", length, boundary);
    walk->closing_length = (size_t)snprintf(walk->closing, sizeof walk->closing, "\r\n--%.*s--\r\n", length, boundary);
}

static inline void form_take(struct form_walk *walk, const unsigned char *bytes, size_t length)
{
    if (walk->sums)
        walk->crc = crc32c_update(walk->crc, bytes, length);
    walk->bytes += length;
}

/* Take bytes of the file and of what closes it; as many as a closing has are kept back. */
static inline void form_feed_file(struct form_walk *walk, const unsigned char *bytes, size_t length)
{
    size_t all = walk->held_length + length;
    size_t free_to_go = all > walk->closing_length ? all - walk->closing_length : 0;
    size_t of_held = free_to_go < walk->held_length ? free_to_go : walk->held_length;
    form_take(walk, walk->held, of_held);
    form_take(walk, bytes, free_to_go - of_held);
    memmove(walk->held, walk->held + of_held, walk->held_length - of_held);
    walk->held_length -= of_held;
    memcpy(walk->held + walk->held_length, bytes + (free_to_go - of_held), length - (free_to_go - of_held));
    walk->held_length += length - (free_to_go - of_held);
}

/* Take a byte of the part's head, up to the empty line behind it. */
static inline void form_feed_head(struct form_walk *walk, unsigned char byte)
{
    if (walk->head_length == FORM_HEAD_BYTES) {
        walk->malformed = true;
        return;
    }
    walk->head[walk->head_length++] = (char)byte;
    if (walk->head_length < 4 || memcmp(walk->head + walk->head_length - 4, "\r\n\r\n", 4) != 0)
        return;
    walk->in_file = true;
    walk->malformed = walk->head_length < walk->opening_length ||
                      memcmp(walk->head, walk->opening, walk->opening_length) != 0;
}

/* Take the next piece of the form, of any length. */
static inline void form_feed(struct form_walk *walk, const unsigned char *bytes, size_t length)
{
    for (; length > 0 && !walk->in_file && !walk->malformed; bytes++, length--)
        form_feed_head(walk, *bytes);
    if (!walk->malformed)
        form_feed_file(walk, bytes, length);
}

/* Whether the form was whole: one file, and nothing behind it but what closes a form. */
static inline bool form_is_whole(const struct form_walk *walk)
{
    return walk->in_file && !walk->malformed && walk->held_length == walk->closing_length &&
           memcmp(walk->held, walk->closing, walk->closing_length) == 0;
}

#endif
