/* The part of HTTP/1.1 that the servers need: keep-alive requests whose bodies are read span by span. */
#ifndef HTTP_H
#define HTTP_H

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#ifdef WITH_TLS
#include <openssl/ssl.h>
#endif

#define CONNECTION_BYTES (1 << 18) /* received, summed and walked while it lies in the second-level cache */

/* One connection and what has been received from it but not used yet. */
struct connection {
    int socket;
#ifdef WITH_TLS
    SSL *tls; /* NULL where it speaks plainly */
#endif
    size_t start, end;
    unsigned char *buffer; /* CONNECTION_BYTES, and one more for a closing zero */
};

struct request {
    char method[8];
    char path[1024];
    char query[4096];
    char range[64], if_range[64], content_type[128]; /* empty where there is none */
    uint64_t left; /* bytes of the body, or of its present chunk, that are still to come */
    bool chunked, body_ended, wants_continue, closes;
};

/* A text that grows. */
struct text {
    char *data;
    size_t length, room;
};

static inline void text_add(struct text *text, const char *format, ...)
{
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    size_t needed = (size_t)vsnprintf(NULL, 0, format, arguments) + 1;
    if (text->length + needed > text->room) {
        text->room = 2 * text->room + needed;
        text->data = realloc(text->data, text->room);
        if (text->data == NULL)
            abort();
    }
    text->length += (size_t)vsnprintf(text->data + text->length, needed, format, again);
    va_end(again);
    va_end(arguments);
}

static inline ssize_t connection_receive(struct connection *connection, void *room, size_t length)
{
#ifdef WITH_TLS
    if (connection->tls != NULL)
        return SSL_read(connection->tls, room, (int)length);
#endif
    return recv(connection->socket, room, length, 0);
}

static inline ssize_t connection_give(struct connection *connection, const void *bytes, size_t length)
{
#ifdef WITH_TLS
    if (connection->tls != NULL)
        return SSL_write(connection->tls, bytes, (int)length);
#endif
    return send(connection->socket, bytes, length, 0);
}

/* Receive more behind what is here. False when the peer is gone or the buffer is full. */
static inline bool connection_fill(struct connection *connection)
{
    if (connection->start == connection->end)
        connection->start = connection->end = 0;
    if (connection->end == CONNECTION_BYTES) {
        memmove(connection->buffer, connection->buffer + connection->start, connection->end - connection->start);
        connection->end -= connection->start;
        connection->start = 0;
    }
    ssize_t received;
    do
        received = connection_receive(connection, connection->buffer + connection->end, CONNECTION_BYTES - connection->end);
    while (received < 0 && errno == EINTR);
    if (received <= 0)
        return false;
    connection->end += (size_t)received;
    return true;
}

/* Send everything, or false. */
static inline bool connection_send(struct connection *connection, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t sent = connection_give(connection, bytes, length);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return false;
        bytes += sent;
        length -= (size_t)sent;
    }
    return true;
}

/* The next line, ended with a zero in place; NULL when the peer is gone. It lives until the next receive. */
static inline char *connection_line(struct connection *connection)
{
    for (;;) {
        unsigned char *start = connection->buffer + connection->start;
        unsigned char *end = memchr(start, '\n', connection->end - connection->start);
        if (end != NULL) {
            connection->start = (size_t)(end - connection->buffer) + 1;
            *end = '\0';
            if (end > start && end[-1] == '\r')
                end[-1] = '\0';
            return (char *)start;
        }
        if (!connection_fill(connection))
            return NULL;
    }
}

static inline const char *header_value(const char *line, const char *name)
{
    size_t length = strlen(name);
    if (strncasecmp(line, name, length) != 0 || line[length] != ':')
        return NULL;
    return line + length + 1 + strspn(line + length + 1, " \t");
}

static inline void request_read_header(struct request *request, const char *line)
{
    const char *value;
    if ((value = header_value(line, "content-length")) != NULL)
        request->left = strtoull(value, NULL, 10);
    else if ((value = header_value(line, "transfer-encoding")) != NULL)
        request->chunked = strcasecmp(value, "chunked") == 0;
    else if ((value = header_value(line, "expect")) != NULL)
        request->wants_continue = strcasecmp(value, "100-continue") == 0;
    else if ((value = header_value(line, "connection")) != NULL)
        request->closes = strcasecmp(value, "close") == 0;
    else if ((value = header_value(line, "range")) != NULL)
        snprintf(request->range, sizeof request->range, "%s", value);
    else if ((value = header_value(line, "if-range")) != NULL)
        snprintf(request->if_range, sizeof request->if_range, "%s", value);
    else if ((value = header_value(line, "content-type")) != NULL)
        snprintf(request->content_type, sizeof request->content_type, "%s", value);
}

