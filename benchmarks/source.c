/* The source of the benchmarks: Roboflow's data staging service and the store behind its signed URLs, in one process
 * that serves the files of a folder as a multipart batch, so that a client's speed is seen and not a server's.
 *
 *     source INDEX FOLDER   listen on a free port of 127.0.0.1, print it, serve until standard input ends
 *
 *     GET  /_stats          totals since the last reset
 *     POST /_reset          forget them
 *
 * A line of INDEX is `part name bytes crc32c md5`, the hashes in base64, sorted by parts; FOLDER holds `part/name`. The
 * batch has whatever name it is asked by, and every request with an api key counts as authorised. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#include "clock.h"
#include "server.h"

#define STAGING "/data-staging/v1/external/"
#define DAY_SECONDS 86400
#define LIFE_SECONDS 900 /* of a URL */
#define MAX_PARTS 64
#define PAGE_ROWS 100
#define MOST_PAGE_ROWS 1000

struct element {
    char *path; /* relative to the folder: part/name */
    const char *name, *type;
    uint64_t bytes;
    char etag[40];
    char hashes[64]; /* as `x-goog-hash` tells them */
};

/* A part is a span of the elements. */
struct part {
    char name[65];
    size_t start, end;
};

static struct {
    int folder;
    struct element *elements;
    size_t count, room;
    struct part parts[MAX_PARTS];
    size_t part_count;
} shelf;

static struct {
    pthread_mutex_t lock;
    uint64_t requests, listings, gets, body_bytes;
    double first_request, first_get, last_get;
} totals = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* What of an element is asked for. */
struct span {
    uint64_t start, end;
    bool is_partial, is_refused;
};

/* The shelf */

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

/* The MD5 as a store's ETag spells it. */
static void hex_of_base64(const char *encoded, char hex[33])
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    static const char digits[] = "0123456789abcdef";
    unsigned bits = 0, held = 0, made = 0;
    for (; *encoded != '\0' && *encoded != '=' && made < 32; encoded++) {
        const char *letter = strchr(letters, *encoded);
        bits = bits << 6 | (unsigned)(letter == NULL ? 0 : letter - letters);
        for (held += 6; held >= 4 && made < 32; held -= 4)
            hex[made++] = digits[bits >> (held - 4) & 15];
    }
    hex[made] = '\0';
}

static struct part *part_of(const char *name)
{
    if (shelf.part_count == 0 || strcmp(shelf.parts[shelf.part_count - 1].name, name) != 0) {
        if (shelf.part_count == MAX_PARTS)
            fail("source: too many parts");
        struct part *part = &shelf.parts[shelf.part_count++];
        snprintf(part->name, sizeof part->name, "%s", name);
        part->start = part->end = shelf.count;
    }
    return &shelf.parts[shelf.part_count - 1];
}

static void put_on_shelf(const char *part, const char *name, uint64_t bytes, const char *crc, const char *md5)
{
    char path[512], hex[33];
    if (shelf.count == shelf.room) {
        shelf.room = shelf.room ? 2 * shelf.room : 1024;
        shelf.elements = realloc(shelf.elements, shelf.room * sizeof *shelf.elements);
        if (shelf.elements == NULL)
            abort();
    }
    part_of(part)->end = shelf.count + 1;
    snprintf(path, sizeof path, "%s/%s", part, name);
    hex_of_base64(md5, hex);
    struct element *element = &shelf.elements[shelf.count++];
    *element = (struct element){.path = strdup(path), .bytes = bytes};
    element->name = strchr(element->path, '/') + 1;
    element->type = strstr(name, ".tar.gz") != NULL ? "application/gzip" : "image/jpeg";
    snprintf(element->etag, sizeof element->etag, "\"%s\"", hex);
    snprintf(element->hashes, sizeof element->hashes, "crc32c=%s,md5=%s", crc, md5);
}

static void read_index(const char *index)
{
    char part[65], name[256], crc[12], md5[28];
    unsigned long long bytes;
    FILE *file = fopen(index, "r");
    if (file == NULL)
        fail("source: index");
    while (fscanf(file, "%64s %255s %llu %11s %27s", part, name, &bytes, crc, md5) == 5)
        put_on_shelf(part, name, bytes, crc, md5);
    fclose(file);
}

/* The service */

static struct part *find_part(const struct request *request)
{
    const char *value = request_value(request, "partName");
    for (size_t at = 0; value != NULL && at < shelf.part_count; at++) {
        size_t length = strlen(shelf.parts[at].name);
        if (strncmp(value, shelf.parts[at].name, length) == 0 && (value[length] == '&' || value[length] == '\0'))
            return &shelf.parts[at];
    }
    return NULL;
}

static void add_metadata(struct text *text, const char *batch)
{
    time_t now = time(NULL);
    text_add(text,
             "{\"batch\": {\"displayName\": \"%s\", \"batchId\": \"%s\", \"batchType\": \"multipart-batch\", "
             "\"batchContentType\": \"images\", \"createdDate\": ",
             batch, batch);
    add_date(text, now);
    text_add(text, ", \"expiryDate\": ");
    add_date(text, now + 7 * DAY_SECONDS);
    text_add(text, "}}");
}

