/*
 * The load generator: many WebSockets and one Redis connection in one process, on one epoll.
 *
 *     load KEY=VALUE ...
 *
 * The dialogue with run.py, a line each: it says "ready" when all is connected and proven to work,
 * waits for a line on its standard input, runs, and writes its counts as a line of JSON. (With
 * base=N it says "base" after the first N connections, and waits there too.) In between run.py reads
 * the CPU time of the server, or its memory.
 *
 * mode=fan    clients read publications: the channel of client i is i % channels
 * mode=crowd  `crowd` more clients come, `handshaking` at a time, and stay, as after a restart; if
 *             `rate` is not 0, the first ones read meanwhile
 * mode=feed   clients publish, each on its own channel; messages that arrive in Redis are counted
 *
 * It must not be the bottleneck: frames to the server have a mask of zeros, a payload is checked by
 * its channel, its number and its end only, and each of these is a few digits at a fixed place:
 *
 *     "wsbench " | channel, 8 | number, 8 | microseconds, 16 | xxx... | the number again, 8
 */
#include "common.h"

enum { READ = 1 << 18, KEEP = 4096, MAX_CLIENTS = 20000, HEAD = 40, TAIL = 8 };
enum { PROBE = 99999999 };  /* the number of a message that only shows that a way is open */
enum { STALL_US = 3000000, CONNECT_US = 60000000 };

/* The data of an epoll event: the number of a client, or one of these. */
enum { REDIS_OUT = 1 << 30, REDIS_IN };

enum role { READER, WRITER };
enum state { CLOSED, CONNECTING, SHAKING, OPEN };

struct client {
    int fd;
    enum state state;
    enum role role;
    int channel;
    int live;           /* a probe has come through */
    uint32_t next;      /* the number that comes next */
    uint32_t in_flight; /* of a writer */
    int dirty;          /* stands in `dirty` */
    struct buf out;
    int kept;
    char keep[KEEP]; /* the first part of a frame whose rest is still to come */
};

/* Arguments. */
static char mode[16] = "fan", sub_path[128] = "/sub/%d", pub_path[128] = "/pub/%d";
static char channel_name[128] = "%d", pattern[128] = "";
static int port, redis_port, clients = 1, channels = 1, window = 1, size = 128, base = 0;
static int rate = 0, handshaking = 50, crowd = 0, by_websocket = 0, feeding;
static long messages = 0;
static double seconds = 0, warmup = 0;

/* The run. */
static int poll_fd, redis_out, redis_in = -1;
static struct client *client;
static struct buf to_redis, from_redis;
static int *dirty, dirty_count;
static uint32_t *sent;    /* by channel */
static uint16_t *missing; /* by channel and number % window: clients that have not got it yet */
static int in_flight, live_count;
static long arrived, skipped, repeated, closed, foreign, shaken;
static int64_t progress; /* when something arrived last */
static int64_t started;
static clock_t cpu; /* of this program, when the run began */
static uint32_t *latency;
static long latency_count, latency_cap;
static double back; /* seconds until the whole crowd was there */

/* -- Payloads */

static void digits(char *place, uint64_t value, int count) {
    while (count--) {
        place[count] = '0' + value % 10;
        value /= 10;
    }
}

static inline uint64_t number(const char *place, int count) {
    uint64_t value = 0;
    while (count--)
        value = value * 10 + (uint8_t)(*place++ - '0');
    return value;
}

static const char *payload(int channel, uint32_t count) {
    static char text[KEEP];
    if (!text[0]) {
        memset(text, 'x', sizeof text);
        memcpy(text, "wsbench ", 8);
    }
    digits(text + 8, channel, 8);
    digits(text + 16, count, 8);
    digits(text + 24, now_us() - started, 16);
    digits(text + size - TAIL, count, 8);
    return text;
}

/* -- Messages to send */

static void will_write(int i) {
    if (!client[i].dirty) {
        client[i].dirty = 1;
        dirty[dirty_count++] = i;
    }
}

static void write_frame(int i, int opcode, const char *data, size_t length) {
    uint8_t head[8] = {0x80 | opcode, 0x80 | length};
    int n = 6;
    if (length > 125) {
        head[1] = 0x80 | 126, head[2] = length >> 8, head[3] = length;
        n = 8;
    }
    buf_add(&client[i].out, head, n);
    buf_add(&client[i].out, data, length);
    will_write(i);
}

