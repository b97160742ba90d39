/* The bound of `scripts/bench fanout`: what a machine can fan out if a server does nothing but write.

   fanout_server sse|ws SAMPLE

   SAMPLE is a file with one ready frame. Prints its two ports as JSON. Each line `publish COUNT NUMBER STAMP` on the
   control port makes that many events; whatever lines came together are joined into one `send` per subscriber. */

#define _GNU_SOURCE
#include "fanout.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/epoll.h>

enum { SUBSCRIBERS = 16384, BURST_BYTES = 8 << 20, REQUEST_BYTES = 2048, BACKLOG = 4096 };

static bool is_ws;
static char sample[EVENT_BYTES];
static size_t sample_bytes, mark_at;
static int poller, subscribers[SUBSCRIBERS], subscriber_count;
static char burst[BURST_BYTES];

/* --- frames ------------------------------------------------------------------------------------------------------ */

/* The header of an unmasked, unfragmented text frame (RFC 6455, 5.2). */
static size_t put_frame_head(char *at, size_t size) {
    at[0] = (char)0x81;
    if (size < 126) {
        at[1] = (char)size;
        return 2;
    }
    at[1] = 126;
    at[2] = (char)(size >> 8);
    at[3] = (char)size;
    return 4;
}

static char *put_event(char *at, uint64_t number, uint64_t stamp_us) {
    if (is_ws) at += put_frame_head(at, sample_bytes);
    memcpy(at, sample, sample_bytes);
    put_mark(at + mark_at, number, stamp_us);
    return at + sample_bytes;
}

static void write_all(int fd, const char *from, size_t size) {
    while (size) {
        ssize_t sent = send(fd, from, size, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) return; /* it hung up: the poller says so, too */
        if (sent < 0) {
            struct pollfd room = {.fd = fd, .events = POLLOUT};
            poll(&room, 1, 1000);
            continue;
        }
        from += sent;
        size -= (size_t)sent;
    }
}

/* --- publishing -------------------------------------------------------------------------------------------------- */

/* The head of an HTTP chunk has a fixed width, so that events are put behind it before their size is known. */
enum { CHUNK_HEAD_BYTES = 10 };

static void fan_out(char *end) {
    char *begin = burst + CHUNK_HEAD_BYTES;
    if (end == begin) return;
    if (!is_ws) {
        char head[CHUNK_HEAD_BYTES + 1];
        snprintf(head, sizeof head, "%08zx\r\n", (size_t)(end - begin));
        begin = memcpy(burst, head, CHUNK_HEAD_BYTES);
        end = mempcpy(end, "\r\n", 2);
    }
    for (int i = 0; i < subscriber_count; i++) write_all(subscribers[i], begin, (size_t)(end - begin));
}

static void publish_lines(char *line) {
    char *end = burst + CHUNK_HEAD_BYTES;
    uint64_t count, number, stamp_us;
    for (; line && sscanf(line, "publish %lu %lu %lu", &count, &number, &stamp_us) == 3; line = strchr(line + 1, 'p')) {
        while (count--) {
            if (end > burst + BURST_BYTES - 2 * EVENT_BYTES) {
                fan_out(end);
                end = burst + CHUNK_HEAD_BYTES;
            }
            end = put_event(end, number++, stamp_us);
        }
    }
    fan_out(end);
}

/* Commands of one reading; the start of a line whose end is still to come waits. */
static void obey(int control) {
    static char lines[1 << 16];
    static size_t held;
    ssize_t got = recv(control, lines + held, sizeof lines - 1 - held, 0);
    if (got <= 0) {
        close(control);
        held = 0;
        return;
    }
    held += (size_t)got;
    char *behind = memrchr(lines, '\n', held);
    if (!behind) return;
    *behind++ = 0;
    publish_lines(lines);
    held -= (size_t)(behind - lines);
    memmove(lines, behind, held);
}

/* --- connections ------------------------------------------------------------------------------------------------- */

static void watch(int fd, uint32_t events) {
    struct epoll_event event = {.events = events, .data.fd = fd};
    epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
}

static int listen_on_any(int *port) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = loopback(0);
    socklen_t size = sizeof address;
    if (bind(fd, (void *)&address, size) || listen(fd, BACKLOG)) give_up("cannot listen");
    getsockname(fd, (void *)&address, &size);
    *port = ntohs(address.sin_port);
    watch(fd, EPOLLIN);
    return fd;
}

static void greet(int fd) {
    static const char sse[] = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    static const char ws[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                             "Sec-WebSocket-Accept: " WEBSOCKET_ACCEPT "\r\n\r\n";
    static const char hello[] = "{\"type\":\"" SUBSCRIBED "\"}";
    char answer[512], *at = answer;
    at = stpcpy(at, is_ws ? ws : sse);
    if (is_ws) {
        at += put_frame_head(at, strlen(hello));
        at = stpcpy(at, hello);
    } else {
        at += sprintf(at, "%zx\r\ndata: %s\n\n\r\n", strlen(hello) + 8, hello);
    }
    write_all(fd, answer, (size_t)(at - answer));
}

static void accept_subscriber(int listener) {
    int fd = accept(listener, NULL, NULL);
    if (fd < 0) return;
    if (subscriber_count == SUBSCRIBERS) give_up("too many subscribers");
    char request[REQUEST_BYTES];
    size_t size = 0;
    while (size < 4 || memcmp(request + size - 4, "\r\n\r\n", 4)) {
        ssize_t got = recv(fd, request + size, sizeof request - size, 0);
        if (got <= 0) {
            close(fd);
            return;
        }
        size += (size_t)got;
    }
    send_at_once(fd);
    greet(fd);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    subscribers[subscriber_count++] = fd;
    watch(fd, EPOLLRDHUP);
}

static void drop(int fd) {
    for (int i = 0; i < subscriber_count; i++) {
        if (subscribers[i] == fd) subscribers[i] = subscribers[--subscriber_count];
    }
    close(fd);
}

int main(int count, char **words) {
    if (count != 3) give_up("usage: fanout_server sse|ws SAMPLE");
    is_ws = !strcmp(words[1], "ws");
    sample_bytes = read_file(words[2], sample, sizeof sample);
    char *mark = memchr(sample, '~', sample_bytes);
    if (!mark) give_up("the sample has no mark");
    mark_at = (size_t)(mark - sample);
    poller = epoll_create1(0);
    int port, control_port, control = -1;
    int listener = listen_on_any(&port), control_listener = listen_on_any(&control_port);
    printf("{\"port\":%d,\"control\":%d}\n", port, control_port);
    fflush(stdout);
    for (;;) {
        struct epoll_event events[256];
        int ready = epoll_wait(poller, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                accept_subscriber(listener);
            } else if (fd == control_listener) {
                control = accept(control_listener, NULL, NULL);
                watch(control, EPOLLIN);
            } else if (fd == control) {
                obey(control);
            } else {
                drop(fd);
            }
        }
    }
}
