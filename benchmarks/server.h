/* A server on a free port of 127.0.0.1, in which a thread serves each connection, request after request. */
#ifndef SERVER_H
#define SERVER_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>

#include "http.h"

static int listening_port, tls_port; /* 0: nothing is served over TLS */

#ifdef WITH_TLS
static SSL_CTX *tls_context;
#endif

#ifdef RELAYS
/* What becomes of a connection in a program that reads no requests. */
static void relay_connection(int socket);
#endif

/* Serve one request. False when the connection is to end. Each server has its own. */
static inline bool serve(struct connection *connection, struct request *request);

struct accepted {
    int socket;
    bool secured;
};

struct listener {
    int socket;
    bool secured;
};

/* Begin to speak TLS where that is wanted. */
static inline bool secure(struct connection *connection, bool wanted)
{
#ifdef WITH_TLS
    if (wanted) {
        connection->tls = SSL_new(tls_context);
        return connection->tls != NULL && SSL_set_fd(connection->tls, connection->socket) == 1 &&
               SSL_accept(connection->tls) == 1;
    }
#endif
    (void)connection;
    return !wanted;
}

static void *serve_connection(void *argument)
{
    struct accepted accepted = *(struct accepted *)argument;
    struct connection connection = {.socket = accepted.socket, .buffer = malloc(CONNECTION_BYTES + 1)};
    free(argument);
    struct request *request = malloc(sizeof *request);
    if (connection.buffer == NULL || request == NULL)
        abort();
#ifdef RELAYS
    relay_connection(connection.socket);
#else
    if (secure(&connection, accepted.secured))
        while (request_read(&connection, request) && serve(&connection, request) && !request->closes)
            ;
#endif
#ifdef WITH_TLS
    SSL_free(connection.tls);
#endif
    close(connection.socket);
    free(request);
    free(connection.buffer);
    return NULL;
}

static void *accept_connections(void *argument)
{
    struct listener listener = *(struct listener *)argument;
    int yes = 1;
    pthread_attr_t detached;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    for (;;) {
        int socket = accept(listener.socket, NULL, NULL);
        pthread_t thread;
        if (socket < 0)
            continue;
        setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        struct accepted *accepted = malloc(sizeof *accepted);
        if (accepted == NULL)
            abort();
        *accepted = (struct accepted){.socket = socket, .secured = listener.secured};
        if (pthread_create(&thread, &detached, serve_connection, accepted) != 0)
            close(socket);
    }
    return NULL;
}

static int listen_anywhere(int *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 512) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &length) != 0) {
        perror("cannot listen");
        exit(1);
    }
    *port = ntohs(address.sin_port);
    return listener;
}

static bool start_listening(bool secured)
{
    pthread_t thread;
    static struct listener listeners[2];
    struct listener *listener = &listeners[secured];
    *listener = (struct listener){.socket = listen_anywhere(secured ? &tls_port : &listening_port), .secured = secured};
    return pthread_create(&thread, NULL, accept_connections, listener) == 0;
}

/* Serve over TLS too, with that certificate and key. */
static inline void offer_tls(const char *certificate, const char *key)
{
#ifdef WITH_TLS
    tls_context = SSL_CTX_new(TLS_server_method());
    if (tls_context == NULL || SSL_CTX_use_certificate_chain_file(tls_context, certificate) != 1 ||
        SSL_CTX_use_PrivateKey_file(tls_context, key, SSL_FILETYPE_PEM) != 1 || !start_listening(true)) {
        fprintf(stderr, "cannot offer TLS\n");
        exit(1);
    }
#else
    (void)certificate, (void)key;
    fprintf(stderr, "compiled without TLS\n");
    exit(1);
#endif
}

/* Print the port, and serve until standard input ends: whoever started this holds the other end. */
static int serve_until_input_ends(void)
{
    char byte;
    signal(SIGPIPE, SIG_IGN);
    if (!start_listening(false))
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