static void publish(int channel, uint32_t count) {
    const char *text = payload(channel, count);
    if (feeding) {
        write_frame(channel, 1, text, size);
    } else if (by_websocket) {
        write_frame(clients + channel, 1, text, size);
    } else {
        static char name[160];
        static int of = -1, length;
        if (of != channel)
            length = sprintf(name, channel_name, of = channel);
        redis_command(&to_redis, 3, "PUBLISH", (size_t)7, name, (size_t)length, text,
                      (size_t)size);
    }
}

/* Hand the written bytes to the kernel. Returns whether some of them have to wait. */
static int flush_all(void) {
    int waiting = 0;
    for (int i = 0; i < dirty_count; i++) {
        struct client *c = &client[dirty[i]];
        c->dirty = 0;
        if (c->state != OPEN) {
            c->out.at = c->out.len = 0;
            continue;
        }
        buf_flush(&c->out, c->fd);
        if (c->out.at < c->out.len) {
            c->dirty = 1;
            dirty[waiting++] = dirty[i];
        }
    }
    dirty_count = waiting;
    if (buf_flush(&to_redis, redis_out))
        die("the connection to Redis was lost");
    return waiting || to_redis.at < to_redis.len;
}

/* -- Messages that arrive */

/* A message for a reader, or of a writer: check that it is the next one. */
static void check(struct client *c, const char *text, size_t length) {
    if (length != (size_t)size || memcmp(text, "wsbench ", 8) ||
        number(text + 8, 8) != (uint32_t)c->channel ||
        memcmp(text + 16, text + size - TAIL, TAIL)) {
        foreign++;
        return;
    }
    uint32_t count = number(text + 16, 8);
    if (count == PROBE) {
        if (!c->live)
            c->live = 1, live_count++;
        return;
    }
    if (count < c->next) {
        repeated++;
        return;
    }
    if (count >= sent[c->channel]) {
        foreign++;
        return;
    }
    skipped += count - c->next;
    arrived++;
    if (feeding) {
        c->in_flight -= count + 1 - c->next;
        in_flight -= count + 1 - c->next;
        c->next = count + 1;
        return;
    }
    for (; c->next <= count; c->next++)
        if (!--missing[c->channel * window + c->next % window])
            in_flight--;
    if (latency_count < latency_cap)
        latency[latency_count++] = now_us() - started - number(text + 24, 16);
}

static void close_client(struct client *c) {
    /* With RST: no port is left in TIME_WAIT, so that one run does not starve the next. */
    struct linger hard = {1, 0};
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(c->fd);
    c->state = CLOSED;
    c->kept = 0;
}

/* Returns the bytes used, 0 when the frame is not complete. */
static size_t frame(struct client *c, const char *start, size_t have) {
    const uint8_t *p = (const uint8_t *)start;
    if (have < 2)
        return 0;
    size_t length = p[1], head = 2;
    if (length == 126) {
        if (have < 4)
            return 0;
        length = p[2] << 8 | p[3];
        head = 4;
    }
    if (length > KEEP - 4)
        die("a frame that is masked or too large");
    if (have < head + length)
        return 0;
    switch (p[0]) {
    case 0x81:
    case 0x82:
        if (c->role == READER)
            check(c, start + head, length);
        break;
    case 0x89:
        write_frame(c - client, 10, start + head, length);
        break;
    case 0x8a:
        break;
    case 0x88: /* the TCP connection ends next, and is counted then */
        break;
    default:
        die("a frame that starts with %02x", p[0]);
    }
    return head + length;
}

