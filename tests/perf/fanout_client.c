/* The load client of `scripts/bench fanout`: many subscribers of one server in one process, who check and time events.

   fanout_client sse|ws PORT CONTROL PID [SAMPLE]

   Every subscriber expects every number once and in order. A command a line on stdin, its result as JSON on stdout:

     connect COUNT STALLED EVERY PATH   open subscribers; the first STALLED of them never read. With EVERY, each event is
                                        for one of so many executions (fanout.h), and `%d` in PATH becomes its index
     burst EVENTS SECONDS               closed loop: so many events, and the next ones when everybody has all of these
     rate PER_SECOND SECONDS            open loop; each event is marked with the time at which it was due
     publish EVENTS                     return once they are taken, wherever the subscribers are
     resume SECONDS                     come back with the last position until everybody is there and has everything
     disconnect                         all of them

   CONTROL takes lines `publish COUNT NUMBER STAMP`. With SAMPLE, a file with one event, CONTROL is the service's own
   port and events are posted there. CPU is that of process PID. */

#define _GNU_SOURCE
#include "fanout.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/epoll.h>

enum {
    SUBSCRIBERS = 16384,
    READ_BYTES = 256 << 10,
    /* The longest beginning of a frame that waits for its rest. */
    KEPT_BYTES = 8192,
    TOKEN_BYTES = 256,
    OUTBOX_BYTES = 8 << 20,
    EVENTS_PER_POST = 500,
    /* Handshakes under way at a time, well below what a listening socket holds. */
    UNDERWAY = 512,
    /* Between two looks at the sockets in a closed loop: a client that sleeps in the kernel would make the server pay
       for waking it. */
    NAP_US = 100,
    /* Between two publications of an open loop: about what a commit takes. What is due meanwhile goes together. */
    COMMIT_US = 2000,
    PATIENCE_US = 20000000,
};

typedef struct {
    int fd; /* -1 = cut off */
    bool has_head, is_ready, is_stalled;
    uint64_t next;
    int kept_bytes;
    char token[TOKEN_BYTES], kept[KEPT_BYTES];
} Subscriber;

static Subscriber *subscribers;
static int count, ready, open_count, every;
static char path[512];
static bool is_ws;
static int port, control_port, poller, control = -1;
static clockid_t server_cpu, own_cpu = CLOCK_PROCESS_CPUTIME_ID;

/* Of the number to come; deliveries that are still to come. */
static uint64_t number;
static int64_t awaited;

/* --- what one command saw ---------------------------------------------------------------------------------------- */

static struct {
    uint64_t events, deliveries, wrong, bytes, reads, cut, notices, max_us, began_us, ended_us, histogram[BUCKETS];
    double server_cpu_s, own_cpu_s;
    char notice[300];
} seen;

static uint64_t percentile(double share) { return percentile_of(seen.histogram, seen.deliveries, share); }

static void note(const char *text, size_t size) {
    if (seen.notices++) return;
    if (size >= sizeof seen.notice) size = sizeof seen.notice - 1;
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        seen.notice[i] = c < ' ' ? ' ' : c == '"' || c == '\\' ? '\'' : c;
    }
    seen.notice[size] = 0;
}

static void begin(void) {
    memset(&seen, 0, sizeof seen);
    seen.server_cpu_s = -seconds_of(server_cpu);
    seen.own_cpu_s = -seconds_of(own_cpu);
    seen.began_us = seen.ended_us = now_us();
}

static void finish(void) {
    seen.server_cpu_s += seconds_of(server_cpu);
    seen.own_cpu_s += seconds_of(own_cpu);
    printf("{\"events\":%lu,\"deliveries\":%lu,\"missing\":%ld,\"wrong\":%lu,\"cut\":%lu,\"notices\":%lu,\"notice\":\"%s\",",
           seen.events, seen.deliveries, awaited, seen.wrong, seen.cut, seen.notices, seen.notice);
    printf("\"began_us\":%lu,\"ended_us\":%lu,\"server_cpu_s\":%.6f,\"client_cpu_s\":%.6f,\"bytes\":%lu,\"reads\":%lu,",
           seen.began_us, seen.ended_us, seen.server_cpu_s, seen.own_cpu_s, seen.bytes, seen.reads);
    printf("\"ready\":%d,\"p50_us\":%lu,\"p99_us\":%lu,\"max_us\":%lu}\n", ready, percentile(0.5), percentile(0.99),
           seen.max_us);
    fflush(stdout);
}

