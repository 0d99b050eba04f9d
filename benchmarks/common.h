/*
 * Shared by the load generator and the floor: time, byte buffers, TCP on loopback, RESP.
 *
 * The functions are static, since each program is one file that is compiled on the spot.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void die(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

static inline int64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* Bytes from `at` up to `len` are still to be used. */
struct buf {
    char *data;
    size_t at, len, cap;
};

static char *buf_room(struct buf *b, size_t n) {
    if (b->at == b->len)
        b->at = b->len = 0;
    if (b->len + n > b->cap) {
        memmove(b->data, b->data + b->at, b->len - b->at);
        b->len -= b->at;
        b->at = 0;
        if (b->len + n > b->cap) {
            b->cap = (b->len + n) * 2;
            if (!(b->data = realloc(b->data, b->cap)))
                die("out of memory");
        }
    }
    return b->data + b->len;
}

static void buf_add(struct buf *b, const void *data, size_t n) {
    memcpy(buf_room(b, n), data, n);
    b->len += n;
}

/* Send the bytes in the buffer. Returns -1 when the connection is broken. */
static int buf_flush(struct buf *b, int fd) {
    while (b->at < b->len) {
        ssize_t n = send(fd, b->data + b->at, b->len - b->at, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR ? 0 : -1;
        b->at += n;
    }
    return 0;
}

static struct sockaddr_in loopback(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static void no_delay(int fd) {
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static int redis_connect(int port) {
    struct sockaddr_in address = loopback(port);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address))
        die("no Redis at port %d: %s", port, strerror(errno));
    fcntl(fd, F_SETFL, O_NONBLOCK);
    no_delay(fd);
    return fd;
}

static void watch(int poll, int operation, int fd, uint32_t events, uint64_t mark) {
    struct epoll_event event = {.events = events, .data.u64 = mark};
    if (epoll_ctl(poll, operation, fd, &event))
        die("epoll_ctl: %s", strerror(errno));
}

/* A RESP command; every argument is a pointer and a length. */
static void redis_command(struct buf *b, int count, ...) {
    char head[32];
    va_list args;
    va_start(args, count);
    buf_add(b, head, sprintf(head, "*%d\r\n", count));
    while (count--) {
        const char *data = va_arg(args, const char *);
        size_t size = va_arg(args, size_t);
        buf_add(b, head, sprintf(head, "$%zu\r\n", size));
        buf_add(b, data, size);
        buf_add(b, "\r\n", 2);
    }
    va_end(args);
}

struct slice {
    const char *data;
    size_t size;
};

/*
 * One reply of Redis. Returns its length, or 0 when a part of it is still to come. Up to four
 * elements of an array go to item[], and *count says how many; a simple reply is one element.
 */
static size_t redis_reply(const char *start, size_t size, struct slice item[4], int *count) {
    const char *p = start, *end = start + size;
    long left = 1;
    *count = 0;
    while (left--) {
        const char *stop = memchr(p, '\n', end - p);
        if (!stop)
            return 0;
        char kind = *p++;
        long value = kind == '$' || kind == '*' ? atol(p) : 0;
        struct slice found = {p, stop - 1 - p};
        p = stop + 1;
        if (kind == '-')
            die("Redis: %.*s", (int)found.size, found.data);
        if (kind == '*') {
            left = value;
            continue;
        }
        if (kind == '$') {
            if (end - p < value + 2)
                return 0;
            found.data = p;
            found.size = value;
            p += value + 2;
        }
        if (*count < 4)
            item[(*count)++] = found;
    }
    return p - start;
}
