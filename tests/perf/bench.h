/* What the benchmarks' programs in C share: the mark inside every event, time, latencies, and sockets.

   A mark is `~`, the event's number in 8 digits, and in 16 digits the microsecond of the monotonic clock, which is the
   same in every process, at which it was due. Nothing else in an event contains `~`. */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { NUMBER_DIGITS = 8, STAMP_DIGITS = 16, MARK_BYTES = 1 + NUMBER_DIGITS + STAMP_DIGITS };

static inline _Noreturn void give_up(const char *what) {
    fprintf(stderr, "%s: %s\n", program_invocation_short_name, what);
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

/* CPU that a process has spent. */
static inline double seconds_of(clockid_t clock) {
    struct timespec spent = {0};
    clock_gettime(clock, &spent);
    return (double)spent.tv_sec + (double)spent.tv_nsec / 1e9;
}

/* Buckets of the histogram: 64 to every doubling, so that no latency is off by more than 1.6 %. */
enum { STEPS = 64, BUCKETS = 40 * STEPS };

static inline int bucket_of(uint64_t us) {
    if (us < STEPS) return (int)us;
    int power = 63 - __builtin_clzll(us) - 6;
    int bucket = (power + 1) * STEPS + (int)((us >> power) - STEPS);
    return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

static inline uint64_t floor_of(int bucket) {
    if (bucket < STEPS) return (uint64_t)bucket;
    return (uint64_t)(STEPS + bucket % STEPS) << (bucket / STEPS - 1);
}

/* The latency below which that share of `total` lies. */
static inline uint64_t percentile_of(const uint64_t *histogram, uint64_t total, double share) {
    uint64_t wanted = (uint64_t)((double)total * share), passed = 0;
    for (int bucket = 0; bucket < BUCKETS; bucket++) {
        passed += histogram[bucket];
        if (passed > wanted) return floor_of(bucket);
    }
    return 0;
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