/* --- frames of one subscriber ------------------------------------------------------------------------------------- */

static void watch(int fd, void *whose) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = whose};
    epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
}

static void hang_up(Subscriber *one) {
    if (one->fd < 0) return;
    close(one->fd);
    one->fd = -1;
    open_count--;
    ready -= one->is_ready;
    one->is_ready = one->has_head = false;
    one->kept_bytes = 0;
}

static void cut(Subscriber *one) {
    hang_up(one);
    seen.cut++;
}

static char *payload_of(char *frame) {
    size_t said = (size_t)(frame[1] & 0x7f);
    return frame + (said == 127 ? 10 : said == 126 ? 4 : 2);
}

static char *behind_frame(char *from, char *end) {
    if (end - from < 2 || end < payload_of(from)) return NULL;
    size_t size = (size_t)(from[1] & 0x7f);
    if (size >= 126) {
        int digits = size == 126 ? 2 : 8;
        size = 0;
        for (int i = 0; i < digits; i++) size = size << 8 | (unsigned char)from[2 + i];
    }
    char *payload = payload_of(from);
    return (size_t)(end - payload) >= size ? payload + size : NULL;
}

/* A block ends with an empty line; what HTTP puts between chunks is then at the beginning of the next one. */
static char *behind_block(char *from, char *end) {
    for (char *at = from; (at = memchr(at, '\n', (size_t)(end - at))) && at + 1 < end; at++) {
        if (at[1] == '\n') return at + 2;
    }
    return NULL;
}

static char *behind_unit(const Subscriber *one, char *from, char *end) {
    if (one->has_head) return is_ws ? behind_frame(from, end) : behind_block(from, end);
    char *head_end = memmem(from, (size_t)(end - from), "\r\n\r\n", 4);
    return head_end ? head_end + 4 : NULL;
}

static void take_head(Subscriber *one, char *head, char *behind) {
    const char *wanted = is_ws ? "HTTP/1.1 101" : "HTTP/1.1 200";
    size_t size = (size_t)(behind - head);
    if (memcmp(head, wanted, 12) || (is_ws && !memmem(head, size, WEBSOCKET_ACCEPT, strlen(WEBSOCKET_ACCEPT)))) {
        note(head, size);
        cut(one);
        return;
    }
    one->has_head = true;
}

/* Pings are answered, as a server otherwise ends the connection; a close frame is told. */
static void take_control_frame(Subscriber *one, char *frame, char *behind) {
    char *payload = payload_of(frame);
    size_t size = (size_t)(behind - payload);
    if ((frame[0] & 0x0f) == 8) {
        char said[64];
        int code = size < 2 ? 0 : (unsigned char)payload[0] << 8 | (unsigned char)payload[1];
        note(said, (size_t)sprintf(said, "close %d", code));
    }
    if ((frame[0] & 0x0f) != 9) return;
    char pong[6 + 125] = {(char)0x8a, (char)(0x80 | size)}; /* masked with zeros */
    memcpy(pong + 6, payload, size);
    if (send(one->fd, pong, 6 + size, MSG_NOSIGNAL) < 0) note("cannot answer a ping", 20);
}

/* The position is the last member of what has one. It counts only once the whole frame is there. */
static void remember_position(Subscriber *one, const char *unit, const char *behind) {
    static const char name[] = "\"position\":\"";
    while (behind > unit && behind[-1] == '\n') behind--;
    const char *end = behind - 2;
    if (end <= unit || memcmp(end, "\"}", 2)) return;
    const char *begin = memrchr(unit, '"', (size_t)(end - unit));
    if (!begin++ || begin - unit < (long)strlen(name) || end - begin >= TOKEN_BYTES) return;
    if (memcmp(begin - strlen(name), name, strlen(name))) return;
    *(char *)mempcpy(one->token, begin, (size_t)(end - begin)) = 0;
}

static void take_event(Subscriber *one, const char *mark, uint64_t now) {
    uint64_t said = digits_at(mark + 1, NUMBER_DIGITS), stamp = digits_at(mark + 1 + NUMBER_DIGITS, STAMP_DIGITS);
    if (said != one->next) {
        seen.wrong++;
        if (said < one->next) return;
    }
    one->next = said + (uint64_t)(every ? every : 1);
    uint64_t took_us = now > stamp ? now - stamp : 0;
    seen.histogram[bucket_of(took_us)]++;
    if (took_us > seen.max_us) seen.max_us = took_us;
    seen.deliveries++;
    awaited--;
}