static size_t answer(struct client *c, const char *start, size_t have) {
    const char *end = memmem(start, have, "\r\n\r\n", 4);
    if (!end)
        return 0;
    if (memcmp(start, "HTTP/1.1 101", 12) ||
        !memmem(start, end - start, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", 28))
        die("handshake: %.*s", (int)strcspn(start, "\r"), start);
    c->state = OPEN;
    shaken++;
    return end + 4 - start;
}

static void client_readable(struct client *c) {
    static char shared[KEEP + READ];
    memcpy(shared, c->keep, c->kept);
    ssize_t n = recv(c->fd, shared + c->kept, READ, 0);
    if (n <= 0) {
        if (n < 0 && errno == EAGAIN)
            return;
        if (c->state != OPEN)
            die("handshake: the server hung up");
        closed++;
        close_client(c);
        return;
    }
    size_t have = c->kept + n, at = 0, used;
    while (at < have) {
        used = c->state == OPEN ? frame(c, shared + at, have - at)
                                : answer(c, shared + at, have - at);
        if (!used)
            break;
        at += used;
    }
    if (have - at > KEEP)
        die("the head of an answer is too long");
    c->kept = have - at;
    memcpy(c->keep, shared + at, c->kept);
}

/* The subscriber in Redis: the messages that the clients of mode=feed have published. */
static void redis_readable(void) {
    ssize_t n = recv(redis_in, buf_room(&from_redis, READ), READ, 0);
    if (n <= 0) {
        if (n < 0 && errno == EAGAIN)
            return;
        die("the connection to Redis was lost");
    }
    from_redis.len += n;
    struct slice item[4];
    int count;
    size_t used;
    while ((used = redis_reply(from_redis.data + from_redis.at, from_redis.len - from_redis.at,
                               item, &count))) {
        from_redis.at += used;
        if (!memmem(item[0].data, item[0].size, "message", 7))
            continue; /* a SUBSCRIBE is confirmed */
        /* Some servers pack the text into a message of their own make: look for it. */
        struct slice got = item[count - 1];
        const char *text = memmem(got.data, got.size, "wsbench ", 8);
        if (!text || got.data + got.size - text < size) {
            foreign++;
            continue;
        }
        char name[160];
        uint64_t i = number(text + 8, 8);
        int length = sprintf(name, channel_name, (int)i);
        if (i >= (uint64_t)clients || (!pattern[0] && ((size_t)length != item[1].size ||
                                                       memcmp(name, item[1].data, length))))
            foreign++;
        else
            check(&client[i], text, size);
    }
}

/* -- Connecting */

static void begin(int i) {
    struct client *c = &client[i];
    struct sockaddr_in address = loopback(port);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0)
        die("socket: %s", strerror(errno));
    no_delay(c->fd);
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS)
        die("connect: %s", strerror(errno));
    c->state = CONNECTING;
    watch(poll_fd, EPOLL_CTL_ADD, c->fd, EPOLLOUT, i);
}

static void connected(int i) {
    struct client *c = &client[i];
    char path[160], request[512];
    int error;
    socklen_t length = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error)
        die("connect: %s", strerror(error));
    sprintf(path, c->role == WRITER ? pub_path : sub_path, c->channel);
    int n = sprintf(request,
                    "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\n"
                    "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                    "Sec-WebSocket-Version: 13\r\n\r\n",
                    path, port);
    if (send(c->fd, request, n, MSG_NOSIGNAL) != n)
        die("handshake: %s", strerror(errno));
    c->state = SHAKING;
    watch(poll_fd, EPOLL_CTL_MOD, c->fd, EPOLLIN, i);
}

/* Wait for events, and handle them. */
static void turn(int timeout_ms) {
    static struct epoll_event event[1024];
    int count = epoll_wait(poll_fd, event, 1024, flush_all() ? 1 : timeout_ms);
    long before = arrived;
    for (int k = 0; k < count; k++) {
        uint64_t mark = event[k].data.u64;
        if (mark == REDIS_OUT) {
            char replies[4096];
            ssize_t n = recv(redis_out, replies, sizeof replies, 0);
            if (n == 0 || (n > 0 && memchr(replies, '-', n)))
                die("Redis refuses: %.*s", (int)n, replies);
        } else if (mark == REDIS_IN) {
            redis_readable();
        } else if (client[mark].state == CONNECTING) {
            connected(mark);
        } else if (client[mark].state != CLOSED) {
            client_readable(&client[mark]);
        }
    }
    if (arrived != before)
        progress = now_us();
}

/* Open the clients from `first` to before `end`, some at a time. */
static void open_clients(int first, int end) {
    int64_t limit = now_us() + CONNECT_US;
    shaken = 0;
    for (int i = first; shaken < end - first;) {
        while (i < end && i - first - shaken < handshaking)
            begin(i++);
        turn(1000);
        if (now_us() > limit)
            die("only %ld of %d handshakes in time", shaken, end - first);
    }
}

