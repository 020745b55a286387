/* Just enough of S3 for clients that send every file as an object of its own: one bucket, whose objects are known by
 * their sizes and sums alone. Signatures are not looked at, and listings are empty, so that whoever looks first sends all. */
#ifndef OBJECTS_H
#define OBJECTS_H

#include "crc32c.h"
#include "server.h"
#include "store.h"

#define BUCKET "/objects"

struct object {
    uint64_t key; /* a hash of its name; 0 in a free place */
    uint64_t bytes;
    uint32_t crc;
};

static struct {
    struct object *places;
    size_t count, room; /* room is a power of two, at most half full */
} objects;

static inline bool is_of_bucket(const struct request *request)
{
    size_t length = strlen(BUCKET);
    return strncmp(request->path, BUCKET, length) == 0 && (request->path[length] == '/' || request->path[length] == '\0');
}

/* The name of an object, "" of the bucket itself. */
static inline const char *object_name(const struct request *request)
{
    const char *name = request->path + strlen(BUCKET);
    return name + (*name == '/');
}

static inline uint64_t object_key(const char *name)
{
    uint64_t key = 14695981039346656037u; /* FNV-1a */
    for (; *name != '\0'; name++)
        key = (key ^ (unsigned char)*name) * 1099511628211u;
    return key == 0 ? 1 : key;
}

/* The place of an object, or the free one where it belongs. Hold the lock, and let there be room. */
static inline struct object *objects_find(uint64_t key)
{
    size_t at = key & (objects.room - 1);
    while (objects.places[at].key != 0 && objects.places[at].key != key)
        at = (at + 1) & (objects.room - 1);
    return &objects.places[at];
}

static inline void objects_make_room(void)
{
    struct object *before = objects.places;
    size_t room = objects.room;
    if (2 * (objects.count + 1) <= room)
        return;
    objects.room = room ? 2 * room : 1024;
    objects.places = calloc(objects.room, sizeof *objects.places);
    if (objects.places == NULL)
        abort();
    for (size_t at = 0; at < room; at++)
        if (before[at].key != 0)
            *objects_find(before[at].key) = before[at];
    free(before);
}

/* Forget all of them. Hold the lock. */
static inline void objects_reset(void)
{
    free(objects.places);
    objects.places = NULL;
    objects.count = objects.room = 0;
}

/* Keep what is known of an object: a second one of its name replaces the first. Hold the lock. */
static inline void objects_keep(const struct object *object)
{
    struct totals *totals = &store.totals;
    objects_make_room();
    struct object *place = objects_find(object->key);
    objects.count += place->key == 0;
    totals->images += place->key == 0;
    totals->image_bytes += object->bytes - place->bytes;
    totals->image_sum += (uint64_t)object->crc - place->crc;
    totals->puts++;
    totals->body_bytes += object->bytes;
    totals->last_put = monotonic_seconds();
    *place = *object;
}

static inline bool put_object(struct connection *connection, struct request *request)
{
    const unsigned char *span;
    ssize_t length;
    uint32_t state = CRC32C_START;
    struct object object = {.key = object_key(object_name(request))};
    char headers[64];
    store_note_first_byte();
    while ((length = request_body(connection, request, &span)) > 0) {
        object.bytes += (uint64_t)length;
        if (store.sums)
            state = crc32c_update(state, span, (size_t)length);
    }
    if (length < 0)
        return false;
    object.crc = store.sums ? crc32c_value(state) : 0;
    pthread_mutex_lock(&store.lock);
    objects_keep(&object);
    pthread_mutex_unlock(&store.lock);
    snprintf(headers, sizeof headers, "ETag: \"%08x-1\"\r\n", (unsigned)object.crc); /* the form of one that is no MD5 */
    return answer(connection, "200 OK", headers, "", NULL);
}

static inline bool head_object(struct connection *connection, const char *name)
{
    char whole[256];
    pthread_mutex_lock(&store.lock);
    struct object object = objects.room ? *objects_find(object_key(name)) : (struct object){.key = 0};
    pthread_mutex_unlock(&store.lock);
    if (object.key == 0)
        return answer(connection, "404 Not Found", "", "", NULL);
    int length = snprintf(whole, sizeof whole,
                          "HTTP/1.1 200 OK\r\nContent-Length: %llu\r\nETag: \"%08x-1\"\r\n"
                          "Last-Modified: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n",
                          (unsigned long long)object.bytes, (unsigned)object.crc);
    return connection_send(connection, whole, (size_t)length);
}

static inline bool answer_listing(struct connection *connection, const struct request *request)
{
    struct text body = {NULL, 0, 0};
    bool locates = request_value(request, "location") != NULL || strncmp(request->query, "location", 8) == 0;
    text_add(&body, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    if (locates)
        text_add(&body, "<LocationConstraint xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"/>");
    else
        text_add(&body, "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>%s</Name><Prefix/>"
                        "<KeyCount>0</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>",
                 BUCKET + 1);
    bool sent = answer(connection, "200 OK", "", "application/xml", &body);
    free(body.data);
    return sent;
}

/* Everything below the bucket's path. */
static inline bool serve_bucket(struct connection *connection, struct request *request)
{
    const char *name = object_name(request);
    if (strcmp(request->method, "PUT") == 0 && *name != '\0')
        return put_object(connection, request);
    if (!discard_body(connection, request))
        return false;
    if (strcmp(request->method, "HEAD") == 0 && *name != '\0')
        return head_object(connection, name);
    if (strcmp(request->method, "GET") == 0 && *name == '\0')
        return answer_listing(connection, request);
    if (*name == '\0') /* the bucket is made, or asked for */
        return answer(connection, "200 OK", "", "", NULL);
    return answer(connection, "501 Not Implemented", "", "", NULL);
}

#endif
