/*
 * The floor: the cost of the kernel alone for the work of a gateway.
 *
 *     floor PORT REDIS_PORT [--join]
 *
 * One process, one epoll. /sub/NAME gets the messages of the Redis channel NAME; a message on
 * /pub/NAME is published there. A message is framed once, and each client costs one send() of that
 * frame; a message from a client costs one send() to Redis. With --join all messages of one read
 * from Redis go to each client in one send(), and all messages that one round of epoll brought from
 * clients go to Redis in one. It trusts its input: this is a yardstick, not a server.
 */
#include "common.h"

enum { MAX_FDS = 65536, READ = 65536, NAME = 64 };

struct channel {
    struct channel *next;  /* in the same bucket */
    char name[NAME];
    struct client **member;
    int count, cap;
    struct buf frames;  /* of one read from Redis; without --join, of one message */
    int waiting;        /* stands in `ready` */
};

struct client {
    int fd;
    int open;
    int publishes;
    int position;  /* in channel->member */
    struct channel *channel;
    struct buf in, out;  /* incomplete input, and output that the kernel did not take */
};

static int poll_fd, join, publisher;
static struct client *client_of[MAX_FDS];
static struct channel *bucket[4096];
static struct channel **ready;
static int ready_count, ready_cap;
static struct buf from_redis, to_subscriber, to_publisher;

static void buf_free(struct buf *b) {
    free(b->data);
    memset(b, 0, sizeof *b);
}

/* -- The accept key: SHA-1 (FIPS 180-4) of at most two blocks, and base64 */

static uint32_t rotate(uint32_t x, int n) { return x << n | x >> (32 - n); }