static void add_parts(struct text *text)
{
    text_add(text, "{\"batchParts\": [");
    for (size_t at = 0; at < shelf.part_count; at++)
        text_add(text,
                 "%s{\"partName\": \"%s\", \"partType\": \"simple-batch\", \"contentType\": \"images\", "
                 "\"partDescription\": \"benchmark\", \"nestedContentType\": null}",
                 at > 0 ? ", " : "", shelf.parts[at].name);
    text_add(text, "]}");
}

static void add_files(struct text *text, const struct request *request, const char *batch, const struct part *part)
{
    char date[32];
    time_t now = time(NULL);
    struct tm parts;
    size_t at = part->start + request_number(request, "nextPageToken", 0);
    size_t rows = request_number(request, "pageSize", PAGE_ROWS);
    size_t end = at + (rows < MOST_PAGE_ROWS ? rows : MOST_PAGE_ROWS);
    const char *separator = "";
    strftime(date, sizeof date, "%Y%m%dT%H%M%SZ", gmtime_r(&now, &parts));
    text_add(text, "{\"filesMetadata\": [");
    for (; at < end && at < part->end; at++, separator = ", ") {
        const struct element *element = &shelf.elements[at];
        text_add(text,
                 "%s{\"downloadURL\": \"http://127.0.0.1:%d/store/%s/%zu/%s?X-Goog-Algorithm=GOOG4-RSA-SHA256"
                 "&X-Goog-Credential=bench%%2F%.8s%%2Fauto%%2Fstorage%%2Fgoog4_request&X-Goog-Date=%s"
                 "&X-Goog-Expires=%d&X-Goog-SignedHeaders=host&X-Goog-Signature=%064zx\", \"fileName\": \"%s\", "
                 "\"partName\": \"%s\", \"shardId\": null, \"contentType\": \"%s\", \"nestedContentType\": null}",
                 separator, listening_port, batch, at, element->name, date, date, LIFE_SECONDS, at, element->name,
                 part->name, element->type);
    }
    if (at < part->end)
        text_add(text, "], \"nextPageToken\": \"%zu\"}", at - part->start);
    else
        text_add(text, "], \"nextPageToken\": null}");
}

static bool serve_staging(struct connection *connection, const struct request *request)
{
    char batch[65] = "", rest[64] = "";
    struct text body = {NULL, 0, 0};
    const struct part *part = find_part(request);
    int found = sscanf(request->path + strlen(STAGING), "%*[^/]/batches/%64[^/]/%63s", batch, rest);
    if (found == 1) {
        add_metadata(&body, batch);
    } else if (strcmp(rest, "parts") == 0) {
        add_parts(&body);
    } else if (strcmp(rest, "count") == 0) {
        text_add(&body, "{\"count\": %zu}", part != NULL ? part->end - part->start : shelf.count);
    } else if (strcmp(rest, "list") == 0 && part != NULL) {
        pthread_mutex_lock(&totals.lock);
        totals.listings++;
        pthread_mutex_unlock(&totals.lock);
        add_files(&body, request, batch, part);
    }
    bool sent = body.data != NULL ? answer_json(connection, "200 OK", &body)
                                  : answer_failure(connection, "404 Not Found", "the source has no such call");
    free(body.data);
    return sent;
}

/* The store */

static bool answer_error(struct connection *connection, const char *status, const char *code)
{
    struct text body = {NULL, 0, 0};
    text_add(&body, "<?xml version='1.0' encoding='UTF-8'?><Error><Code>%s</Code><Message>%s</Message></Error>", code, code);
    bool sent = answer(connection, status, "", "application/xml; charset=UTF-8", &body);
    free(body.data);
    return sent;
}

static bool is_expired(const struct request *request)
{
    struct tm parts = {.tm_isdst = 0};
    const char *date = request_value(request, "X-Goog-Date");
    if (date == NULL || strptime(date, "%Y%m%dT%H%M%SZ", &parts) == NULL)
        return true;
    return timegm(&parts) + (time_t)request_number(request, "X-Goog-Expires", 0) < time(NULL);
}

static struct span span_of(const struct request *request, const struct element *element)
{
    unsigned long long first, last;
    struct span span = {.end = element->bytes};
    if (strncmp(request->range, "bytes=", 6) != 0 || strchr(request->range, ',') != NULL)
        return span;
    if (request->if_range[0] != '\0' && strcmp(request->if_range, element->etag) != 0)
        return span;
    int found = sscanf(request->range + 6, "%llu-%llu", &first, &last);
    if (found < 1 || request->range[6] == '-')
        return span;
    span.is_partial = true;
    span.start = first;
    if (found == 2 && last < element->bytes)
        span.end = last + 1;
    span.is_refused = span.start >= span.end;
    return span;
}

