/* A server on a free port of 127.0.0.1, in which a thread serves each connection, request after request. */
#ifndef SERVER_H
#define SERVER_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>

#include "http.h"

static int listening_port;

/* Serve one request. False when the connection is to end. Each server has its own. */
static bool serve(struct connection *connection, struct request *request);

static void *serve_connection(void *argument)
{
    struct connection connection = {.socket = (int)(intptr_t)argument, .buffer = malloc(CONNECTION_BYTES + 1)};
    struct request *request = malloc(sizeof *request);
    if (connection.buffer == NULL || request == NULL)
        abort();
    while (request_read(&connection, request) && serve(&connection, request) && !request->closes)
        ;
    close(connection.socket);
    free(request);
    free(connection.buffer);
    return NULL;
}

static void *accept_connections(void *argument)
{
    int listener = (int)(intptr_t)argument, yes = 1;
    pthread_attr_t detached;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    for (;;) {
        int socket = accept(listener, NULL, NULL);
        pthread_t thread;
        if (socket < 0)
            continue;
        setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        if (pthread_create(&thread, &detached, serve_connection, (void *)(intptr_t)socket) != 0)
            close(socket);
    }
    return NULL;
}

static int listen_anywhere(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 512) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &length) != 0) {
        perror("cannot listen");
        exit(1);
    }
    listening_port = ntohs(address.sin_port);
    return listener;
}

/* Print the port, and serve until standard input ends: whoever started this holds the other end. */
static int serve_until_input_ends(void)
{
    pthread_t thread;
    char byte;
    signal(SIGPIPE, SIG_IGN);
    int listener = listen_anywhere();
    if (pthread_create(&thread, NULL, accept_connections, (void *)(intptr_t)listener) != 0)
        return 1;
    printf("%d\n", listening_port);
    fflush(stdout);
    while (read(0, &byte, 1) > 0)
        ;
    return 0;
}

/* Answer with an error as the service words it. */
static inline bool answer_failure(struct connection *connection, const char *status, const char *why)
{
    struct text body = {NULL, 0, 0};
    text_add(&body, "{\"error\": \"%s\"}", why);
    bool sent = answer_json(connection, status, &body);
    free(body.data);
    return sent;
}

/* Answer which workspace every key belongs to. */
static inline bool answer_workspace(struct connection *connection)
{
    struct text body = {NULL, 0, 0};
    text_add(&body, "{\"workspace\": \"bench\"}");
    bool sent = answer_json(connection, "200 OK", &body);
    free(body.data);
    return sent;
}

static inline void add_date(struct text *text, time_t when)
{
    char date[32];
    struct tm parts;
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S+00:00", gmtime_r(&when, &parts));
    text_add(text, "\"%s\"", date);
}

static inline bool discard_body(struct connection *connection, struct request *request)
{
    const unsigned char *span;
    ssize_t length;
    while ((length = request_body(connection, request, &span)) > 0)
        ;
    return length == 0;
}

#endif
