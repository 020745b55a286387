/* The sink of the benchmarks: Roboflow's data staging service and the store behind its signed URLs, in one process
 * that counts and checks what arrives and throws it away, so that a client's speed is seen and not a server's.
 *
 *     sink                  listen on a free port of 127.0.0.1, print it, serve until standard input ends
 *     sink CERT KEY         the same, and let grants lead to another port, over TLS (compiled with -DWITH_TLS)
 *
 *     GET  /_stats          totals since the last reset
 *     POST /_reset          forget everything; ?sums=1 takes each image's checksum from now on, &port=N lets grants
 *                           lead to that port
 *     PUT  /raw/…           any tar, for contenders that know nothing of the service
 *     PUT  /objects/NAME    one image, as a client of S3 sends it
 *
 * Every request with an api key counts as authorised. A thread serves each connection. */
#define _GNU_SOURCE
#include "crc32c.h"
#include "formwalk.h"
#include "objects.h"
#include "server.h"
#include "store.h"
#include "tarwalk.h"

#define STAGING "/data-staging/v1/external/"
#define SHARD_LIMIT_BYTES 5368709120ull /* above any contender's shard */
#define DAY_SECONDS 86400

/* What arrived in the body of one PUT. */
struct receipt {
    uint64_t bytes;
    uint32_t crc;
    struct tar_walk walk;
};

static bool receive_tar(struct connection *connection, struct request *request, struct receipt *receipt)
{
    const unsigned char *span;
    ssize_t length;
    uint32_t state = CRC32C_START;
    *receipt = (struct receipt){.walk.sums = store.sums};
    while ((length = request_body(connection, request, &span)) > 0) {
        if (receipt->bytes == 0)
            store_note_first_byte();
        receipt->bytes += (uint64_t)length;
        state = crc32c_update(state, span, (size_t)length);
        tar_feed(&receipt->walk, span, (size_t)length);
    }
    receipt->crc = crc32c_value(state);
    return length == 0;
}

static void base64_crc(uint32_t crc, char encoded[9])
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint64_t bits = (uint64_t)crc << 16; /* four bytes, padded to six */
    for (int at = 0; at < 8; at++)
        encoded[at] = letters[bits >> (42 - 6 * at) & 63];
    memcpy(encoded + 6, "==", 3);
}

static void count_receipt(const struct receipt *receipt)
{
    struct totals *totals = &store.totals;
    totals->puts++;
    totals->last_put = monotonic_seconds();
    totals->malformed += tar_is_whole(&receipt->walk) ? 0 : 1;
    totals->body_bytes += receipt->bytes;
    totals->crc_sum += receipt->crc;
    totals->images += receipt->walk.images;
    totals->image_bytes += receipt->walk.image_bytes;
    totals->image_sum += receipt->walk.image_sum;
}

static bool answer_stored(struct connection *connection, uint32_t crc)
{
    char encoded[9], headers[128];
    base64_crc(crc, encoded);
    snprintf(headers, sizeof headers, "x-goog-hash: crc32c=%s\r\nETag: \"%08x\"\r\n", encoded, (unsigned)crc);
    return answer(connection, "200 OK", headers, "", NULL);
}

static bool put_shard(struct connection *connection, struct request *request)
{
    struct receipt receipt;
    char id[65];
    unsigned long number;
    if (!receive_tar(connection, request, &receipt))
        return false;
    bool known = false;
    bool named = sscanf(request->path, "/store/%64[^/]/%lu", id, &number) == 2;
    pthread_mutex_lock(&store.lock);
    struct batch *batch = named ? store_find(id) : NULL;
    if (batch != NULL && number < batch->shard_count) {
        known = true;
        store_keep(batch, &batch->shards[number], receipt.walk.images);
    }
    if (known || strncmp(request->path, "/raw/", 5) == 0) {
        known = true;
        count_receipt(&receipt);
    }
    pthread_mutex_unlock(&store.lock);
    return known ? answer_stored(connection, receipt.crc) : answer_failure(connection, "404 Not Found", "no such grant");
}

static int advertised_port; /* where grants lead: a line that ends here, or 0 for this very port */

static int grant_port(void)
{
    return advertised_port ? advertised_port : tls_port ? tls_port : listening_port;
}