static bool send_head(struct connection *connection, const struct element *element, struct span span, int flags)
{
    char head[1024], date[64], range[96] = "";
    time_t now = time(NULL);
    struct tm parts;
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &parts));
    if (span.is_partial)
        snprintf(range, sizeof range, "Content-Range: bytes %llu-%llu/%llu\r\n", (unsigned long long)span.start,
                 (unsigned long long)span.end - 1, (unsigned long long)element->bytes);
    int length = snprintf(head, sizeof head,
                          "HTTP/1.1 %s\r\nDate: %s\r\nETag: %s\r\nx-goog-hash: %s\r\nAccept-Ranges: bytes\r\n"
                          "Content-Type: %s\r\n%sContent-Length: %llu\r\nServer: UploadServer\r\n\r\n",
                          span.is_partial ? "206 Partial Content" : "200 OK", date, element->etag, element->hashes,
                          element->type, range, (unsigned long long)(span.end - span.start));
    return send(connection->socket, head, (size_t)length, flags) == length;
}

static bool send_content(struct connection *connection, const struct element *element, struct span span)
{
    int file = openat(shelf.folder, element->path, O_RDONLY | O_CLOEXEC);
    off_t at = (off_t)span.start;
    if (file < 0)
        fail("source: a file has gone");
    while ((uint64_t)at < span.end) {
        ssize_t sent = sendfile(connection->socket, file, &at, span.end - (uint64_t)at);
        if (sent <= 0 && !(sent < 0 && errno == EINTR))
            break;
    }
    close(file);
    return (uint64_t)at == span.end;
}

static void note_get(uint64_t bytes)
{
    double now = monotonic_seconds();
    pthread_mutex_lock(&totals.lock);
    totals.gets++;
    totals.body_bytes += bytes;
    totals.last_get = now;
    if (totals.first_get == 0)
        totals.first_get = now;
    pthread_mutex_unlock(&totals.lock);
}

static bool serve_store(struct connection *connection, const struct request *request)
{
    size_t number;
    const char *signature = request_value(request, "X-Goog-Signature");
    if (sscanf(request->path, "/store/%*[^/]/%zu/", &number) != 1 || number >= shelf.count)
        return answer_error(connection, "404 Not Found", "NoSuchKey");
    if (signature == NULL || strtoull(signature, NULL, 16) != number)
        return answer_error(connection, "403 Forbidden", "SignatureDoesNotMatch");
    if (is_expired(request))
        return answer_error(connection, "400 Bad Request", "ExpiredToken");
    const struct element *element = &shelf.elements[number];
    struct span span = span_of(request, element);
    if (span.is_refused)
        return answer_error(connection, "416 Requested Range Not Satisfiable", "InvalidRange");
    if (strcmp(request->method, "HEAD") == 0)
        return send_head(connection, element, span, 0);
    if (!send_head(connection, element, span, MSG_MORE) || !send_content(connection, element, span))
        return false;
    note_get(span.end - span.start);
    return true;
}

/* Both */

static bool answer_stats(struct connection *connection)
{
    struct text body = {NULL, 0, 0};
    pthread_mutex_lock(&totals.lock);
    text_add(&body, "{\"requests\": %llu, \"listings\": %llu, \"gets\": %llu, \"body_bytes\": %llu, ",
             (unsigned long long)totals.requests, (unsigned long long)totals.listings, (unsigned long long)totals.gets,
             (unsigned long long)totals.body_bytes);
    text_add(&body, "\"cpu_seconds\": %.6f, \"first_request\": %.6f, \"first_get\": %.6f, \"last_get\": %.6f}",
             processor_seconds(), totals.first_request, totals.first_get, totals.last_get);
    pthread_mutex_unlock(&totals.lock);
    bool sent = answer_json(connection, "200 OK", &body);
    free(body.data);
    return sent;
}

static bool reset(struct connection *connection)
{
    pthread_mutex_lock(&totals.lock);
    totals.requests = totals.listings = totals.gets = totals.body_bytes = 0;
    totals.first_request = totals.first_get = totals.last_get = 0;
    pthread_mutex_unlock(&totals.lock);
    return answer(connection, "200 OK", "", "", NULL);
}

static void note_request(void)
{
    pthread_mutex_lock(&totals.lock);
    totals.requests++;
    if (totals.first_request == 0)
        totals.first_request = monotonic_seconds();
    pthread_mutex_unlock(&totals.lock);
}

static bool serve(struct connection *connection, struct request *request)
{
    if (!discard_body(connection, request))
        return false;
    if (strcmp(request->path, "/_stats") == 0)
        return answer_stats(connection);
    if (strcmp(request->path, "/_reset") == 0)
        return reset(connection);
    note_request();
    if (strncmp(request->path, "/store/", 7) == 0)
        return serve_store(connection, request);
    if (strncmp(request->path, STAGING, strlen(STAGING)) == 0)
        return serve_staging(connection, request);
    if (strcmp(request->path, "/") == 0)
        return answer_workspace(connection);
    return answer_failure(connection, "404 Not Found", "the source has no such call");
}

int main(int count, char **arguments)
{
    if (count != 3) {
        fprintf(stderr, "usage: source INDEX FOLDER\n");
        return 2;
    }
    read_index(arguments[1]);
    shelf.folder = open(arguments[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (shelf.folder < 0 || shelf.count == 0)
        fail("source: folder");
    return serve_until_input_ends();
}
