/* The load of `scripts/bench webhooks`: publishes events to a service, and receives, checks and times what it delivers.

   webhooks_load

   Prints the port that endpoints are registered with, as `http://127.0.0.1:PORT/INDEX`. Each number is expected once at
   each endpoint that wants it, under a webhook-id of its own. A command a line on stdin, its result as JSON on stdout:

     serve PID PORT                   whose CPU counts, and where events are posted
     endpoints COUNT WHO              forget what was; WHO wants an event: `all`, the next in `turns`, or the first one
                                      every other event and the rest in turns the `half` that remains
     hang                             from now on the first endpoint takes requests and never answers
     window BATCH OUTSTANDING SECONDS closed loop: post so many events at once while no more deliveries are outstanding
     rate PER_SECOND SECONDS          open loop: events are marked with the time at which they were due
     publish EVENTS                   return once they are accepted, wherever the deliveries are
     await EVENTS                     somebody else sends the deliveries of so many events
     rest SECONDS                     only answer what still comes
     patience SECONDS                 how long whatever is missing is waited for
     sample FILE                      write the last request there, as it came

   What the first endpoint gets of the half that it wants is counted apart, and not awaited once it hangs. */

#define _GNU_SOURCE
#include "bench.h"

#include <fcntl.h>
#include <stdbool.h>
#include <sys/epoll.h>

enum {
    BACKLOG = 4096,
    REQUEST_BYTES = 8192,
    EVENT_BYTES = 512,
    OUTBOX_BYTES = 4 << 20,
    EVENTS_PER_POST = 500,
    /* Of one `endpoints` command. */
    NUMBERS = 1 << 22,
    IDS = 1 << 23,
    /* Workflows where none belongs to an endpoint, and executions of each. */
    WORKFLOWS = 100,
    EXECUTIONS = 10,
};

enum Who { ALL, TURNS, HALF };

typedef struct {
    int fd, size;
    char bytes[REQUEST_BYTES + 1];
} Connection;

static int poller, listener, control = -1, control_port;
static clockid_t server_cpu = CLOCK_PROCESS_CPUTIME_ID;
static uint64_t patience_us = 30000000;

/* What is expected: of the numbers from `first` on, at which endpoints. */
static int endpoints;
static enum Who who;
static bool is_hanging;
static uint64_t first, number;
static uint64_t due_us[NUMBERS];
static unsigned char *arrived; /* a bit per number and endpoint */
static size_t arrived_bytes;
static uint64_t ids[IDS]; /* hashes, open addressing */
static int64_t awaited;

/* Mistakes are kept from command to command: one may come late. */
static uint64_t doubled, reused, foreign;
static char last_request[REQUEST_BYTES + 1];
static int last_bytes;

static struct {
    uint64_t events, deliveries, apart, timed, max_us, began_us, ended_us, first_number, histogram[BUCKETS];
    double server_cpu_s, own_cpu_s;
} seen;

/* --- what one command saw ---------------------------------------------------------------------------------------- */

static void begin(void) {
    memset(&seen, 0, sizeof seen);
    seen.first_number = number;
    seen.server_cpu_s = -seconds_of(server_cpu);
    seen.own_cpu_s = -seconds_of(CLOCK_PROCESS_CPUTIME_ID);
    seen.began_us = seen.ended_us = now_us();
}

static void time_one(uint64_t took_us) {
    seen.histogram[bucket_of(took_us)]++;
    seen.timed++;
    if (took_us > seen.max_us) seen.max_us = took_us;
}

static void finish(void) {
    seen.server_cpu_s += seconds_of(server_cpu);
    seen.own_cpu_s += seconds_of(CLOCK_PROCESS_CPUTIME_ID);
    printf("{\"events\":%lu,\"deliveries\":%lu,\"apart\":%lu,\"missing\":%ld,\"doubled\":%lu,\"reused\":%lu,\"foreign\":%lu,",
           seen.events, seen.deliveries, seen.apart, awaited, doubled, reused, foreign);
    printf("\"began_us\":%lu,\"ended_us\":%lu,\"server_cpu_s\":%.6f,\"own_cpu_s\":%.6f,", seen.began_us, seen.ended_us,
           seen.server_cpu_s, seen.own_cpu_s);
    printf("\"p50_us\":%lu,\"p99_us\":%lu,\"max_us\":%lu}\n", percentile_of(seen.histogram, seen.timed, 0.5),
           percentile_of(seen.histogram, seen.timed, 0.99), seen.max_us);
    fflush(stdout);
}