/* Servers may answer a handshake before they have subscribed: send until everybody gets it. */
static void prove(void) {
    static char wanted[MAX_CLIENTS];
    int64_t limit = now_us() + CONNECT_US / 2;
    while (live_count < clients) {
        memset(wanted, 0, channels);
        for (int i = 0; i < clients; i++)
            wanted[client[i].channel] |= !client[i].live;
        for (int channel = 0; channel < channels; channel++)
            if (wanted[channel])
                publish(channel, PROBE);
        for (int64_t until = now_us() + 500000; live_count < clients && now_us() < until;)
            turn(10);
        if (now_us() > limit)
            die("only %d of %d clients get messages", live_count, clients);
    }
    /* Let probes that went out twice arrive. */
    for (int64_t until = now_us() + 300000; now_us() < until;)
        turn(10);
    skipped = repeated = foreign = 0;
}

static void say(const char *word) {
    char line[16];
    puts(word);
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin))
        exit(1);
    cpu = clock();
}

/* -- The three modes */

/* Tells whether another message may go out. */
static int more(long count, int64_t now) {
    return (!messages || count < messages) && (!seconds || now - started < seconds * 1e6);
}

/*
 * The load, for `warmup` seconds first: some servers compile as they run, and all of them grow
 * buffers. Then the same under the eyes of run.py.
 */
static void run(void (*warm)(void), void (*load)(void)) {
    double whole = seconds;
    if (warmup) {
        seconds = warmup;
        started = progress = now_us();
        warm();
        if (in_flight)
            die("only %ld of the first messages arrive", arrived);
        seconds = whole;
    }
    say("ready");
    arrived = latency_count = 0;
    started = progress = now_us();
    load();
}

static void drain(void) {
    while (in_flight && now_us() - progress < STALL_US)
        turn(100);
}

static void fan(void) {
    for (long count = 0;;) {
        int64_t now = now_us();
        if (!more(count, now))
            break;
        while (more(count, now) && in_flight < window &&
               (!rate || now - started >= count * 1000000 / rate)) {
            int channel = count++ % channels;
            missing[channel * window + sent[channel] % window] = clients / channels;
            in_flight++;
            publish(channel, sent[channel]++);
        }
        turn(rate ? 1 : 10);
        if (in_flight && now - progress > STALL_US)
            break;
    }
    drain();
}

static void feed(void) {
    for (;;) {
        int64_t now = now_us();
        if (!more(0, now) || (in_flight && now - progress > STALL_US))
            break;
        /* In turn, and each message in a packet of its own: these are so many clients. */
        for (int any = 1; any;) {
            any = 0;
            for (int i = 0; i < clients; i++)
                if (client[i].in_flight < (uint32_t)window) {
                    client[i].in_flight++;
                    in_flight++;
                    publish(i, sent[i]++);
                    buf_flush(&client[i].out, client[i].fd);
                    any = 1;
                }
        }
        turn(10);
    }
    drain();
}

/* All of the crowd are on channel 1, on which nobody publishes. */
static void rush(void) {
    shaken = 0;
    for (long count = 0, begun = 0; shaken < crowd;) {
        int64_t now = now_us();
        while (rate && in_flight < window && now - started >= count * 1000000 / rate) {
            missing[sent[0] % window] = clients;
            in_flight++;
            publish(0, sent[0]++);
            count++;
        }
        while (begun < crowd && begun - shaken < handshaking)
            begin(clients + channels + begun++);
        turn(1);
        if (now - started > CONNECT_US)
            die("only %ld of %d handshakes in time", shaken, crowd);
    }
    back = (now_us() - started) / 1e6;
    drain();
}

