/*
 * The load generator for requests: clients that ask, wait for the whole answer, and ask again.
 *
 *     ask KEY=VALUE ...
 *
 * port      of the server
 * request   file with the bytes of the request, or of the handshake
 * answer    the body that every answer has to have
 * mode      keep   all requests of a client on one connection
 *           new    a connection for each request, which the server closes
 *           echo   a WebSocket for each client; a message comes back before the next one is sent
 *           shake  WebSockets are opened and stay open until `count` are
 * clients   how many, or in mode=shake how many handshakes at a time
 * size      bytes of a message in mode=echo
 * seconds   when to end; warmup: seconds of the same load before
 * count     mode=shake: how many; warmup is a number of them, too
 *
 * The dialogue with asgi.py is that of load.c: it says "ready" after the warm-up, waits for a line,
 * runs, and writes a line of JSON. Every answer is checked: the status, its length, its body.
 */
#include "common.h"

enum { READ = 1 << 16, MAX_BODY = 1 << 16 };
enum { STALL_US = 10000000 };

enum state { CLOSED, CONNECTING, SHAKING, ASKING };

struct client {
    int fd;
    enum state state;
    struct buf in;
};

static char mode[16] = "keep", request_file[256], answer[4096];
static int port, clients = 64, size = 64;
static double seconds = 3, warmup = 1;
static long count = 0;

static int poll_fd;
static struct client *client;
static char request[8192], frame[1 << 16];
static size_t request_size, frame_size;
static long done, opened, wrong;
static int websocket, shaking;

static void connect_client(struct client *c) {
    struct sockaddr_in address = loopback(port);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0)
        die("socket: %s", strerror(errno));
    no_delay(c->fd);
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS)
        die("connect: %s", strerror(errno));
    c->state = CONNECTING;
    c->in.at = c->in.len = 0;
    watch(poll_fd, EPOLL_CTL_ADD, c->fd, EPOLLOUT, c - client);
    opened++;
}

static void say(struct client *c, const void *data, size_t length) {
    if (send(c->fd, data, length, MSG_NOSIGNAL) != (ssize_t)length)
        die("a request could not be sent: %s", strerror(errno));
}

static void ask(struct client *c) {
    if (c->state == ASKING && websocket)
        say(c, frame, frame_size);
    else
        say(c, request, request_size);
}

/* The length of a chunked body with its frame, or -1 if a part is missing; *body is its content. */
static long chunked(const char *p, const char *end, char *body, size_t *length) {
    const char *start = p;
    *length = 0;
    for (;;) {
        const char *stop = memchr(p, '\n', end - p);
        if (!stop)
            return -1;
        size_t n = strtoul(p, NULL, 16);
        p = stop + 1;
        if (end - p < (long)n + 2)
            return -1;
        if (!n)
            return p + 2 - start;
        if (*length + n <= MAX_BODY)
            memcpy(body + *length, p, n);
        *length += n;
        p += n + 2;
    }
}

/* The length of one answer of HTTP, or 0 if a part of it is missing. */
static size_t http_answer(const char *start, size_t length, int *status) {
    static char body[MAX_BODY];
    const char *end = memmem(start, length, "\r\n\r\n", 4);
    if (!end)
        return 0;
    *status = atoi(start + 9);
    end += 4;
    if (*status == 101)
        return end - start;
    size_t got = 0;
    long whole = -1;
    for (const char *line = memchr(start, '\n', end - start) + 1; line < end - 2;
         line = memchr(line, '\n', end - line) + 1) {
        if (!strncasecmp(line, "content-length:", 15)) {
            got = strtoul(line + 15, NULL, 10);
            whole = (size_t)(start + length - end) < got ? -2 : (long)got;
            if (whole >= 0 && got <= MAX_BODY)
                memcpy(body, end, got);
        } else if (!strncasecmp(line, "transfer-encoding:", 18)) {
            whole = chunked(end, start + length, body, &got);
            if (whole < 0)
                return 0;
        }
    }
    if (whole < 0)
        return 0;
    if (*status != 200 || got != strlen(answer) || memcmp(body, answer, got))
        wrong++;
    return end - start + whole;
}

static void closed(struct client *c) {
    close(c->fd);
    c->state = CLOSED;
}

/* One answer has come. */
static void answered(struct client *c) {
    done++;
    if (!strcmp(mode, "new")) {
        closed(c);
        connect_client(c);
    } else {
        ask(c);
    }
}

