/*
 * The load generator: many WebSockets and one Redis connection in one process, on one epoll.
 *
 *     load KEY=VALUE ...
 *
 * port, redis        ports of the server and of Redis
 * sub, pub, channel  paths to listen and to publish, channel in Redis; %d is the channel's number
 * clients, channels  client i listens to channel i % channels
 * per                channels of each client; more than 1: client i has those from i * per on, and
 *                    its path, or its headers, say so to the server
 * window, rate       messages in flight over all (in mode=feed: of each client); messages a second
 * messages, seconds  when to end; warmup: seconds of the same load before
 * size               bytes of a payload
 * headers            file: line i is added to the request of client i
 * tls                1: TLS, the certificate is not checked
 * sse                1: the clients hear Server-Sent Events
 * by-websocket       1: publish through WebSockets to the server, not to Redis
 * hello              text that a client sends after its handshake, which ends with the reply; of
 *                    two lines, a client that only publishes sends the first
 * before, after      what stands around a payload in a message to the server, if it has an envelope
 * pattern            mode=feed: subscribe to this pattern in Redis
 * base, traffic      see below
 *
 * The dialogue with run.py, a line each: it says "ready" when all is connected and proven to work,
 * waits for a line on its standard input, runs, and writes its counts as a line of JSON. (With
 * base=N it says "base" after the first N connections, and waits there too. With traffic=N each
 * client has then sent N messages and pings, and got as many messages.) In between run.py reads the
 * CPU time of the server, or its memory.
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
#include <netinet/in.h>
#include <openssl/ssl.h>

enum { READ = 1 << 18, MAX_HEAD = 4096, MAX_SIZE = 1 << 20, HEAD = 40, TAIL = 8 };
enum { PROBE = 99999999 };  /* the number of a message that only shows that a way is open */
enum { STALL_US = 10000000, CONNECT_US = 120000000 };

/* The data of an epoll event: the number of a client, or one of these. */
enum { REDIS_OUT = 1 << 30, REDIS_IN };

enum role { READER, WRITER };
enum state { CLOSED, CONNECTING, SECURING, SHAKING, OPEN };

struct client {
    int fd;
    enum state state;
    enum role role;
    int channel;        /* the first of `per` */
    uint32_t in_flight; /* of a writer */
    int dirty;          /* stands in `dirty` */
    int greeted;        /* has got a reply to `hello` */
    struct buf out;
    struct buf kept; /* the first part of a frame whose rest is still to come */
    SSL *tls;
};

/* Arguments. */
static char mode[16] = "fan", sub_path[128] = "/sub/%d", pub_path[128] = "/pub/%d";
static char channel_name[128] = "%d", pattern[128] = "", headers[128] = "";
static char hello[128] = "", before[128] = "", after[128] = "";
static int port, redis_port, clients = 1, channels = 1, per = 1, window = 1, size = 128, base = 0;
static int rate = 0, handshaking = 50, crowd = 0, by_websocket = 0, tls = 0, traffic = 0, feeding;
static int sse = 0;
static int writers, everybody; /* after the clients come those who publish, and then the crowd */
static long messages = 0;
static double seconds = 0, warmup = 0;

/* The run. */
static int poll_fd, redis_out, redis_in = -1;
static struct client *client;
static uint32_t *next; /* by client and its channels: the number that comes next */
static char *live;     /* likewise: a probe has come through */
static char **header;
static int header_count;
static SSL_CTX *tls_context;
static struct buf to_redis, from_redis;
static int *dirty, dirty_count;
static uint32_t *sent;    /* by channel */
static uint16_t *missing; /* by channel and number % window: clients that have not got it yet */
static int in_flight, live_count;
static long arrived, skipped, repeated, closed, foreign, shaken, probes;
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
    static char text[MAX_SIZE];
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

static void write_head(int i, int opcode, size_t length) {
    uint8_t head[14] = {0x80 | opcode, 0x80 | length};
    int n = 6;
    if (length > 65535) {
        head[1] = 0x80 | 127;
        for (int k = 0; k < 8; k++)
            head[2 + k] = (uint64_t)length >> (56 - 8 * k);
        n = 14;
    } else if (length > 125) {
        head[1] = 0x80 | 126, head[2] = length >> 8, head[3] = length;
        n = 8;
    }
    buf_add(&client[i].out, head, n);
    will_write(i);
}

static void write_frame(int i, int opcode, const char *data, size_t length) {
    write_head(i, opcode, length);
    buf_add(&client[i].out, data, length);
}

/* A payload in the envelope of the server. */
static void write_message(int i, int channel, const char *text) {
    char opening[160];
    int length = sprintf(opening, before, channel);
    write_head(i, 1, length + size + strlen(after));
    buf_add(&client[i].out, opening, length);
    buf_add(&client[i].out, text, size);
    buf_add(&client[i].out, after, strlen(after));
}

