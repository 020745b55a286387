/* What the sink remembers: batches, their shards, and totals. The bytes themselves are thrown away. */
#ifndef STORE_H
#define STORE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clock.h"

struct shard {
    bool stored;
    uint64_t images;
};

struct batch {
    char id[65];
    bool simple; /* it was begun by a single image */
    time_t created;
    struct shard *shards; /* a shard's number is its place */
    size_t shard_count, shard_room;
    uint64_t images;
};

struct totals {
    uint64_t requests, grants, puts, malformed;
    uint64_t body_bytes, images, image_bytes, image_sum;
    uint64_t crc_sum;
    double first_request, first_put, last_put; /* seconds of the monotonic clock, 0 when there was none */
};

static struct {
    pthread_mutex_t lock;
    struct batch *batches;
    size_t batch_count, batch_room;
    struct totals totals;
    bool sums; /* whether each image's checksum is taken, which costs time */
} store = {.lock = PTHREAD_MUTEX_INITIALIZER};

static inline void *store_grow(void *items, size_t count, size_t *room, size_t size)
{
    if (count < *room)
        return items;
    *room = *room ? 2 * *room : 16;
    items = realloc(items, *room * size);
    if (items == NULL)
        abort();
    return items;
}

/* The batch of that name or NULL. Hold the lock. */
static inline struct batch *store_find(const char *id)
{
    for (size_t at = 0; at < store.batch_count; at++)
        if (strcmp(store.batches[at].id, id) == 0)
            return &store.batches[at];
    return NULL;
}

/* The batch of that name, begun if there is none. Hold the lock. */
static inline struct batch *store_begin(const char *id, bool simple)
{
    struct batch *batch = store_find(id);
    if (batch == NULL) {
        store.batches = store_grow(store.batches, store.batch_count, &store.batch_room, sizeof *batch);
        batch = &store.batches[store.batch_count++];
        *batch = (struct batch){.created = time(NULL), .simple = simple};
        snprintf(batch->id, sizeof batch->id, "%s", id);
    }
    return batch;
}

/* Register a shard, and its batch with it if it is the first. Hold the lock. */
static inline size_t store_grant(const char *id)
{
    struct batch *batch = store_begin(id, false);
    batch->shards = store_grow(batch->shards, batch->shard_count, &batch->shard_room, sizeof *batch->shards);
    batch->shards[batch->shard_count] = (struct shard){.stored = false};
    store.totals.grants++;
    return batch->shard_count++;
}

/* Keep what is known of a shard; a second PUT replaces the first. Hold the lock. */
static inline void store_keep(struct batch *batch, struct shard *shard, uint64_t images)
{
    batch->images += images - (shard->stored ? shard->images : 0);
    *shard = (struct shard){.stored = true, .images = images};
}

static inline void store_note_request(void)
{
    pthread_mutex_lock(&store.lock);
    store.totals.requests++;
    if (store.totals.first_request == 0)
        store.totals.first_request = monotonic_seconds();
    pthread_mutex_unlock(&store.lock);
}

static inline void store_note_first_byte(void)
{
    pthread_mutex_lock(&store.lock);
    if (store.totals.first_put == 0)
        store.totals.first_put = monotonic_seconds();
    pthread_mutex_unlock(&store.lock);
}

static inline void store_reset(bool sums)
{
    pthread_mutex_lock(&store.lock);
    for (size_t at = 0; at < store.batch_count; at++)
        free(store.batches[at].shards);
    store.batch_count = 0;
    store.totals = (struct totals){.requests = 0};
    store.sums = sums;
    pthread_mutex_unlock(&store.lock);
}

#endif