static bool post_grant(struct connection *connection, const char *id)
{
    char date[32];
    time_t now = time(NULL);
    struct tm parts;
    strftime(date, sizeof date, "%Y%m%dT%H%M%SZ", gmtime_r(&now, &parts));
    pthread_mutex_lock(&store.lock);
    size_t number = store_grant(id);
    pthread_mutex_unlock(&store.lock);
    struct text body = {NULL, 0, 0};
    text_add(&body,
             "{\"status\": \"ok\", \"signedURLDetails\": {\"uploadURL\": \"%s://127.0.0.1:%d/store/%s/%zu"
             "?X-Goog-Algorithm=GOOG4-RSA-SHA256&X-Goog-Credential=bench%%2F%.8s%%2Fauto%%2Fstorage%%2Fgoog4_request"
             "&X-Goog-Date=%s&X-Goog-Expires=3600&X-Goog-SignedHeaders=host%%3Bx-goog-content-length-range"
             "&X-Goog-Signature=%064zx\", \"method\": \"PUT\", \"maxFileSizeBytes\": %llu, "
             "\"extensionHeaders\": {\"x-goog-content-length-range\": \"0,%llu\"}}}",
             tls_port ? "https" : "http", grant_port(), id, number, date, date, number, SHARD_LIMIT_BYTES, SHARD_LIMIT_BYTES);
    bool sent = answer_json(connection, "200 OK", &body);
    free(body.data);
    return sent;
}

static void add_metadata(struct text *text, const struct batch *batch)
{
    text_add(text,
             "{\"displayName\": \"%s\", \"batchId\": \"%s\", \"batchType\": \"%s\", "
             "\"batchContentType\": \"images\", \"createdDate\": ",
             batch->id, batch->id, batch->simple ? "simple-batch" : "sharded-batch");
    add_date(text, batch->created);
    text_add(text, ", \"expiryDate\": ");
    add_date(text, batch->created + 7 * DAY_SECONDS);
    text_add(text, "}");
}

static void add_page_token(struct text *text, size_t next, size_t count)
{
    if (next < count)
        text_add(text, "], \"nextPageToken\": \"%zu\"}", next);
    else
        text_add(text, "], \"nextPageToken\": null}");
}

static void add_batches(struct text *text, const struct request *request)
{
    size_t at = request_number(request, "nextPageToken", 0);
    size_t rows = request_number(request, "pageSize", 100);
    const char *separator = "";
    text_add(text, "{\"batches\": [");
    for (; at < store.batch_count && rows > 0; at++, rows--, separator = ", ") {
        text_add(text, "%s", separator);
        add_metadata(text, &store.batches[at]);
    }
    add_page_token(text, at, store.batch_count);
}

static void add_shards(struct text *text, const struct request *request, const struct batch *batch)
{
    size_t at = request_number(request, "nextPageToken", 0);
    size_t rows = request_number(request, "pageSize", 100);
    const char *separator = "";
    text_add(text, "{\"shards\": [");
    for (; at < batch->shard_count && rows > 0; at++) {
        if (!batch->shards[at].stored)
            continue;
        text_add(text,
                 "%s{\"shardId\": \"shard-%zu\", \"statusName\": \"shard-indexed\", \"statusType\": \"success\", "
                 "\"shardObjectsCount\": %llu, \"statusMetadata\": {}, \"eventTimestamp\": ",
                 separator, at, (unsigned long long)batch->shards[at].images);
        add_date(text, batch->created);
        text_add(text, "}");
        separator = ", ";
        rows--;
    }
    add_page_token(text, at, batch->shard_count);
}

/* Everything under …/batches that is read. `rest` is what follows the batch, without its slash. */
static bool get_batch(struct connection *connection, const struct request *request, const char *id, const char *rest)
{
    struct text body = {NULL, 0, 0};
    pthread_mutex_lock(&store.lock);
    const struct batch *batch = store_find(id);
    if (*id == '\0') {
        add_batches(&body, request);
    } else if (batch != NULL && *rest == '\0') {
        text_add(&body, "{\"batch\": ");
        add_metadata(&body, batch);
        text_add(&body, "}");
    } else if (batch != NULL && strcmp(rest, "count") == 0) {
        text_add(&body, "{\"count\": %llu}", (unsigned long long)batch->images);
    } else if (batch != NULL && strcmp(rest, "shards") == 0) {
        add_shards(&body, request, batch);
    }
    pthread_mutex_unlock(&store.lock);
    bool sent = body.data != NULL ? answer_json(connection, "200 OK", &body)
                                  : answer_failure(connection, "404 Not Found", "no such batch");
    free(body.data);
    return sent;
}

