/* The limit of an upload: the least that any client must do, in C.
 *
 *     limit FOLDER PORT            two threads list, read and pack the files of FOLDER and PUT the tars to 127.0.0.1:PORT
 *     limit FOLDER PORT THREADS    so many threads PUT each file by itself, over a connection each that is kept
 *     limit -s BYTES FOLDER PORT   the system holds no more of what was sent (SO_SNDBUF), else what it holds by itself
 *
 * No grants, no checksums, no checkpoint, no retries: whatever goes wrong ends it. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define THREADS 2
#define MOST_THREADS 256
#define SHARD_FILES 500
#define SHARD_BYTES (64u << 20)
#define BLOCK 512
#define BUFFER_BYTES (1u << 20) /* fits the second-level cache: what is read is still there when it is sent */

struct entry {
    char name[101];
    uint64_t size;
};

struct shard {
    struct entry entries[SHARD_FILES];
    size_t count;
    uint64_t tar_bytes;
};

/* Bytes on their way to the socket. */
struct outlet {
    int socket;
    size_t filled;
    unsigned char *buffer;
};

static struct {
    pthread_mutex_t lock;
    DIR *folder;
    int port;
    struct entry carried; /* listed, but too large for the shard before */
    bool carries;
    bool sends_each;
    int send_bytes; /* SO_SNDBUF, 0: what the system sees fit */
    unsigned requests;
} work = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static uint64_t padded(uint64_t size) { return (size + BLOCK - 1) / BLOCK * BLOCK; }

static bool next_entry(struct entry *entry)
{
    struct dirent *item;
    struct stat status;
    if (work.carries) {
        *entry = work.carried;
        work.carries = false;
        return true;
    }
    while ((item = readdir(work.folder)) != NULL) {
        if (item->d_name[0] == '.' || fstatat(dirfd(work.folder), item->d_name, &status, 0) != 0 || !S_ISREG(status.st_mode))
            continue;
        if (strlen(item->d_name) > 100)
            fail("limit: a name too long for a plain tar head");
        strcpy(entry->name, item->d_name);
        entry->size = (uint64_t)status.st_size;
        return true;
    }
    return false;
}

/* Fill the next shard from the folder. False when nothing is left. */
static bool next_shard(struct shard *shard)
{
    shard->count = 0;
    shard->tar_bytes = 2 * BLOCK;
    pthread_mutex_lock(&work.lock);
    while (shard->count < SHARD_FILES && next_entry(&shard->entries[shard->count])) {
        const struct entry *entry = &shard->entries[shard->count];
        uint64_t member = BLOCK + padded(entry->size);
        if (shard->count > 0 && shard->tar_bytes + member > SHARD_BYTES) {
            work.carried = *entry;
            work.carries = true;
            break;
        }
        shard->tar_bytes += member;
        shard->count++;
    }
    work.requests += shard->count > 0;
    pthread_mutex_unlock(&work.lock);
    return shard->count > 0;
}

/* The next file to go by itself. False when nothing is left. */
static bool next_file(struct entry *entry)
{
    pthread_mutex_lock(&work.lock);
    bool found = next_entry(entry);
    work.requests += found;
    pthread_mutex_unlock(&work.lock);
    return found;
}

static void flush(struct outlet *outlet)
{
    for (size_t sent = 0; sent < outlet->filled;) {
        ssize_t taken = send(outlet->socket, outlet->buffer + sent, outlet->filled - sent, 0);
        if (taken <= 0)
            fail("limit: send");
        sent += (size_t)taken;
    }
    outlet->filled = 0;
}

static unsigned char *room_for(struct outlet *outlet, size_t length)
{
    if (outlet->filled + length > BUFFER_BYTES)
        flush(outlet);
    return outlet->buffer + outlet->filled;
}

static void add_zeros(struct outlet *outlet, size_t length)
{
    memset(room_for(outlet, length), 0, length);
    outlet->filled += length;
}

static void add_head(struct outlet *outlet, const struct entry *entry)
{
    unsigned char *head = room_for(outlet, BLOCK);
    unsigned sum = 0;
    memset(head, 0, BLOCK);
    memcpy(head, entry->name, strlen(entry->name));
    memcpy(head + 100, "0000644\0000000000\0000000000", 24);
    snprintf((char *)head + 124, 12, "%011llo", (unsigned long long)entry->size);
    memcpy(head + 136, "00000000000", 12);
    memcpy(head + 148, "        0", 9);
    memcpy(head + 257, "ustar\00000", 8);
    for (int at = 0; at < BLOCK; at++)
        sum += head[at];
    snprintf((char *)head + 148, 8, "%06o", sum);
    outlet->filled += BLOCK;
}