/* Hand what is to be sent to the kernel. Returns -1 when the connection is broken. */
static int flush(struct client *c) {
    if (!c->tls)
        return buf_flush(&c->out, c->fd);
    while (c->out.at < c->out.len) {
        int n = SSL_write(c->tls, c->out.data + c->out.at, c->out.len - c->out.at);
        if (n <= 0)
            return SSL_get_error(c->tls, n) == SSL_ERROR_WANT_WRITE ? 0 : -1;
        c->out.at += n;
    }
    return 0;
}

/* As recv(). */
static ssize_t take(struct client *c, char *place, size_t room) {
    if (!c->tls)
        return recv(c->fd, place, room, 0);
    int n = SSL_read(c->tls, place, room);
    if (n > 0)
        return n;
    errno = SSL_get_error(c->tls, n) == SSL_ERROR_WANT_READ ? EAGAIN : EPROTO;
    return -1;
}

static void publish(int channel, uint32_t count) {
    const char *text = payload(channel, count);
    if (feeding) {
        write_message(channel, channel, text);
    } else if (by_websocket) {
        write_message(clients + channel, channel, text);
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
        flush(c);
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
    uint64_t channel = length == (size_t)size ? number(text + 8, 8) : UINT64_MAX;
    if (channel < (uint64_t)c->channel || channel >= (uint64_t)c->channel + per ||
        memcmp(text, "wsbench ", 8) || memcmp(text + 16, text + size - TAIL, TAIL)) {
        foreign++;
        return;
    }
    size_t slot = (size_t)(c - client) * per + channel - c->channel;
    uint32_t count = number(text + 16, 8);
    if (count == PROBE) {
        probes++;
        if (!live[slot])
            live[slot] = 1, live_count++;
        return;
    }
    if (count < next[slot]) {
        repeated++;
        return;
    }
    if (count >= sent[channel]) {
        foreign++;
        return;
    }
    skipped += count - next[slot];
    arrived++;
    if (feeding) {
        c->in_flight -= count + 1 - next[slot];
        in_flight -= count + 1 - next[slot];
        next[slot] = count + 1;
        return;
    }
    for (; next[slot] <= count; next[slot]++)
        if (!--missing[channel * window + next[slot] % window])
            in_flight--;
    if (latency_count < latency_cap)
        latency[latency_count++] = now_us() - started - number(text + 24, 16);
}

/* A frame with an envelope may have several messages, or replies. */
static void check_envelope(struct client *c, const char *text, size_t length) {
    const char *end = text + length;
    if (length == 2 && !memcmp(text, "{}", 2)) /* the ping of Centrifugo */
        write_frame(c - client, 1, "{}", 2);
    shaken += !c->greeted;
    c->greeted = 1;
    while ((text = memmem(text, end - text, "wsbench ", 8)) && end - text >= size) {
        check(c, text, size);
        text += size;
    }
}

static void close_client(struct client *c) {
    /* With RST: no port is left in TIME_WAIT, so that one run does not starve the next. */
    struct linger hard = {1, 0};
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(c->fd);
    c->state = CLOSED;
    c->kept.at = c->kept.len = 0;
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
    } else if (length == 127) {
        if (have < 10)
            return 0;
        length = p[6] << 24 | p[7] << 16 | p[8] << 8 | p[9];
        head = 10;
    }
    if (p[1] > 127 || length > 2 * MAX_SIZE)
        die("a frame that is masked or too large");
    if (have < head + length)
        return 0;
    switch (p[0]) {
    case 0x81:
    case 0x82:
        if (before[0])
            check_envelope(c, start + head, length);
        else if (c->role == READER)
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

/* A chunk of a stream, with some events. Returns the bytes used, 0 when it is not complete. */
static size_t chunk(struct client *c, const char *start, size_t have) {
    size_t length = 0, head = 0;
    for (; head < have && start[head] != '\r'; head++)
        length = length * 16 + (start[head] > '9' ? start[head] - 'a' + 10 : start[head] - '0');
    head += 2;
    if (head > 10 || length > 2 * MAX_SIZE)
        die("a chunk that starts with %.*s", 8, start);
    if (have < head + length + 2)
        return 0;
    const char *text = start + head, *last = text + length, *end;
    for (; text < last && (end = memchr(text, '\n', last - text)); text = end + 1)
        if (end - text == size + 6 && !memcmp(text, "data: wsbench ", 14))
            check(c, text + 6, size);
    return head + length + 2;
}

static size_t answer(struct client *c, const char *start, size_t have) {
    const char *end = memmem(start, have, "\r\n\r\n", 4);
    if (!end)
        return 0;
    if (sse ? memcmp(start, "HTTP/1.1 200", 12)
            : memcmp(start, "HTTP/1.1 101", 12) ||
                  !memmem(start, end - start, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", 28))
        die("handshake: %.*s", (int)strcspn(start, "\r"), start);
    c->state = OPEN;
    if (!hello[0])
        shaken++;
    else {
        char text[256];
        int n = sprintf(text, hello, c->channel);
        write_frame(c - client, 1, text, c->role == WRITER ? strcspn(text, "\n") : (size_t)n);
    }
    return end + 4 - start;
}

static void client_readable(struct client *c) {
    static char shared[READ];
    do {
        ssize_t n = take(c, shared, READ);
        if (n <= 0) {
            if (n < 0 && errno == EAGAIN)
                return;
            if (c->state != OPEN)
                die("handshake: the server hung up");
            closed++;
            close_client(c);
            return;
        }
        char *data = shared;
        size_t have = n, at = 0, used;
        if (c->kept.len > c->kept.at) {
            buf_add(&c->kept, shared, n);
            data = c->kept.data + c->kept.at;
            have = c->kept.len - c->kept.at;
        }
        while (at < have) {
            if (c->state != OPEN)
                used = answer(c, data + at, have - at);
            else
                used = sse ? chunk(c, data + at, have - at) : frame(c, data + at, have - at);
            if (!used)
                break;
            at += used;
        }
        if (c->state != OPEN && have - at > MAX_HEAD)
            die("the head of an answer is too long");
        if (data != shared) {
            c->kept.at += at;
        } else if (at < have) {
            buf_add(&c->kept, data + at, have - at);
        }
        if (c->kept.data && c->kept.at == c->kept.len) {
            free(c->kept.data);
            memset(&c->kept, 0, sizeof c->kept);
        }
    } while (c->tls); /* what OpenSSL holds wakes no epoll */
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
    struct sockaddr_in address = loopback(port), own = loopback(0);
    int on = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0)
        die("socket: %s", strerror(errno));
    no_delay(c->fd);
    /* An address has some 28,000 ports: more connections come from several. */
    own.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + i / 10000);
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(c->fd, (struct sockaddr *)&own, sizeof own))
        die("bind: %s", strerror(errno));
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS)
        die("connect: %s", strerror(errno));
    c->state = CONNECTING;
    watch(poll_fd, EPOLL_CTL_ADD, c->fd, EPOLLOUT, i);
}