static void sha1_block(uint32_t h[5], const uint8_t *block) {
    uint32_t w[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
    for (int i = 0; i < 80; i++) {
        if (i < 16)
            w[i] = (uint32_t)block[4 * i] << 24 | block[4 * i + 1] << 16 | block[4 * i + 2] << 8 |
                   block[4 * i + 3];
        else
            w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
        uint32_t f, k;
        if (i < 20)
            f = (b & c) | (~b & d), k = 0x5a827999;
        else if (i < 40)
            f = b ^ c ^ d, k = 0x6ed9eba1;
        else if (i < 60)
            f = (b & c) | (b & d) | (c & d), k = 0x8f1bbcdc;
        else
            f = b ^ c ^ d, k = 0xca62c1d6;
        uint32_t t = rotate(a, 5) + f + e + k + w[i];
        e = d, d = c, c = rotate(b, 30), b = a, a = t;
    }
    h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e;
}

static void accept_key(const char key[24], char out[29]) {
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint8_t data[128] = {0}, digest[21] = {0};
    uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    memcpy(data, key, 24);
    memcpy(data + 24, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11", 36);
    data[60] = 0x80;  /* 60 bytes of data: the length falls into a second block */
    data[126] = 60 * 8 >> 8;
    data[127] = 60 * 8 & 255;
    sha1_block(h, data);
    sha1_block(h, data + 64);
    for (int i = 0; i < 20; i++)
        digest[i] = h[i / 4] >> (24 - 8 * (i % 4));
    for (int i = 0; i < 7; i++) {
        uint32_t three = digest[3 * i] << 16 | digest[3 * i + 1] << 8 | digest[3 * i + 2];
        for (int j = 0; j < 4; j++)
            out[4 * i + j] = letters[three >> (18 - 6 * j) & 63];
    }
    out[27] = '=';
    out[28] = 0;
}

/* -- Channels and their members */

static struct channel *channel_named(const char *name, size_t size) {
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ (uint8_t)name[i]) * 16777619u;
    struct channel **place = &bucket[hash % 4096];
    for (; *place; place = &(*place)->next)
        if (!strncmp((*place)->name, name, size) && !(*place)->name[size])
            return *place;
    if (size >= NAME)
        die("the name of a channel is too long");
    *place = calloc(1, sizeof **place);
    memcpy((*place)->name, name, size);
    return *place;
}

static void subscribe(struct client *c) {
    struct channel *channel = c->channel;
    if (channel->count == channel->cap) {
        channel->cap = channel->cap ? channel->cap * 2 : 1;
        channel->member = realloc(channel->member, channel->cap * sizeof *channel->member);
    }
    if (!channel->count)
        redis_command(&to_subscriber, 2, "SUBSCRIBE", (size_t)9, channel->name,
                      strlen(channel->name));
    c->position = channel->count;
    channel->member[channel->count++] = c;
}

static void unsubscribe(struct client *c) {
    struct channel *channel = c->channel;
    struct client *last = channel->member[--channel->count];
    channel->member[last->position = c->position] = last;
    if (!channel->count)
        redis_command(&to_subscriber, 2, "UNSUBSCRIBE", (size_t)11, channel->name,
                      strlen(channel->name));
}

/* -- From Redis to the clients */

static void send_or_keep(struct client *c, const char *data, size_t size) {
    if (c->out.at == c->out.len) {
        ssize_t n = send(c->fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n == (ssize_t)size)
            return;
        if (n < 0 && errno != EAGAIN)
            return;  /* broken: epoll reports it next */
        if (n > 0)
            data += n, size -= n;
        watch(poll_fd, EPOLL_CTL_MOD, c->fd, EPOLLIN | EPOLLOUT, c->fd);
    }
    buf_add(&c->out, data, size);
}

static void fan_out(struct channel *channel) {
    for (int i = 0; i < channel->count; i++)
        send_or_keep(channel->member[i], channel->frames.data, channel->frames.len);
    channel->frames.len = 0;
    channel->waiting = 0;
}

static void add_frame(struct buf *b, const char *data, size_t size) {
    uint8_t head[10] = {0x81, size};
    int length = 2;
    if (size > 65535) {
        head[1] = 127;
        for (int i = 0; i < 8; i++)
            head[2 + i] = (uint64_t)size >> (56 - 8 * i);
        length = 10;
    } else if (size > 125) {
        head[1] = 126, head[2] = size >> 8, head[3] = size;
        length = 4;
    }
    buf_add(b, head, length);
    buf_add(b, data, size);
}

static void redis_readable(int fd) {
    ssize_t n = recv(fd, buf_room(&from_redis, READ), READ, 0);
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
        if (count != 3 || item[0].size != 7 || memcmp(item[0].data, "message", 7))
            continue;  /* a SUBSCRIBE is confirmed */
        struct channel *channel = channel_named(item[1].data, item[1].size);
        add_frame(&channel->frames, item[2].data, item[2].size);
        if (!join) {
            fan_out(channel);
        } else if (!channel->waiting) {
            channel->waiting = 1;
            if (ready_count == ready_cap)
                ready = realloc(ready, (ready_cap = ready_cap * 2 + 64) * sizeof *ready);
            ready[ready_count++] = channel;
        }
    }
    for (int i = 0; i < ready_count; i++)
        fan_out(ready[i]);
    ready_count = 0;
}

/* -- From the clients */

static void drop(struct client *c) {
    if (c->open && !c->publishes)
        unsubscribe(c);
    client_of[c->fd] = NULL;
    close(c->fd);
    buf_free(&c->in);
    buf_free(&c->out);
    free(c);
}

/* Returns the bytes used, 0 when the head is not complete, -1 when the request is invalid. */
static ssize_t handshake(struct client *c, char *data, size_t size) {
    char *end = memmem(data, size, "\r\n\r\n", 4);
    if (!end)
        return 0;
    *end = 0;
    char *name = data + 9, *stop = strpbrk(name, " ?");
    char *key = strcasestr(data, "\r\nSec-WebSocket-Key: ");
    if (!stop || !key || (memcmp(data, "GET /sub/", 9) && memcmp(data, "GET /pub/", 9)))
        return -1;
    char accept[29], answer[256];
    accept_key(key + 21, accept);
    int n = sprintf(answer,
                    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                    "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
                    accept);
    c->open = 1;
    c->publishes = data[5] == 'p';
    c->channel = channel_named(name, stop - name);
    if (!c->publishes)
        subscribe(c);
    send_or_keep(c, answer, n);
    return end + 4 - data;
}

