/* What the load client and the server of the bound share: the mark inside every event, time, and sockets.

   A mark is `~`, the event's number in 8 digits, and in 16 digits the microsecond of the monotonic clock, which is the
   same in every process, at which it was due. Nothing else in a frame contains `~`. */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { NUMBER_DIGITS = 8, STAMP_DIGITS = 16, MARK_BYTES = 1 + NUMBER_DIGITS + STAMP_DIGITS, EVENT_BYTES = 8192 };

/* The nonce of RFC 6455, 1.3, and its answer: a real handshake without a hash. */
#define WEBSOCKET_KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define WEBSOCKET_ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

/* What a server says to a subscriber from whose view nothing is missing from now on. */
#define SUBSCRIBED "stream.subscribed"

/* Which of `every` executions an event is of: each once in so many events, and neighbours far apart. */
static inline int execution_of(uint64_t number, int every) { return (int)(number * 7919 % (uint64_t)every); }

static inline _Noreturn void give_up(const char *what) {
    fprintf(stderr, "fanout: %s\n", what);
    exit(1);
}

static inline uint64_t now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static inline void put_digits(char *at, uint64_t value, int digits) {
    while (digits--) {
        at[digits] = (char)('0' + value % 10);
        value /= 10;
    }
}

static inline uint64_t digits_at(const char *at, int digits) {
    uint64_t value = 0;
    while (digits--) value = value * 10 + (uint64_t)(*at++ - '0');
    return value;
}

static inline void put_mark(char *mark, uint64_t number, uint64_t stamp_us) {
    put_digits(mark + 1, number, NUMBER_DIGITS);
    put_digits(mark + 1 + NUMBER_DIGITS, stamp_us, STAMP_DIGITS);
}

/* The content of a small file; returns its size. */
static inline size_t read_file(const char *path, char *into, size_t room) {
    FILE *file = fopen(path, "rb");
    if (!file) give_up("cannot read the sample of an event");
    size_t size = fread(into, 1, room, file);
    fclose(file);
    if (size == 0 || size == room) give_up("the sample of an event is empty or too large");
    return size;
}

static inline struct sockaddr_in loopback(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static inline void send_at_once(int fd) {
    int yes = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
}