/* --- what is expected -------------------------------------------------------------------------------------------- */

/* The endpoint that wants this number, where only one does. */
static int wanting(uint64_t which) {
    if (who == TURNS) return (int)(which % (uint64_t)endpoints);
    return which % 2 ? 1 + (int)(which / 2 % (uint64_t)(endpoints - 1)) : 0;
}

static bool is_apart(int endpoint) { return who == HALF && endpoint == 0; }

static bool is_awaited(int endpoint) { return !(is_hanging && is_apart(endpoint)); }

static void expect(uint64_t stamp_us) {
    if (number - first == NUMBERS) give_up("more events than this program can keep count of");
    due_us[number - first] = stamp_us;
    awaited += who == ALL ? endpoints : is_awaited(wanting(number));
    seen.events++;
    number++;
}

static bool is_first(uint64_t which, int endpoint) {
    size_t bit = (size_t)(which - first) * (size_t)endpoints + (size_t)endpoint;
    if (bit / 8 >= arrived_bytes) give_up("more deliveries than this program can keep count of");
    unsigned char mask = (unsigned char)(1 << bit % 8);
    bool is_new = !(arrived[bit / 8] & mask);
    arrived[bit / 8] |= mask;
    return is_new;
}

/* FNV-1a: no two of some million ids share it by accident. */
static bool is_new_id(const char *id, size_t size) {
    uint64_t hash = 14695981039346656037u;
    while (size--) hash = (hash ^ (unsigned char)*id++) * 1099511628211u;
    size_t at = hash % IDS;
    while (ids[at] && ids[at] != hash) at = (at + 1) % IDS;
    bool is_new = !ids[at];
    ids[at] = hash;
    return is_new;
}

/* How long those have been waited for at least that did not come. */
static void time_missing(void) {
    for (uint64_t which = seen.first_number; which < number; which++) {
        for (int endpoint = 0; endpoint < endpoints; endpoint++) {
            if ((who != ALL && wanting(which) != endpoint) || is_apart(endpoint)) continue;
            if (is_first(which, endpoint)) time_one(now_us() - due_us[which - first]);
        }
    }
}

/* --- receiving --------------------------------------------------------------------------------------------------- */

static void watch(int fd, void *whose) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = whose};
    epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
}

static void hang_up(Connection *one) {
    close(one->fd);
    free(one);
}

static void accept_all(void) {
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
        Connection *one = malloc(sizeof *one);
        one->fd = fd;
        one->size = 0;
        send_at_once(fd);
        watch(fd, one);
    }
}

/* A header's value, within the head that ends with a NUL. */
static const char *header(const char *head, const char *name) {
    const char *found = strcasestr(head, name);
    if (!found) return "";
    found += strlen(name);
    return found + strspn(found, " ");
}

static void count_delivery(int endpoint, uint64_t which, uint64_t stamp_us, const char *id) {
    bool is_new = is_first(which, endpoint), has_new_id = is_new_id(id, strcspn(id, "\r"));
    doubled += !is_new;
    reused += is_new && !has_new_id;
    if (!is_new) return;
    seen.deliveries++;
    awaited--;
    if (is_apart(endpoint)) {
        seen.apart++;
        return;
    }
    uint64_t now = now_us();
    time_one(now > stamp_us ? now - stamp_us : 0);
}

/* Whether it is to be answered. */
static bool take_request(const char *head, const char *body, size_t body_bytes) {
    int endpoint = -1;
    const char *mark = memchr(body, '~', body_bytes);
    if (sscanf(head, "POST /%d ", &endpoint) != 1 || endpoint < 0 || endpoint >= endpoints || !mark
        || body + body_bytes - mark < MARK_BYTES) {
        foreign++;
        return true;
    }
    uint64_t which = digits_at(mark + 1, NUMBER_DIGITS), stamp_us = digits_at(mark + 1 + NUMBER_DIGITS, STAMP_DIGITS);
    if (which < first || which >= number || (who != ALL && wanting(which) != endpoint)) {
        foreign++;
    } else if (is_awaited(endpoint)) {
        count_delivery(endpoint, which, stamp_us, header(head, "\r\nwebhook-id:"));
    } else {
        seen.apart++;
        return false;
    }
    return true;
}

static void answer(Connection *one) {
    static const char ok[] = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    if (send(one->fd, ok, strlen(ok), MSG_NOSIGNAL) < 0) foreign++;
}