/* Returns the bytes used, 0 when the frame is not complete, -1 when the connection ends. */
static ssize_t frame(struct client *c, uint8_t *data, size_t size) {
    if (size < 2)
        return 0;
    size_t length = data[1] & 127, head = 6;
    if (length > 125) {
        if (length == 127)
            return -1;
        if (size < 4)
            return 0;
        length = data[2] << 8 | data[3];
        head = 8;
    }
    if (size < head + length)
        return 0;
    int opcode = data[0] & 15;
    if (opcode == 8)
        return -1;
    if (opcode <= 2 && c->publishes) {
        uint8_t *mask = data + head - 4, *payload = data + head;
        for (size_t i = 0; i < length; i++)
            payload[i] ^= mask[i & 3];
        redis_command(&to_publisher, 3, "PUBLISH", (size_t)7, c->channel->name,
                      strlen(c->channel->name), payload, length);
        if (!join)
            buf_flush(&to_publisher, publisher);
    }
    return head + length;
}

static void client_readable(struct client *c) {
    static char shared[2 * READ];
    size_t kept = c->in.len, at = 0;
    if (kept > READ) {
        drop(c);
        return;
    }
    memcpy(shared, c->in.data, kept);
    ssize_t n = recv(c->fd, shared + kept, READ, 0);
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN)
            drop(c);
        return;
    }
    size_t size = kept + n;
    while (at < size) {
        ssize_t used = c->open ? frame(c, (uint8_t *)shared + at, size - at)
                               : handshake(c, shared + at, size - at);
        if (used < 0) {
            drop(c);
            return;
        }
        if (!used)
            break;
        at += used;
    }
    if (kept)
        buf_free(&c->in);
    if (at < size)
        buf_add(&c->in, shared + at, size - at);
}

static void client_writable(struct client *c) {
    buf_flush(&c->out, c->fd);
    if (c->out.at == c->out.len) {
        buf_free(&c->out);
        watch(poll_fd, EPOLL_CTL_MOD, c->fd, EPOLLIN, c->fd);
    }
}

static void accept_all(int listener) {
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        if (fd >= MAX_FDS)
            die("too many connections");
        no_delay(fd);
        client_of[fd] = calloc(1, sizeof(struct client));
        client_of[fd]->fd = fd;
        watch(poll_fd, EPOLL_CTL_ADD, fd, EPOLLIN, fd);
    }
}

int main(int argc, char **argv) {
    if (argc < 3)
        die("usage: floor PORT REDIS_PORT [--join]");
    join = argc > 3 && !strcmp(argv[3], "--join");
    struct sockaddr_in address = loopback(atoi(argv[1]));
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096))
        die("port %s: %s", argv[1], strerror(errno));
    int subscriber = redis_connect(atoi(argv[2]));
    publisher = redis_connect(atoi(argv[2]));
    poll_fd = epoll_create1(0);
    watch(poll_fd, EPOLL_CTL_ADD, listener, EPOLLIN, listener);
    watch(poll_fd, EPOLL_CTL_ADD, subscriber, EPOLLIN, subscriber);
    watch(poll_fd, EPOLL_CTL_ADD, publisher, EPOLLIN, publisher);
    for (;;) {
        static struct epoll_event event[512];
        /* Bytes that Redis did not take at once are sent again a millisecond later. */
        int full = to_publisher.at < to_publisher.len || to_subscriber.at < to_subscriber.len;
        int count = epoll_wait(poll_fd, event, 512, full ? 1 : -1);
        for (int i = 0; i < count; i++) {
            int fd = event[i].data.u64;
            if (fd == listener) {
                accept_all(fd);
            } else if (fd == subscriber) {
                redis_readable(fd);
            } else if (fd == publisher) {
                char replies[READ];
                if (!recv(fd, replies, sizeof replies, 0))
                    die("the connection to Redis was lost");
            } else {
                if (client_of[fd] && event[i].events & EPOLLOUT)
                    client_writable(client_of[fd]);
                if (client_of[fd] && event[i].events & ~EPOLLOUT)
                    client_readable(client_of[fd]);
            }
        }
        if (buf_flush(&to_subscriber, subscriber) || buf_flush(&to_publisher, publisher))
            die("the connection to Redis was lost");
    }
}
