/* What the load client and the server of the bound of `scripts/bench fanout` share. */

#include "bench.h"

enum { EVENT_BYTES = 8192 };

/* The nonce of RFC 6455, 1.3, and its answer: a real handshake without a hash. */
#define WEBSOCKET_KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define WEBSOCKET_ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

/* What a server says to a subscriber from whose view nothing is missing from now on. */
#define SUBSCRIBED "stream.subscribed"

/* Which of `every` executions an event is of: each once in so many events, and neighbours far apart. */
static inline int execution_of(uint64_t number, int every) { return (int)(number * 7919 % (uint64_t)every); }

/* The content of a small file; returns its size. */
static inline size_t read_file(const char *path, char *into, size_t room) {
    FILE *file = fopen(path, "rb");
    if (!file) give_up("cannot read the sample of an event");
    size_t size = fread(into, 1, room, file);
    fclose(file);
    if (size == 0 || size == room) give_up("the sample of an event is empty or too large");
    return size;
}