static int by_value(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void arguments(int argc, char **argv) {
    struct {
        const char *key;
        char *text;
        int *number;
    } known[] = {
        {"mode", mode, NULL},          {"sub", sub_path, NULL},
        {"pub", pub_path, NULL},       {"channel", channel_name, NULL},
        {"pattern", pattern, NULL},    {"port", NULL, &port},
        {"redis", NULL, &redis_port},  {"clients", NULL, &clients},
        {"channels", NULL, &channels}, {"window", NULL, &window},
        {"size", NULL, &size},         {"base", NULL, &base},
        {"rate", NULL, &rate},         {"handshaking", NULL, &handshaking},
        {"crowd", NULL, &crowd},       {"by-websocket", NULL, &by_websocket},
    };
    for (int i = 1; i < argc; i++) {
        char *value = strchr(argv[i], '=');
        if (!value)
            die("not KEY=VALUE: %s", argv[i]);
        *value++ = 0;
        size_t k;
        for (k = 0; k < sizeof known / sizeof *known && strcmp(known[k].key, argv[i]); k++)
            ;
        if (!strcmp(argv[i], "messages"))
            messages = atol(value);
        else if (!strcmp(argv[i], "seconds"))
            seconds = atof(value);
        else if (!strcmp(argv[i], "warmup"))
            warmup = atof(value);
        else if (k == sizeof known / sizeof *known)
            die("unknown: %s", argv[i]);
        else if (known[k].number)
            *known[k].number = atoi(value);
        else
            snprintf(known[k].text, known[k].text == mode ? sizeof mode : 128, "%s", value);
    }
    if (clients < 1 || clients > MAX_CLIENTS / 2 || channels < 1 || clients % channels ||
        crowd > MAX_CLIENTS - clients - channels || (crowd && channels > 1) || size < HEAD + TAIL ||
        size > KEEP / 2)
        die("clients, channels or size are out of range");
}

int main(int argc, char **argv) {
    arguments(argc, argv);
    alarm(300); /* the program ends in any case */
    started = now_us();
    client = calloc(MAX_CLIENTS, sizeof *client);
    dirty = calloc(MAX_CLIENTS, sizeof *dirty);
    sent = calloc(MAX_CLIENTS, sizeof *sent);
    poll_fd = epoll_create1(0);
    redis_out = redis_connect(redis_port);
    watch(poll_fd, EPOLL_CTL_ADD, redis_out, EPOLLIN, REDIS_OUT);
    feeding = !strcmp(mode, "feed");
    for (int i = 0; i < MAX_CLIENTS; i++) {
        int of_crowd = crowd && i >= clients + channels;
        client[i].channel = i < clients ? i % channels : of_crowd ? 1 : i - clients;
        client[i].role = feeding || (i >= clients && !of_crowd) ? WRITER : READER;
    }
    if (feeding) {
        redis_in = redis_connect(redis_port);
        watch(poll_fd, EPOLL_CTL_ADD, redis_in, EPOLLIN, REDIS_IN);
        struct buf b = {0};
        for (int i = 0; i < (pattern[0] ? 1 : clients); i++) {
            char name[160];
            size_t n = sprintf(name, channel_name, i);
            if (pattern[0])
                redis_command(&b, 2, "PSUBSCRIBE", (size_t)10, pattern, strlen(pattern));
            else
                redis_command(&b, 2, "SUBSCRIBE", (size_t)9, name, n);
        }
        if (buf_flush(&b, redis_in) || b.at < b.len)
            die("the connection to Redis was lost");
    }
    if (base) {
        open_clients(0, base);
        say("base");
    }
    open_clients(base, clients);
    if (by_websocket && !feeding)
        open_clients(clients, clients + channels);
    prove();
    missing = calloc((size_t)channels * window, sizeof *missing);
    latency_cap = (long)(rate * (crowd ? CONNECT_US / 1e6 : seconds + 1)) * clients;
    latency = calloc(latency_cap + 1, sizeof *latency);
    run(feeding ? feed : fan, feeding ? feed : crowd ? rush : fan);
    double took = (now_us() - started) / 1e6;
    /* Messages that never came, at the end of a row. */
    for (int i = 0; i < clients; i++)
        skipped += sent[client[i].channel] - client[i].next;
    qsort(latency, latency_count, sizeof *latency, by_value);
    printf("{\"count\": %ld, \"seconds\": %.3f, \"skipped\": %ld, \"repeated\": %ld, "
           "\"closed\": %ld, \"foreign\": %ld, \"p50\": %.3f, \"p99\": %.3f, \"back\": %.3f, \"load_cpu\": %.3f}\n",
           crowd ? shaken : arrived, took, skipped, repeated, closed, foreign,
           latency_count ? latency[latency_count / 2] / 1e3 : 0,
           latency_count ? latency[latency_count * 99 / 100] / 1e3 : 0, back,
           (double)(clock() - cpu) / CLOCKS_PER_SEC);
    return 0;
}