static void take_other(Subscriber *one, char *unit, char *behind) {
    static const char *const usual[] = {"stream.hello", "stream.checkpoint", "stream.heartbeat", "stream.slow"};
    size_t size = (size_t)(behind - unit);
    remember_position(one, unit, behind);
    if (memmem(unit, size, SUBSCRIBED, strlen(SUBSCRIBED))) {
        ready += !one->is_ready;
        one->is_ready = true;
        if (one->is_stalled) epoll_ctl(poller, EPOLL_CTL_DEL, one->fd, NULL);
        return;
    }
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++) {
        if (memmem(unit, size, usual[i], strlen(usual[i]))) return;
    }
    if (memmem(unit, size, "stream.", 7)) note(unit, size);
}

static void read_from(Subscriber *one) {
    static char buffer[KEPT_BYTES + READ_BYTES];
    ssize_t got = recv(one->fd, buffer + KEPT_BYTES, READ_BYTES, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
        cut(one);
        return;
    }
    seen.bytes += (uint64_t)got;
    seen.reads++;
    char *unit = buffer + KEPT_BYTES - one->kept_bytes, *end = buffer + KEPT_BYTES + got, *behind;
    char *last = NULL, *behind_last = NULL;
    memcpy(unit, one->kept, (size_t)one->kept_bytes);
    uint64_t now = now_us();
    for (; one->fd >= 0 && (behind = behind_unit(one, unit, end)); unit = behind) {
        if (!one->has_head) {
            take_head(one, unit, behind);
            continue;
        }
        if (is_ws && (unit[0] & 0x0f) != 1) {
            take_control_frame(one, unit, behind);
            continue;
        }
        char *payload = is_ws ? payload_of(unit) : unit; /* the header itself may hold a `~` */
        char *mark = memchr(payload, '~', (size_t)(behind - payload));
        if (!mark || behind - mark < MARK_BYTES) {
            take_other(one, payload, behind);
            continue;
        }
        take_event(one, mark, now);
        last = payload, behind_last = behind;
    }
    if (one->fd < 0) return;
    if (last) remember_position(one, last, behind_last);
    one->kept_bytes = (int)(end - unit);
    if (one->kept_bytes > KEPT_BYTES) give_up("a frame is larger than this client takes");
    memcpy(one->kept, unit, (size_t)one->kept_bytes);
}

/* --- publishing -------------------------------------------------------------------------------------------------- */

static char sample[EVENT_BYTES];
static size_t sample_bytes; /* 0 = lines on a control port */
static size_t mark_at, id_at;
static char outbox[OUTBOX_BYTES];
static size_t outbox_bytes;
static int unanswered;

static size_t place_of(const char *text, size_t beyond) {
    const char *found = memmem(sample, sample_bytes, text, strlen(text));
    if (!found) give_up("the sample of an event lacks its mark or its id");
    return (size_t)(found - sample) + beyond;
}

static void read_sample(const char *file) {
    sample_bytes = read_file(file, sample, sizeof sample);
    mark_at = place_of("~", 0);
    id_at = place_of("\"id\":\"", strlen("\"id\":\""));
}

static void expect(uint64_t events) {
    int stalled = 0;
    while (stalled < count && subscribers[stalled].is_stalled) stalled++;
    seen.events += events;
    if (!every) awaited += (int64_t)events * (count - stalled);
    for (uint64_t i = number; every && i < number + events; i++) {
        int whose = execution_of(i, every);
        awaited += whose < count && whose >= stalled;
    }
}

static void add_events(uint64_t events, uint64_t stamp_us) {
    expect(events);
    if (!sample_bytes) {
        outbox_bytes += (size_t)sprintf(outbox + outbox_bytes, "publish %lu %lu %lu\n", events, number, stamp_us);
        number += events;
        return;
    }
    while (events--) {
        char *at = outbox + outbox_bytes;
        at[0] = outbox_bytes ? ',' : '[';
        memcpy(at + 1, sample, sample_bytes);
        put_mark(at + 1 + mark_at, number, stamp_us);
        put_digits(at + 1 + id_at, number, NUMBER_DIGITS);
        number++;
        outbox_bytes += 1 + sample_bytes;
    }
}

static int dial(int to) {
    struct sockaddr_in address = loopback(to);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0) give_up("no descriptors left: raise the limit that `ulimit -n` shows");
    if (connect(fd, (void *)&address, sizeof address)) {
        close(fd);
        return -1;
    }
    send_at_once(fd);
    return fd;
}