static void read_from(Connection *one) {
    ssize_t got = recv(one->fd, one->bytes + one->size, (size_t)(REQUEST_BYTES - one->size), 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
        hang_up(one);
        return;
    }
    one->size += (int)got;
    one->bytes[one->size] = 0;
    char *head_end = strstr(one->bytes, "\r\n\r\n");
    if (!head_end) return;
    char *body = head_end + 4;
    size_t body_bytes = strtoul(header(one->bytes, "\r\ncontent-length:"), NULL, 10);
    if (body + body_bytes > one->bytes + REQUEST_BYTES) give_up("a request is larger than this program takes");
    if (body + body_bytes > one->bytes + one->size) return;
    last_bytes = one->size;
    memcpy(last_request, one->bytes, (size_t)one->size);
    head_end[2] = 0;
    one->size = 0; /* nobody sends the next request before the answer */
    if (take_request(one->bytes, body, body_bytes)) answer(one);
}

/* --- publishing -------------------------------------------------------------------------------------------------- */

static char outbox[OUTBOX_BYTES];
static size_t outbox_bytes;
static int unanswered;

static void add_event(uint64_t stamp_us) {
    int workflow = who == ALL ? (int)(number % WORKFLOWS) : wanting(number);
    outbox_bytes += (size_t)snprintf(
        outbox + outbox_bytes, EVENT_BYTES,
        "%c{\"type\":\"node.completed\",\"executionId\":\"exec_%d_%d\",\"workflowId\":\"wf_%d\","
        "\"timestamp\":\"2026-11-22T10:30:05.204Z\",\"id\":\"%08lu\",\"source\":\"n8n:prod-1\",\"data\":{"
        "\"nodeId\":\"http_1\",\"nodeName\":\"HTTP Request\",\"nodeType\":\"httpRequest\",\"status\":\"success\","
        "\"duration\":0.304,\"mark\":\"~%08lu%016lu\"}}",
        outbox_bytes ? ',' : '[', workflow, (int)(number / WORKFLOWS % EXECUTIONS), workflow, number, number, stamp_us);
    if (outbox_bytes > OUTBOX_BYTES - EVENT_BYTES) give_up("more events at once than this program posts");
    expect(stamp_us);
}

static void send_out(void) {
    if (control < 0) {
        struct sockaddr_in address = loopback(control_port);
        control = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(control, (void *)&address, sizeof address)) give_up("cannot reach the service");
        send_at_once(control);
        watch(control, &control);
    }
    outbox[outbox_bytes++] = ']';
    dprintf(control, "POST /v1/events HTTP/1.1\r\nhost: 127.0.0.1:%d\r\ncontent-type: application/json\r\n"
            "content-length: %zu\r\n\r\n", control_port, outbox_bytes);
    for (size_t sent = 0; sent < outbox_bytes;) {
        ssize_t now = send(control, outbox + sent, outbox_bytes - sent, MSG_NOSIGNAL);
        if (now < 0) give_up("the service hung up on who publishes");
        sent += (size_t)now;
    }
    outbox_bytes = 0;
    unanswered++;
}

/* Answers to what was posted: only their status matters. */
static void read_control(void) {
    static char said[1 << 16];
    static size_t held;
    ssize_t got = recv(control, said + held, sizeof said - held, 0);
    if (got <= 0) {
        close(control);
        control = -1;
        held = 0;
        return;
    }
    char *at = said, *end = said + held + got;
    for (char *found; (found = memmem(at, (size_t)(end - at), "HTTP/1.1 ", 9)) && end - found >= 12; at = found + 12) {
        if (memcmp(found + 9, "200", 3)) give_up("the service refused events");
        unanswered--;
    }
    held = end - at < 11 ? (size_t)(end - at) : 11;
    memmove(said, end - held, held);
}

/* --- waiting ----------------------------------------------------------------------------------------------------- */

/* Take whatever is there, after at most so long. */
static void turn(int timeout_ms) {
    struct epoll_event events[512];
    int found = epoll_wait(poller, events, 512, timeout_ms);
    for (int i = 0; i < found; i++) {
        void *whose = events[i].data.ptr;
        if (whose == &control) {
            read_control();
        } else if (whose == &listener) {
            accept_all();
        } else if (whose) {
            read_from(whose);
        }
    }
}

static void await_all(void) {
    uint64_t deadline = now_us() + patience_us;
    while (awaited > 0 && now_us() < deadline) turn(20);
    seen.ended_us = now_us();
    if (awaited > 0) time_missing();
}

/* --- commands ---------------------------------------------------------------------------------------------------- */