static void readable(struct client *c) {
    ssize_t n = recv(c->fd, buf_room(&c->in, READ), READ, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0)
        die("the server closed a connection: %s", n ? strerror(errno) : "end");
    c->in.len += n;
    for (;;) {
        const char *start = c->in.data + c->in.at;
        size_t length = c->in.len - c->in.at, used;
        if (c->state == ASKING && websocket) {
            used = length >= 2 ? (size_t)(start[1] & 127) + 2 : 0;
            if (!used || length < used)
                return;
            if (start[0] & 8) { /* a ping: nobody waits so long for the pong */
                c->in.at += used;
                continue;
            }
            if ((uint8_t)start[0] != 0x81 || used != (size_t)size + 2 ||
                memcmp(start + 2, frame + 6, size))
                wrong++;
            c->in.at += used;
            answered(c);
            return;
        }
        int status = 0;
        if (!(used = http_answer(start, length, &status)))
            return;
        c->in.at += used;
        if (websocket) {
            if (status != 101)
                die("a handshake was answered with %d", status);
            shaking--;
            if (!strcmp(mode, "shake")) {
                done++;
                c->state = ASKING;
                return;
            }
            c->state = ASKING;
            ask(c);
            return;
        }
        answered(c);
        return;
    }
}

/* Run until the time is over, or in mode=shake until so many are open. */
static void run(double limit) {
    struct epoll_event events[512];
    int64_t end = now_us() + (int64_t)(limit * 1e6), last = now_us();
    long before = done, target = !strcmp(mode, "shake") ? opened + (long)limit : 0;
    for (;;) {
        while (target && opened < target && shaking < clients) {
            shaking++;
            connect_client(&client[opened]);
        }
        if (target ? opened == target && !shaking : now_us() >= end)
            return;
        int n = epoll_wait(poll_fd, events, 512, 100);
        for (int i = 0; i < n; i++) {
            struct client *c = &client[events[i].data.u64];
            if (c->state == CONNECTING) {
                int error = 0;
                socklen_t of = sizeof error;
                getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &of);
                if (error)
                    die("connect: %s", strerror(error));
                watch(poll_fd, EPOLL_CTL_MOD, c->fd, EPOLLIN, c - client);
                c->state = SHAKING;
                ask(c);
            } else if (c->state != CLOSED) {
                readable(c);
            }
        }
        if (done != before)
            before = done, last = now_us();
        else if (now_us() - last > STALL_US)
            die("nothing came for 10 seconds");
    }
}

static void arguments(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        char *value = strchr(argv[i], '=');
        if (!value)
            die("%s: KEY=VALUE", argv[i]);
        *value++ = 0;
        if (!strcmp(argv[i], "port"))
            port = atoi(value);
        else if (!strcmp(argv[i], "request"))
            snprintf(request_file, sizeof request_file, "%s", value);
        else if (!strcmp(argv[i], "answer"))
            snprintf(answer, sizeof answer, "%s", value);
        else if (!strcmp(argv[i], "mode"))
            snprintf(mode, sizeof mode, "%s", value);
        else if (!strcmp(argv[i], "clients"))
            clients = atoi(value);
        else if (!strcmp(argv[i], "size"))
            size = atoi(value);
        else if (!strcmp(argv[i], "seconds"))
            seconds = atof(value);
        else if (!strcmp(argv[i], "warmup"))
            warmup = atof(value);
        else if (!strcmp(argv[i], "count"))
            count = atol(value);
        else
            die("unknown: %s", argv[i]);
    }
}

int main(int argc, char **argv) {
    arguments(argc, argv);
    FILE *file = fopen(request_file, "rb");
    if (!file)
        die("no file %s", request_file);
    request_size = fread(request, 1, sizeof request, file);
    fclose(file);
    int is_shaking = !strcmp(mode, "shake");
    websocket = is_shaking || !strcmp(mode, "echo");
    if (size > 125)
        die("a message has at most 125 bytes");
    /* The mask is zero, so that the message is its own masked form. */
    memcpy(frame, (char[]){(char)0x81, (char)(0x80 | size), 0, 0, 0, 0}, 6);
    memset(frame + 6, 'x', size);
    frame_size = size + 6;
    poll_fd = epoll_create1(0);
    long all = is_shaking ? count + (long)warmup + 1 : clients;
    if (!(client = calloc(all, sizeof *client)))
        die("out of memory");
    for (int i = 0; !is_shaking && i < clients; i++)
        connect_client(&client[i]);
    run(warmup);
    puts("ready");
    fflush(stdout);
    if (getchar() == EOF)
        return 1;
    long before = done;
    int64_t start = now_us();
    run(is_shaking ? count : seconds);
    printf("{\"count\": %ld, \"seconds\": %.3f, \"wrong\": %ld}\n", done - before,
           (now_us() - start) / 1e6, wrong);
    return 0;
}
