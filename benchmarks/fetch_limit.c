/* The limit of a download: the least that any client must do, in C.
 *
 *     fetch_limit PORT LIST FOLDER     THREADS threads GET what LIST names from 127.0.0.1:PORT into files of FOLDER
 *
 * A line of LIST is `target path`: the request's target, and where it lands below FOLDER. No listing, no checksums, no
 * temporary names, no unpacking, no retries: whatever goes wrong ends it. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define THREADS 3 /* two cores, and one that waits for the server */
#define BUFFER_BYTES (1u << 18) /* fits the second-level cache: what is received is still there when it is written */
#define TARGET_BYTES 1024
#define PATH_BYTES 512

static struct {
    pthread_mutex_t lock;
    FILE *list;
    int folder, port;
    unsigned files;
} work = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Bytes on their way from the socket. */
struct inlet {
    int socket;
    size_t start, end;
    char *buffer;
};

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static bool next_file(char *target, char *path)
{
    pthread_mutex_lock(&work.lock);
    bool found = fscanf(work.list, "%1023s %511s", target, path) == 2;
    work.files += found;
    pthread_mutex_unlock(&work.lock);
    pthread_mutex_unlock(&work.lock);
    return found;
}

static void receive_more(struct inlet *inlet)
{
    if (inlet->start == inlet->end)
        inlet->start = inlet->end = 0;
    ssize_t received = recv(inlet->socket, inlet->buffer + inlet->end, BUFFER_BYTES - inlet->end, 0);
    if (received <= 0)
        fail("fetch_limit: receive");
    inlet->end += (size_t)received;
}

/* Read over the head of an answer. The length of its body. */
static uint64_t receive_head(struct inlet *inlet)
{
    char *end, *length;
    do {
        receive_more(inlet);
        end = memmem(inlet->buffer + inlet->start, inlet->end - inlet->start, "\r\n\r\n", 4);
    } while (end == NULL);
    *end = '\0';
    char *head = inlet->buffer + inlet->start;
    inlet->start = (size_t)(end + 4 - inlet->buffer);
    if (strncmp(head, "HTTP/1.1 200", 12) != 0 || (length = strcasestr(head, "content-length:")) == NULL)
        fail("fetch_limit: the answer was not 200");
    return strtoull(length + 15, NULL, 10);
}

static void write_all(int file, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t written = write(file, bytes, length);
        if (written <= 0)
            fail("fetch_limit: write");
        bytes += written;
        length -= (size_t)written;
    }
}

static void fetch(struct inlet *inlet, const char *target, const char *path)
{
    char request[TARGET_BYTES + 128];
    int length = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", target);
    int file = openat(work.folder, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file < 0)
        fail("fetch_limit: create");
    if (send(inlet->socket, request, (size_t)length, 0) != length)
        fail("fetch_limit: send");
    for (uint64_t left = receive_head(inlet); left > 0;) {
        if (inlet->start == inlet->end)
            receive_more(inlet);
        size_t here = inlet->end - inlet->start;
        size_t taken = left < here ? (size_t)left : here;
        write_all(file, inlet->buffer + inlet->start, taken);
        inlet->start += taken;
        left -= taken;
    }
    close(file);
}

static void *run(void *unused)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct inlet inlet = {.socket = socket(AF_INET, SOCK_STREAM, 0), .buffer = malloc(BUFFER_BYTES)};
    char target[TARGET_BYTES], path[PATH_BYTES];
    int yes = 1;
    (void)unused;
    address.sin_port = htons((uint16_t)work.port);
    if (inlet.buffer == NULL || inlet.socket < 0 ||
        connect(inlet.socket, (struct sockaddr *)&address, sizeof address) != 0)
        fail("fetch_limit: connect");
    setsockopt(inlet.socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    while (next_file(target, path))
        fetch(&inlet, target, path);
    close(inlet.socket);
    free(inlet.buffer);
    return NULL;
}

int main(int count, char **arguments)
{
    pthread_t threads[THREADS];
    if (count != 4) {
        fprintf(stderr, "usage: fetch_limit PORT LIST FOLDER\n");
        return 2;
    }
    work.port = atoi(arguments[1]);
    work.list = fopen(arguments[2], "r");
    work.folder = open(arguments[3], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (work.list == NULL || work.folder < 0)
        fail("fetch_limit: list or folder");
    for (int at = 0; at < THREADS; at++)
        if (pthread_create(&threads[at], NULL, run, NULL) != 0)
            fail("fetch_limit: thread");
    for (int at = 0; at < THREADS; at++)
        pthread_join(threads[at], NULL);
    printf("%u files\n", work.files);
    return 0;
}