static void send_out(void) {
    if (!outbox_bytes) return;
    if (control < 0) {
        control = dial(control_port);
        if (control < 0) give_up("cannot reach the server's control port");
        watch(control, &control);
    }
    if (sample_bytes) {
        outbox[outbox_bytes++] = ']';
        dprintf(control, "POST /v1/events HTTP/1.1\r\nhost: 127.0.0.1:%d\r\ncontent-type: application/json\r\n"
                "content-length: %zu\r\n\r\n", control_port, outbox_bytes);
        unanswered++;
    }
    for (size_t sent = 0; sent < outbox_bytes;) {
        ssize_t now = send(control, outbox + sent, outbox_bytes - sent, MSG_NOSIGNAL);
        if (now < 0) give_up("the server hung up on who publishes");
        sent += (size_t)now;
    }
    outbox_bytes = 0;
}

/* Answers to what was posted: only their status matters. */
static void read_control(void) {
    static char answer[1 << 16];
    static size_t held;
    ssize_t got = recv(control, answer + held, sizeof answer - held, 0);
    if (got <= 0) {
        close(control);
        control = -1;
        held = 0;
        unanswered = 0;
        return;
    }
    char *at = answer, *end = answer + held + got;
    for (char *found; (found = memmem(at, (size_t)(end - at), "HTTP/1.1 ", 9)) && end - found >= 12; at = found + 12) {
        if (memcmp(found + 9, "200", 3)) note(found, (size_t)(end - found));
        unanswered--;
    }
    held = end - at < 11 ? (size_t)(end - at) : 11;
    memmove(answer, end - held, held);
}

/* --- waiting ----------------------------------------------------------------------------------------------------- */

/* Read whatever is there, after at most so long. 0 = look and return; whether there was anything. */
static bool turn(int timeout_ms) {
    struct epoll_event events[1024];
    int found = epoll_wait(poller, events, 1024, timeout_ms);
    for (int i = 0; i < found; i++) {
        void *whose = events[i].data.ptr;
        if (whose == &control) {
            read_control();
        } else if (whose && ((Subscriber *)whose)->fd >= 0) {
            read_from(whose);
        }
    }
    return found > 0;
}

/* Until everybody has everything; whether it came to that. */
static bool await_all(bool by_naps) {
    uint64_t deadline = now_us() + PATIENCE_US;
    while (awaited > 0 && !seen.cut && now_us() < deadline) {
        if (!turn(by_naps ? 0 : 20) && by_naps) usleep(NAP_US);
    }
    seen.ended_us = now_us();
    return awaited <= 0;
}

/* --- connections ------------------------------------------------------------------------------------------------- */