static void add_content(struct outlet *outlet, const struct entry *entry)
{
    int file = openat(dirfd(work.folder), entry->name, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        fail("limit: open");
    for (uint64_t left = entry->size; left > 0;) {
        unsigned char *room = room_for(outlet, left < BUFFER_BYTES / 4 ? (size_t)left : BUFFER_BYTES / 4);
        size_t wanted = BUFFER_BYTES - outlet->filled;
        ssize_t length = read(file, room, left < wanted ? (size_t)left : wanted);
        if (length <= 0)
            fail("limit: read");
        outlet->filled += (size_t)length;
        left -= (uint64_t)length;
    }
    close(file);
}

static void receive_answer(struct outlet *outlet)
{
    char text[4096];
    size_t length = 0;
    do {
        ssize_t received = recv(outlet->socket, text + length, sizeof text - 1 - length, 0);
        if (received <= 0)
            fail("limit: receive");
        length += (size_t)received;
        text[length] = '\0';
    } while (strstr(text, "\r\n\r\n") == NULL);
    if (strncmp(text, "HTTP/1.1 200", 12) != 0)
        fail("limit: the answer was not 200");
}

static void send_shard(struct outlet *outlet, const struct shard *shard)
{
    int length = snprintf((char *)outlet->buffer, BUFFER_BYTES,
                          "PUT /raw/limit HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %llu\r\n\r\n",
                          (unsigned long long)shard->tar_bytes);
    outlet->filled = (size_t)length;
    for (size_t at = 0; at < shard->count; at++) {
        add_head(outlet, &shard->entries[at]);
        add_content(outlet, &shard->entries[at]);
        add_zeros(outlet, padded(shard->entries[at].size) - shard->entries[at].size);
    }
    add_zeros(outlet, 2 * BLOCK);
    flush(outlet);
    receive_answer(outlet);
}

static void send_file(struct outlet *outlet, const struct entry *entry)
{
    int length = snprintf((char *)outlet->buffer, BUFFER_BYTES,
                          "PUT /objects/%s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %llu\r\n\r\n", entry->name,
                          (unsigned long long)entry->size);
    outlet->filled = (size_t)length;
    add_content(outlet, entry);
    flush(outlet);
    receive_answer(outlet);
}

static void send_all(struct outlet *outlet, struct shard *shard)
{
    if (!work.sends_each) {
        while (next_shard(shard))
            send_shard(outlet, shard);
        return;
    }
    struct entry *entry = &shard->entries[0];
    while (next_file(entry))
        send_file(outlet, entry);
}

static void *run(void *unused)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct outlet outlet = {.socket = socket(AF_INET, SOCK_STREAM, 0), .buffer = malloc(BUFFER_BYTES)};
    struct shard *shard = malloc(sizeof *shard);
    int yes = 1;
    (void)unused;
    address.sin_port = htons((uint16_t)work.port);
    if (outlet.buffer == NULL || shard == NULL || outlet.socket < 0 ||
        connect(outlet.socket, (struct sockaddr *)&address, sizeof address) != 0)
        fail("limit: connect");
    setsockopt(outlet.socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (work.send_bytes > 0)
        setsockopt(outlet.socket, SOL_SOCKET, SO_SNDBUF, &work.send_bytes, sizeof work.send_bytes);
    send_all(&outlet, shard);
    close(outlet.socket);
    free(outlet.buffer);
    free(shard);
    return NULL;
}

int main(int count, char **arguments)
{
    pthread_t threads[MOST_THREADS];
    if (count > 2 && strcmp(arguments[1], "-s") == 0) {
        work.send_bytes = atoi(arguments[2]);
        if (work.send_bytes <= 0) {
            fprintf(stderr, "limit: -s wants a number of bytes\n");
            return 2;
        }
        arguments += 2;
        count -= 2;
    }
    if (count < 3 || count > 4) {
        fprintf(stderr, "usage: limit [-s BYTES] FOLDER PORT [THREADS]\n");
        return 2;
    }
    work.folder = opendir(arguments[1]);
    work.port = atoi(arguments[2]);
    work.sends_each = count == 4;
    int wanted = work.sends_each ? atoi(arguments[3]) : THREADS;
    if (work.folder == NULL)
        fail("limit: folder");
    if (wanted < 1 || wanted > MOST_THREADS) {
        fprintf(stderr, "limit: from 1 to %d threads\n", MOST_THREADS);
        return 2;
    }
    for (int at = 0; at < wanted; at++)
        if (pthread_create(&threads[at], NULL, run, NULL) != 0)
            fail("limit: thread");
    for (int at = 0; at < wanted; at++)
        pthread_join(threads[at], NULL);
    printf("%u %s\n", work.requests, work.sends_each ? "files" : "shards");
    return 0;
}
