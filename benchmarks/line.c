/* A long line: relays connections to a port of this machine as a line of a given delay and rate would carry them.
 *
 *     line PORT DELAY_MS BYTES_PER_SECOND WINDOW_BYTES
 *
 * listens on a free port of 127.0.0.1, prints it, and relays until standard input ends. Each direction is one queue for
 * all connections: what is received takes its turn at BYTES_PER_SECOND (0: unlimited) and arrives DELAY_MS later. Of
 * each connection no more than WINDOW_BYTES are on their way: half of what TCP's buffers would hold, since what has
 * arrived counts as acknowledged at once.
 * Loss and slow start are not played. */
#define _GNU_SOURCE
#define RELAYS
#include "clock.h"
#include "server.h"

#define PIECE_BYTES (64 << 10)

struct piece {
    double due; /* when it arrives */
    size_t length;
    struct piece *next;
    unsigned char bytes[PIECE_BYTES];
};

/* One direction of all connections. */
struct lane {
    pthread_mutex_t lock;
    double free_at; /* when all that was received so far has been put on the line */
};

/* One direction of one connection. */
struct flow {
    struct lane *lane;
    int from, to;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct piece *first, **last;
    size_t on_the_way;
    bool ended, broken;
};

struct pair {
    struct flow there, back;
};

static struct lane lanes[2] = {{.lock = PTHREAD_MUTEX_INITIALIZER}, {.lock = PTHREAD_MUTEX_INITIALIZER}};
static int target_port;
static double delay_seconds, rate;
static size_t window;

static void sleep_until(double moment)
{
    struct timespec when = {.tv_sec = (time_t)moment, .tv_nsec = (long)((moment - (double)(time_t)moment) * 1e9)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, NULL) == EINTR)
        ;
}

/* Put a piece on the line behind all others, and return when it arrives. */
static double carried(struct lane *lane, size_t length)
{
    pthread_mutex_lock(&lane->lock);
    double now = monotonic_seconds();
    if (lane->free_at < now)
        lane->free_at = now;
    if (rate > 0)
        lane->free_at += (double)length / rate;
    double due = lane->free_at + delay_seconds;
    pthread_mutex_unlock(&lane->lock);
    return due;
}

static void *deliver(void *argument)
{
    struct flow *flow = argument;
    for (;;) {
        pthread_mutex_lock(&flow->lock);
        while (flow->first == NULL && !flow->ended)
            pthread_cond_wait(&flow->changed, &flow->lock);
        struct piece *piece = flow->first;
        pthread_mutex_unlock(&flow->lock);
        if (piece == NULL)
            break;
        sleep_until(piece->due);
        for (size_t sent = 0; sent < piece->length;) {
            ssize_t taken = send(flow->to, piece->bytes + sent, piece->length - sent, 0);
            if (taken <= 0) {
                flow->broken = true;
                break;
            }
            sent += (size_t)taken;
        }
        pthread_mutex_lock(&flow->lock);
        flow->first = piece->next;
        if (flow->first == NULL)
            flow->last = &flow->first;
        flow->on_the_way -= piece->length;
        pthread_cond_broadcast(&flow->changed);
        pthread_mutex_unlock(&flow->lock);
        free(piece);
    }
    shutdown(flow->to, SHUT_WR);
    return NULL;
}

static void keep(struct flow *flow, struct piece *piece)
{
    pthread_mutex_lock(&flow->lock);
    while (flow->on_the_way + piece->length > window && !flow->broken)
        pthread_cond_wait(&flow->changed, &flow->lock);
    piece->due = carried(flow->lane, piece->length);
    piece->next = NULL;
    *flow->last = piece;
    flow->last = &piece->next;
    flow->on_the_way += piece->length;
    pthread_cond_broadcast(&flow->changed);
    pthread_mutex_unlock(&flow->lock);
}

/* Relay one direction to its end. */
static void *relay(void *argument)
{
    struct flow *flow = argument;
    pthread_t thread;
    if (pthread_create(&thread, NULL, deliver, flow) != 0)
        abort();
    for (;;) {
        struct piece *piece = malloc(sizeof *piece);
        if (piece == NULL)
            abort();
        ssize_t length = flow->broken ? 0 : recv(flow->from, piece->bytes, sizeof piece->bytes, 0);
        if (length <= 0) {
            free(piece);
            break;
        }
        piece->length = (size_t)length;
        keep(flow, piece);
    }
    pthread_mutex_lock(&flow->lock);
    flow->ended = true;
    pthread_cond_broadcast(&flow->changed);
    pthread_mutex_unlock(&flow->lock);
    pthread_join(thread, NULL);
    return NULL;
}

static void flow_begin(struct flow *flow, struct lane *lane, int from, int to)
{
    *flow = (struct flow){.lane = lane, .from = from, .to = to};
    flow->last = &flow->first;
    pthread_mutex_init(&flow->lock, NULL);
    pthread_cond_init(&flow->changed, NULL);
}

static void relay_connection(int socket_here)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)target_port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int there = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    pthread_t thread;
    struct pair pair;
    sleep_until(monotonic_seconds() + 2 * delay_seconds); /* the handshake */
    if (there < 0 || connect(there, (struct sockaddr *)&address, sizeof address) != 0)
        return;
    setsockopt(there, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    flow_begin(&pair.there, &lanes[0], socket_here, there);
    flow_begin(&pair.back, &lanes[1], there, socket_here);
    if (pthread_create(&thread, NULL, relay, &pair.back) != 0)
        abort();
    relay(&pair.there);
    pthread_join(thread, NULL);
    close(there);
}

static inline bool serve(struct connection *connection, struct request *request)
{
    (void)connection, (void)request;
    return false;
}

int main(int count, char **arguments)
{
    if (count != 5) {
        fprintf(stderr, "line PORT DELAY_MS BYTES_PER_SECOND WINDOW_BYTES\n");
        return 2;
    }
    target_port = atoi(arguments[1]);
    delay_seconds = atof(arguments[2]) / 1e3;
    rate = atof(arguments[3]);
    window = strtoull(arguments[4], NULL, 10);
    return serve_until_input_ends();
}