static bool open_one(Subscriber *one, int index) {
    char request[1024], where[768];
    int fd = dial(port);
    if (fd < 0) return false;
    int size = snprintf(where, sizeof where, path, index);
    if (is_ws && *one->token) {
        snprintf(where + size, sizeof where - (size_t)size, "%cposition=%s", strchr(where, '?') ? '&' : '?', one->token);
    }
    size = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n", where, port);
    if (is_ws) {
        size += sprintf(request + size, "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                        "Sec-WebSocket-Key: " WEBSOCKET_KEY "\r\nSec-WebSocket-Version: 13\r\n");
    } else {
        size += sprintf(request + size, "Accept: text/event-stream\r\n");
        if (*one->token) size += snprintf(request + size, sizeof request - (size_t)size, "Last-Event-ID: %s\r\n", one->token);
    }
    size += sprintf(request + size, "\r\n");
    if (send(fd, request, (size_t)size, MSG_NOSIGNAL) != size) {
        close(fd);
        return false;
    }
    fcntl(fd, F_SETFL, O_NONBLOCK);
    one->fd = fd;
    open_count++;
    watch(fd, one);
    return true;
}

/* Open whoever is cut off; whether the server answers at all. */
static bool open_all(void) {
    for (int i = 0; i < count; i++) {
        if (subscribers[i].fd >= 0) continue;
        while (open_count - ready > UNDERWAY && turn(20)) continue;
        if (!open_one(&subscribers[i], i)) return false;
    }
    return true;
}

static void disconnect(void) {
    for (int i = 0; i < count; i++) hang_up(&subscribers[i]);
    count = 0;
    awaited = 0;
}

static void run_connect(int wanted, int stalled, int to_each, const char *template) {
    disconnect();
    if (wanted > SUBSCRIBERS) give_up("too many subscribers");
    count = wanted;
    every = to_each;
    snprintf(path, sizeof path, "%s", template);
    for (int i = 0; i < count; i++) {
        uint64_t next = number;
        while (every && execution_of(next, every) != i) next++;
        subscribers[i] = (Subscriber){.fd = -1, .is_stalled = i < stalled, .next = next};
    }
    begin();
    uint64_t deadline = now_us() + PATIENCE_US;
    if (!open_all()) note("connection refused", 18);
    while (ready < count && !seen.cut && now_us() < deadline) turn(20);
    seen.ended_us = now_us();
    finish();
}

/* --- commands ---------------------------------------------------------------------------------------------------- */

static void run_burst(int events, double seconds) {
    begin();
    uint64_t deadline = now_us() + (uint64_t)(seconds * 1e6);
    do {
        add_events((uint64_t)events, now_us());
        send_out();
    } while (await_all(true) && now_us() < deadline);
    finish();
}

static uint64_t due_us(uint64_t index, double per_s) {
    return seen.began_us + (uint64_t)((double)index * 1e6 / per_s);
}

static void run_rate(double per_s, double seconds) {
    begin();
    uint64_t last = (uint64_t)(per_s * seconds), done = 0, sent_us = 0;
    while (done < last && !seen.cut) {
        uint64_t due = due_us(done, per_s), now = now_us(), next = due > sent_us + COMMIT_US ? due : sent_us + COMMIT_US;
        if (next > now) {
            int wait_us = (int)(next - now);
            if (!turn(wait_us / 1000) && wait_us < 1000) usleep((useconds_t)wait_us);
            continue;
        }
        for (; done < last && (due = due_us(done, per_s)) <= now; done++) add_events(1, due);
        send_out();
        sent_us = now;
    }
    await_all(false);
    finish();
}

static void run_publish(int events) {
    begin();
    while (events > 0) {
        int some = events < EVENTS_PER_POST ? events : EVENTS_PER_POST;
        add_events((uint64_t)some, now_us());
        send_out();
        while (unanswered > 0) turn(20);
        events -= some;
    }
    seen.ended_us = now_us();
    finish();
}

static void run_resume(double seconds) {
    begin();
    uint64_t deadline = now_us() + (uint64_t)(seconds * 1e6);
    while ((awaited > 0 || ready < count) && now_us() < deadline) {
        open_all();
        turn(10);
    }
    seen.ended_us = now_us();
    finish();
}

static void obey(const char *line) {
    int first, second, third;
    double amount, seconds;
    char where[400];
    if (sscanf(line, "connect %d %d %d %399s", &first, &second, &third, where) == 4) {
        run_connect(first, second, third, where);
    } else if (sscanf(line, "burst %d %lf", &first, &seconds) == 2) {
        run_burst(first, seconds);
    } else if (sscanf(line, "rate %lf %lf", &amount, &seconds) == 2) {
        run_rate(amount, seconds);
    } else if (sscanf(line, "publish %d", &first) == 1) {
        run_publish(first);
    } else if (sscanf(line, "resume %lf", &seconds) == 1) {
        run_resume(seconds);
    } else if (!strncmp(line, "disconnect", 10)) {
        begin();
        disconnect();
        finish();
    } else {
        give_up("unknown command");
    }
}

int main(int words, char **word) {
    if (words < 5) give_up("usage: fanout_client sse|ws PORT CONTROL PID [SAMPLE]");
    is_ws = !strcmp(word[1], "ws");
    port = atoi(word[2]);
    control_port = atoi(word[3]);
    if (clock_getcpuclockid(atoi(word[4]), &server_cpu)) give_up("there is no such process to measure");
    if (words > 5) read_sample(word[5]);
    subscribers = calloc(SUBSCRIBERS, sizeof *subscribers);
    poller = epoll_create1(0);
    watch(STDIN_FILENO, NULL);
    char line[512];
    for (;;) {
        /* Also between commands, so that pings are answered and whatever goes wrong is seen. */
        struct epoll_event event;
        turn(20);
        if (epoll_wait(poller, &event, 1, -1) < 1 || event.data.ptr) continue;
        ssize_t got = read(STDIN_FILENO, line, sizeof line - 1);
        if (got <= 0) return 0;
        line[got] = 0;
        obey(line);
    }
}