static void run_endpoints(int count, const char *wanted) {
    begin();
    endpoints = count;
    who = !strcmp(wanted, "all") ? ALL : !strcmp(wanted, "turns") ? TURNS : HALF;
    first = number;
    awaited = 0;
    is_hanging = false;
    free(arrived);
    arrived_bytes = (size_t)1 << 28; /* touched only where something arrives */
    arrived = calloc(arrived_bytes, 1);
    memset(ids, 0, sizeof ids);
}

static void run_window(int batch, int64_t outstanding, double seconds) {
    begin();
    int64_t each = (int64_t)batch * (who == ALL ? endpoints : 1);
    for (uint64_t now, until = seen.began_us + (uint64_t)(seconds * 1e6); (now = now_us()) < until;) {
        if (unanswered || awaited + each > outstanding) {
            turn(20);
            continue;
        }
        for (int i = 0; i < batch; i++) add_event(now);
        send_out();
    }
    await_all();
}

static void run_rate(double per_s, double seconds) {
    begin();
    uint64_t last = (uint64_t)(per_s * seconds);
    for (uint64_t done = 0; done < last;) {
        uint64_t due = seen.began_us + (uint64_t)((double)done * 1e6 / per_s), now = now_us();
        if (due > now || unanswered) {
            turn(due > now + 1000 ? (int)((due - now) / 1000) : 0);
            continue;
        }
        for (; done < last && (due = seen.began_us + (uint64_t)((double)done * 1e6 / per_s)) <= now; done++) add_event(due);
        send_out();
    }
    await_all();
}

static void run_publish(int events) {
    begin();
    for (int i = 0; i < events; i++) {
        add_event(now_us());
        if ((i + 1) % EVENTS_PER_POST && i + 1 < events) continue;
        send_out();
        while (unanswered) turn(20);
    }
    seen.ended_us = now_us();
}

static void run_await(int events) {
    begin();
    while (events--) expect(now_us());
    printf("{\"first\":%lu}\n", seen.first_number); /* now they may come */
    fflush(stdout);
    await_all();
}

static void run_rest(double seconds) {
    begin();
    for (uint64_t until = seen.began_us + (uint64_t)(seconds * 1e6); now_us() < until;) turn(5);
}

static void run_sample(const char *path) {
    begin();
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(last_request, 1, (size_t)last_bytes, file) != (size_t)last_bytes || fclose(file)) {
        give_up("cannot write the sample");
    }
}

static void obey(const char *line) {
    int one, other;
    double amount, seconds;
    char word[400];
    if (sscanf(line, "serve %d %d", &one, &other) == 2) {
        if (clock_getcpuclockid(one, &server_cpu)) give_up("there is no such process to measure");
        control_port = other;
        begin();
    } else if (sscanf(line, "endpoints %d %399s", &one, word) == 2) {
        run_endpoints(one, word);
    } else if (!strncmp(line, "hang", 4)) {
        begin();
        is_hanging = true;
    } else if (sscanf(line, "window %d %d %lf", &one, &other, &seconds) == 3) {
        run_window(one, other, seconds);
    } else if (sscanf(line, "rate %lf %lf", &amount, &seconds) == 2) {
        run_rate(amount, seconds);
    } else if (sscanf(line, "publish %d", &one) == 1) {
        run_publish(one);
    } else if (sscanf(line, "await %d", &one) == 1) {
        run_await(one);
    } else if (sscanf(line, "rest %lf", &seconds) == 1) {
        run_rest(seconds);
    } else if (sscanf(line, "patience %lf", &seconds) == 1) {
        begin();
        patience_us = (uint64_t)(seconds * 1e6);
    } else if (sscanf(line, "sample %399s", word) == 1) {
        run_sample(word);
    } else {
        give_up("unknown command");
    }
    finish();
}

static void listen_somewhere(void) {
    struct sockaddr_in address = loopback(0);
    socklen_t size = sizeof address;
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (bind(listener, (void *)&address, size) || listen(listener, BACKLOG)) give_up("cannot listen");
    getsockname(listener, (void *)&address, &size);
    watch(listener, &listener);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
}

int main(void) {
    poller = epoll_create1(0);
    watch(STDIN_FILENO, NULL);
    listen_somewhere();
    char line[512];
    for (;;) {
        /* Also between commands: what comes late is answered and counted. */
        struct epoll_event event;
        turn(20);
        if (epoll_wait(poller, &event, 1, -1) < 1 || event.data.ptr) continue;
        ssize_t got = read(STDIN_FILENO, line, sizeof line - 1);
        if (got <= 0) return 0;
        line[got] = 0;
        obey(line);
    }
}