static void count_image(const struct form_walk *walk, const char *id)
{
    struct totals *totals = &store.totals;
    totals->puts++;
    totals->last_put = monotonic_seconds();
    totals->body_bytes += walk->bytes;
    if (!form_is_whole(walk)) {
        totals->malformed++;
        return;
    }
    store_begin(id, true)->images++;
    totals->images++;
    totals->image_bytes += walk->bytes;
    totals->image_sum += walk->sums ? crc32c_value(walk->crc) : 0;
}

static bool post_image(struct connection *connection, struct request *request, const char *id)
{
    struct form_walk walk;
    const unsigned char *span;
    ssize_t length;
    form_begin(&walk, request->content_type, store.sums);
    store_note_first_byte();
    while ((length = request_body(connection, request, &span)) > 0)
        form_feed(&walk, span, (size_t)length);
    if (length < 0)
        return false;
    pthread_mutex_lock(&store.lock);
    count_image(&walk, id);
    pthread_mutex_unlock(&store.lock);
    if (!form_is_whole(&walk))
        return answer_failure(connection, "400 Bad Request", "no form of one file");
    struct text body = {NULL, 0, 0};
    text_add(&body, "{\"status\": \"ok\"}");
    bool sent = answer_json(connection, "200 OK", &body);
    free(body.data);
    return sent;
}

static bool serve_staging(struct connection *connection, struct request *request)
{
    char id[65] = "", rest[64] = "";
    int parts = sscanf(request->path + strlen(STAGING), "%*[^/]/batches/%64[^/]/%63s", id, rest);
    bool posts = strcmp(request->method, "POST") == 0;
    if (posts && parts == 2 && strcmp(rest, "upload/image") == 0)
        return post_image(connection, request, id);
    if (!discard_body(connection, request))
        return false;
    if (!posts)
        return get_batch(connection, request, id, rest);
    if (parts == 2 && strcmp(rest, "bulk-upload/image-files") == 0)
        return post_grant(connection, id);
    return answer_failure(connection, "404 Not Found", "the sink has no such call");
}

static bool answer_stats(struct connection *connection)
{
    struct text body = {NULL, 0, 0};
    pthread_mutex_lock(&store.lock);
    struct totals totals = store.totals;
    pthread_mutex_unlock(&store.lock);
    text_add(&body, "{\"requests\": %llu, \"grants\": %llu, \"puts\": %llu, \"malformed\": %llu, ",
             (unsigned long long)totals.requests, (unsigned long long)totals.grants, (unsigned long long)totals.puts,
             (unsigned long long)totals.malformed);
    text_add(&body, "\"body_bytes\": %llu, \"images\": %llu, \"image_bytes\": %llu, ",
             (unsigned long long)totals.body_bytes, (unsigned long long)totals.images,
             (unsigned long long)totals.image_bytes);
    text_add(&body, "\"image_sum\": %llu, \"crc_sum\": %llu, \"cpu_seconds\": %.6f, ",
             (unsigned long long)totals.image_sum, (unsigned long long)totals.crc_sum, processor_seconds());
    text_add(&body, "\"first_request\": %.6f, \"first_put\": %.6f, \"last_put\": %.6f}", totals.first_request,
             totals.first_put, totals.last_put);
    bool sent = answer_json(connection, "200 OK", &body);
    free(body.data);
    return sent;
}

/* Serve one request. False when the connection is to end. */
static bool serve(struct connection *connection, struct request *request)
{
    bool puts = strcmp(request->method, "PUT") == 0;
    if (strcmp(request->path, "/_stats") == 0)
        return answer_stats(connection);
    if (strcmp(request->path, "/_reset") == 0) {
        store_reset(request_number(request, "sums", 0) != 0);
        pthread_mutex_lock(&store.lock);
        objects_reset();
        pthread_mutex_unlock(&store.lock);
        advertised_port = (int)request_number(request, "port", 0);
        return discard_body(connection, request) && answer(connection, "200 OK", "", "", NULL);
    }
    store_note_request();
    if (is_of_bucket(request))
        return serve_bucket(connection, request);
    if (puts)
        return put_shard(connection, request);
    if (strncmp(request->path, STAGING, strlen(STAGING)) == 0)
        return serve_staging(connection, request);
    if (!discard_body(connection, request))
        return false;
    if (strcmp(request->path, "/") == 0)
        return answer_workspace(connection);
    return answer_failure(connection, "404 Not Found", "the sink has no such call");
}

int main(int count, char **arguments)
{
    crc32c_prepare();
    if (count == 3)
        offer_tls(arguments[1], arguments[2]);
    return serve_until_input_ends();
}