static void request(int i) {
    struct client *c = &client[i];
    char path[160];
    sprintf(path, c->role == WRITER ? pub_path : sub_path, c->channel);
    size_t room = 512 + MAX_HEAD;
    char *text = buf_room(&c->out, room);
    int n = snprintf(text, room,
                     "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s%s%s\r\n", path, port,
                     sse ? "Accept: text/event-stream\r\n"
                         : "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                           "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                           "Sec-WebSocket-Version: 13\r\n",
                     header_count ? header[i % header_count] : "",
                     header_count ? "\r\n" : "");
    if ((size_t)n >= room)
        die("a request is too long");
    c->out.len += n;
    if (flush(c) || c->out.at < c->out.len)
        die("handshake: %s", strerror(errno));
    c->state = SHAKING;
    watch(poll_fd, EPOLL_CTL_MOD, c->fd, EPOLLIN, i);
}

static void secure(int i) {
    struct client *c = &client[i];
    int n = SSL_do_handshake(c->tls), reason = SSL_get_error(c->tls, n);
    if (n == 1)
        request(i);
    else if (reason == SSL_ERROR_WANT_READ || reason == SSL_ERROR_WANT_WRITE)
        watch(poll_fd, EPOLL_CTL_MOD, c->fd, reason == SSL_ERROR_WANT_READ ? EPOLLIN : EPOLLOUT, i);
    else
        die("the TLS handshake failed");
}

static void connected(int i) {
    struct client *c = &client[i];
    int error;
    socklen_t length = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error)
        die("connect: %s", strerror(error));
    if (!tls) {
        request(i);
        return;
    }
    c->tls = SSL_new(tls_context);
    SSL_set_fd(c->tls, c->fd);
    SSL_set_connect_state(c->tls);
    c->state = SECURING;
    secure(i);
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
        } else if (client[mark].state == SECURING) {
            secure(mark);
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

/* Wait until no more probes come. Pings of the server do not count: they never end. */
static void settle(void) {
    for (long seen = -1; seen != probes;) {
        seen = probes;
        for (int64_t until = now_us() + 500000; now_us() < until;)
            turn(10);
    }
}

/* Servers may answer a handshake before they have subscribed: send until everybody gets it. */
static void prove(void) {
    char *wanted = malloc(channels);
    int64_t limit = now_us() + CONNECT_US / 2;
    while (live_count < clients * per) {
        memset(wanted, 0, channels);
        for (int i = 0; i < clients * per; i++)
            wanted[i % channels] |= !live[i];
        for (int channel = 0; channel < channels; channel++)
            if (wanted[channel])
                publish(channel, PROBE);
        settle();
        if (now_us() > limit)
            die("only %d of %d clients get messages", live_count, clients * per);
    }
    free(wanted);
    skipped = repeated = foreign = 0;
}

/* The clients before `end` send, get and answer something: servers grow buffers for that. */
static void mingle(int end) {
    for (int count = 0; count < traffic; count++) {
        for (int channel = 0; channel < channels; channel++)
            publish(channel, PROBE);
        for (int i = 0; i < end; i++) {
            write_message(i, client[i].channel, payload(client[i].channel, PROBE));
            write_frame(i, 9, "", 0);
        }
        settle();
    }
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
            missing[channel * window + sent[channel] % window] = clients * per / channels;
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
                    flush(&client[i]);
                    any = 1;
                }
        }
        turn(10);
    }
    drain();
}