/* Read a request up to its body. False when there is none, or one that is not understood. */
static inline bool request_read(struct connection *connection, struct request *request)
{
    *request = (struct request){.left = 0};
    char target[sizeof request->path + sizeof request->query];
    char *line = connection_line(connection);
    if (line == NULL || sscanf(line, "%7s %5119s", request->method, target) != 2)
        return false;
    char *query = strchr(target, '?');
    if (query != NULL) {
        *query++ = '\0';
        snprintf(request->query, sizeof request->query, "%.4095s", query);
    }
    snprintf(request->path, sizeof request->path, "%.1023s", target);
    while ((line = connection_line(connection)) != NULL && *line != '\0')
        request_read_header(request, line);
    request->body_ended = !request->chunked && request->left == 0;
    return line != NULL;
}

/* Pass on to the next chunk; at the last one, past the trailers. False when it is broken. */
static inline bool request_next_chunk(struct connection *connection, struct request *request)
{
    char *line = connection_line(connection);
    if (line != NULL && *line == '\0') /* the end of the chunk before */
        line = connection_line(connection);
    if (line == NULL)
        return false;
    request->left = strtoull(line, NULL, 16);
    if (request->left > 0)
        return true;
    request->body_ended = true;
    while ((line = connection_line(connection)) != NULL && *line != '\0')
        ;
    return line != NULL;
}

/* The next span of the body, valid until the next receive: its length, 0 at the end, -1 when it broke off. */
static inline ssize_t request_body(struct connection *connection, struct request *request, const unsigned char **span)
{
    if (request->wants_continue) {
        static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
        request->wants_continue = false;
        if (!connection_send(connection, go_on, sizeof go_on - 1))
            return -1;
    }
    if (request->chunked && !request->body_ended && request->left == 0 && !request_next_chunk(connection, request))
        return -1;
    if (request->body_ended)
        return 0;
    if (connection->start == connection->end && !connection_fill(connection))
        return -1;
    size_t here = connection->end - connection->start;
    size_t taken = request->left < here ? (size_t)request->left : here;
    *span = connection->buffer + connection->start;
    connection->start += taken;
    request->left -= taken;
    request->body_ended = !request->chunked && request->left == 0;
    return (ssize_t)taken;
}

/* Where the value of a name in the query begins, or NULL. It ends with an ampersand or with the query. */
static inline const char *request_value(const struct request *request, const char *name)
{
    size_t length = strlen(name);
    for (const char *at = request->query; at != NULL && *at != '\0';) {
        if (strncmp(at, name, length) == 0 && at[length] == '=')
            return at + length + 1;
        at = strchr(at, '&');
        at = at == NULL ? NULL : at + 1;
    }
    return NULL;
}

/* The value of a number in the query, or a default. */
static inline unsigned long request_number(const struct request *request, const char *name, unsigned long otherwise)
{
    const char *value = request_value(request, name);
    return value == NULL ? otherwise : strtoul(value, NULL, 10);
}

/* Answer. `headers` are further header lines, each with its line end. */
static inline bool answer(struct connection *connection, const char *status, const char *headers, const char *type,
                          const struct text *body)
{
    char date[64];
    time_t now = time(NULL);
    struct tm parts;
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &parts));
    struct text whole = {NULL, 0, 0};
    text_add(&whole, "HTTP/1.1 %s\r\nDate: %s\r\nContent-Length: %zu\r\n%s", status, date, body ? body->length : 0, headers);
    if (body != NULL)
        text_add(&whole, "Content-Type: %s\r\n\r\n%s", type, body->data);
    else
        text_add(&whole, "\r\n");
    bool sent = connection_send(connection, whole.data, whole.length);
    free(whole.data);
    return sent;
}

static inline bool answer_json(struct connection *connection, const char *status, const struct text *body)
{
    return answer(connection, status, "", "application/json", body);
}

#endif