/* All of the crowd are on the channel after the others, on which nobody publishes. */
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
            begin(clients + writers + begun++);
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
        {"per", NULL, &per},           {"tls", NULL, &tls},
        {"sse", NULL, &sse},
        {"traffic", NULL, &traffic},   {"headers", headers, NULL},
        {"hello", hello, NULL},        {"before", before, NULL},
        {"after", after, NULL},
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
    if (clients < 1 || channels < 1 || per < 1 || clients * per % channels ||
        (per > 1 && channels != clients * per) || (crowd && channels > 1) || size < HEAD + TAIL ||
        size > MAX_SIZE)
        die("clients, channels or size are out of range");
}

static void read_headers(void) {
    FILE *file = fopen(headers, "r");
    char line[MAX_HEAD];
    if (!file)
        die("%s: %s", headers, strerror(errno));
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        header = realloc(header, (header_count + 1) * sizeof *header);
        header[header_count++] = strdup(line);
    }
    fclose(file);
}

static void prepare_tls(void) {
    tls_context = SSL_CTX_new(TLS_client_method());
    /* Every client is a stranger: nobody resumes a session. */
    SSL_CTX_set_session_cache_mode(tls_context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(tls_context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_RELEASE_BUFFERS |
                                      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
}

int main(int argc, char **argv) {
    arguments(argc, argv);
    alarm(300); /* the program ends in any case */
    started = now_us();
    feeding = !strcmp(mode, "feed");
    writers = by_websocket && !feeding ? channels : 0;
    everybody = clients + writers + crowd;
    client = calloc(everybody, sizeof *client);
    next = calloc((size_t)everybody * per, sizeof *next);
    live = calloc((size_t)everybody * per, sizeof *live);
    dirty = calloc(everybody, sizeof *dirty);
    sent = calloc(channels + 1, sizeof *sent);
    poll_fd = epoll_create1(0);
    redis_out = redis_connect(redis_port);
    watch(poll_fd, EPOLL_CTL_ADD, redis_out, EPOLLIN, REDIS_OUT);
    if (headers[0])
        read_headers();
    if (tls)
        prepare_tls();
    for (int i = 0; i < everybody; i++) {
        int writes = i >= clients && i < clients + writers;
        client[i].channel = writes ? i - clients : i < clients ? i * per % channels : channels;
        client[i].role = feeding || writes ? WRITER : READER;
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
        mingle(base);
        say("base");
    }
    open_clients(base, clients);
    open_clients(clients, clients + writers);
    prove();
    mingle(clients);
    missing = calloc((size_t)channels * window, sizeof *missing);
    latency_cap = (long)(rate * (crowd ? CONNECT_US / 1e6 : seconds + 1)) * clients;
    latency = calloc(latency_cap + 1, sizeof *latency);
    run(feeding ? feed : fan, feeding ? feed : crowd ? rush : fan);
    double took = (now_us() - started) / 1e6;
    /* Messages that never came, at the end of a row. */
    for (int i = 0; i < clients; i++)
        for (int k = 0; k < per; k++)
            skipped += sent[client[i].channel + k] - next[i * per + k];
    qsort(latency, latency_count, sizeof *latency, by_value);
    printf("{\"count\": %ld, \"seconds\": %.3f, \"skipped\": %ld, \"repeated\": %ld, "
           "\"closed\": %ld, \"foreign\": %ld, \"p50\": %.3f, \"p99\": %.3f, \"back\": %.3f, "
           "\"load_cpu\": %.3f}\n",
           crowd ? shaken : arrived, took, skipped, repeated, closed, foreign,
           latency_count ? latency[latency_count / 2] / 1e3 : 0,
           latency_count ? latency[latency_count * 99 / 100] / 1e3 : 0, back,
           (double)(clock() - cpu) / CLOCKS_PER_SEC);
    return 0;
}
