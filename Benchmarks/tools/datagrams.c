// SPDX-License-Identifier: Apache-2.0
//
// A source and a sink of UDP, small enough for a guest's initrd (linked statically).
//
//   datagrams serve PORT                            serves any number of clients; answers at TCP's PORT too
//   datagrams up|down HOST PORT SECONDS SIZE FLOWS  as fast as nothing is lost; prints the receiver's datagrams/s
//   datagrams paced HOST PORT SECONDS SIZE MBIT     receives a steady flow; prints the share that was lost, in percent
//   datagrams questions HOST PORT SECONDS COUNT     queries from COUNT ports, one after the other; prints how many are
//                                                   not answered within a second
//   datagrams hold HOST PORT SECONDS COUNT          opens COUNT flows, prints `open`, and waits
//   datagrams tcp|ping HOST PORT SECONDS            one small message and its answer at a time; prints microseconds
//
// The sender has a bounded number of datagrams on their way, and learns from the receiver every few how many have come.
// So the rate is that of the slowest place, and what is lost costs the sender a pause.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { WINDOW = 256, STEP = 32, BATCH = 32, LONGEST = 2048, FLOWS = 16384 };
enum kind { UP = 1, CREDIT, JOIN, DOWN, PACED, STEADY, QUESTION, END };

struct message {
    uint32_t kind, run;
    uint64_t number;  // of datagrams so far, or bits a second
    uint32_t size, flows;
};

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static struct sockaddr_in server;

static int udp(void) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), room = 1 << 20;
    if (fd < 0) fail("socket");
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    return fd;
}

static int flow(void) {
    int fd = udp();
    if (connect(fd, (struct sockaddr *)&server, sizeof server) < 0) fail("connect");
    return fd;
}

// ---- The server, with one transfer at a time and a steady flow beside it

static struct {
    uint32_t run, size, flows, joined;
    struct sockaddr_in peers[FLOWS];
    uint64_t sent, credit, last, received;
} transfer;
static struct {
    struct sockaddr_in peer;
    uint64_t start, end, sent, bits;
    uint32_t run, size;
} steady;

static void answer(int fd, const struct sockaddr_in *to, struct message message) {
    (void)sendto(fd, &message, sizeof message, 0, (const struct sockaddr *)to, sizeof *to);
}

static void handle(int fd, const struct message *message, const struct sockaddr_in *from) {
    switch (message->kind) {
    case UP:
        if (transfer.run != message->run) {
            transfer.run = message->run;
            transfer.received = 0;
            transfer.flows = 0;
        }
        if (++transfer.received % STEP == 0)
            answer(fd, from, (struct message){.kind = CREDIT, .run = message->run, .number = transfer.received});
        break;
    case JOIN:
        if (message->flows > FLOWS || message->number >= FLOWS) break;
        if (transfer.run != message->run) {
            memset(&transfer, 0, sizeof transfer);
            transfer.run = message->run;
        }
        if (transfer.peers[message->number].sin_port == 0) transfer.joined++;
        transfer.peers[message->number] = *from;
        answer(fd, from, (struct message){.kind = JOIN, .run = message->run, .number = message->number});
        transfer.size = message->size;
        if (transfer.joined == message->flows) transfer.flows = message->flows;
        transfer.last = now();
        break;
    case CREDIT:
        if (transfer.run != message->run) break;
        if (message->number > transfer.credit) transfer.credit = message->number;
        transfer.last = now();
        break;
    case END:
        if (transfer.run == message->run) transfer.flows = 0;
        if (steady.run == message->run) steady.end = 0;
        break;
    case PACED:
        steady.peer = *from;
        steady.run = message->run;
        steady.size = message->size;
        steady.bits = message->number;
        steady.sent = 0;
        steady.start = now();
        steady.end = steady.start + (uint64_t)message->flows * 1000000u;
        break;
    case QUESTION: answer(fd, from, *message); break;
    default: break;
    }
}

static void send_down(int fd) {
    static char bytes[LONGEST];
    struct message *header = (struct message *)bytes;
    if (transfer.flows == 0) return;
    // What was lost is not sent again.
    if (transfer.sent - transfer.credit >= WINDOW && now() - transfer.last > 100000000u) {
        transfer.credit = transfer.sent;
        transfer.last = now();
    }
    for (int i = 0; i < BATCH && transfer.sent - transfer.credit < WINDOW; i++) {
        *header = (struct message){.kind = DOWN, .run = transfer.run, .number = transfer.sent};
        const struct sockaddr_in *to = &transfer.peers[transfer.sent % transfer.flows];
        if (sendto(fd, bytes, transfer.size, 0, (const struct sockaddr *)to, sizeof *to) < 0) return;
        transfer.sent++;
    }
}

static void send_steady(int fd) {
    static char bytes[LONGEST];
    struct message *header = (struct message *)bytes;
    if (steady.end == 0) return;
    uint64_t time = now();
    if (time > steady.end) {
        // Several, because one may be lost.
        for (int i = 0; i < 5; i++)
            answer(fd, &steady.peer, (struct message){.kind = END, .run = steady.run, .number = steady.sent});
        steady.end = 0;
        return;
    }
    uint64_t due = (uint64_t)((double)(time - steady.start) / 1e9 * (double)steady.bits / 8 / steady.size);
    for (int i = 0; i < BATCH && steady.sent < due; i++) {
        *header = (struct message){.kind = STEADY, .run = steady.run, .number = steady.sent};
        if (sendto(fd, bytes, steady.size, 0, (struct sockaddr *)&steady.peer, sizeof steady.peer) < 0) return;
        steady.sent++;
    }
}

static void serve(uint16_t port) {
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = udp(), listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), client = -1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (bind(fd, (struct sockaddr *)&any, sizeof any) < 0 || bind(listener, (struct sockaddr *)&any, sizeof any) < 0 ||
        listen(listener, 8) < 0)
        fail("bind");
    puts("serving");
    fflush(stdout);
    static char room[BATCH][LONGEST];
    struct mmsghdr messages[BATCH];
    struct sockaddr_in names[BATCH];
    struct iovec pieces[BATCH];
    for (;;) {
        struct pollfd ready[3] = {{fd, POLLIN, 0}, {listener, POLLIN, 0}, {client, POLLIN, 0}};
        int is_sending = (transfer.flows > 0 && transfer.sent - transfer.credit < WINDOW) || steady.end > 0;
        (void)poll(ready, 3, is_sending ? 0 : 50);
        if (ready[1].revents) {
            if (client >= 0) close(client);
            client = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
            setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        }
        if (client >= 0 && ready[2].revents) {
            char bytes[64];
            ssize_t length = recv(client, bytes, sizeof bytes, 0);
            if (length > 0) (void)send(client, bytes, (size_t)length, MSG_NOSIGNAL);
            else if (length == 0 || errno != EAGAIN) {
                close(client);
                client = -1;
            }
        }
        for (int i = 0; i < BATCH; i++) {
            pieces[i] = (struct iovec){room[i], LONGEST};
            messages[i].msg_hdr = (struct msghdr){
                .msg_name = &names[i], .msg_namelen = sizeof names[i], .msg_iov = &pieces[i], .msg_iovlen = 1};
        }
        int count = recvmmsg(fd, messages, BATCH, MSG_DONTWAIT, NULL);
        for (int i = 0; i < count; i++)
            if (messages[i].msg_len >= sizeof(struct message)) handle(fd, (struct message *)room[i], &names[i]);
        send_down(fd);
        send_steady(fd);
    }
}

// ---- Clients

static int poller;

static int *open_flows(int count) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    int *flows = calloc((size_t)count, sizeof *flows);
    poller = epoll_create1(0);
    for (int i = 0; i < count; i++) {
        flows[i] = flow();
        struct epoll_event event = {.events = EPOLLIN, .data.fd = flows[i]};
        epoll_ctl(poller, EPOLL_CTL_ADD, flows[i], &event);
    }
    return flows;
}

/// The next message of a run; its length, 0 after `milliseconds` without one.
static size_t receive(uint32_t run, int milliseconds, struct message *message, int *from) {
    static struct epoll_event events[64];
    static int count, next;
    for (;;) {
        for (; next < count; next++) {
            char bytes[LONGEST];
            ssize_t length = recv(events[next].data.fd, bytes, sizeof bytes, 0);
            if (length < (ssize_t)sizeof *message) continue;
            memcpy(message, bytes, sizeof *message);
            if (message->run != run) continue;
            *from = events[next].data.fd;
            // Others are ready too; this one may have more, and is reported again.
            if (count > 1) next++;
            return (size_t)length;
        }
        next = 0;
        count = epoll_wait(poller, events, 64, milliseconds);
        if (count <= 0) return 0;
    }
}

static void up(double seconds, uint32_t size, int count) {
    int *flows = open_flows(count), from;
    static char bytes[LONGEST];
    uint32_t run = (uint32_t)now();
    uint64_t start = now(), end = start + (uint64_t)(seconds * 1e9), sent = 0, credit = 0, last = start, time;
    while ((time = now()) < end) {
        while (sent - credit < WINDOW) {
            *(struct message *)bytes = (struct message){.kind = UP, .run = run};
            if (send(flows[sent % (uint64_t)count], bytes, size, 0) < 0) break;
            sent++;
        }
        struct message message;
        if (receive(run, 5, &message, &from) && message.kind == CREDIT) {
            if (message.number > credit) credit = message.number;
            last = time;
        } else if (time - last > 100000000u) {
            // What was lost counts as arrived, so that the sender goes on.
            sent = credit;
            last = time;
        }
    }
    printf("%.0f\n", (double)credit / ((double)(now() - start) / 1e9));
}

static void down(double seconds, uint32_t size, int count) {
    int *flows = open_flows(count), from;
    uint32_t run = (uint32_t)now();
    struct message message;
    // 32 at a time, because as many fit into short queues.
    char *is_joined = calloc((size_t)count, 1);
    uint64_t limit = now() + 10000000000u;
    for (int joined = 0; joined < count && now() < limit;) {
        int asked = 0;
        for (int i = 0; i < count && asked < 32; i++) {
            if (is_joined[i]) continue;
            struct message join = {
                .kind = JOIN, .run = run, .number = (uint64_t)i, .size = size, .flows = (uint32_t)count};
            (void)send(flows[i], &join, sizeof join, 0);
            asked++;
        }
        while (asked > 0 && receive(run, 100, &message, &from)) {
            // Data means that all have joined.
            if (message.kind == DOWN) joined = count;
            if (message.kind != JOIN || message.number >= (uint64_t)count || is_joined[message.number]) break;
            is_joined[message.number] = 1;
            joined++;
            asked--;
        }
    }
    uint64_t received = 0, start = now(), end = start + (uint64_t)(seconds * 1e9), highest = 0;
    while (now() < end) {
        if (!receive(run, 50, &message, &from) || message.kind != DOWN) continue;
        received++;
        if (message.number + 1 > highest) highest = message.number + 1;
        if (received % STEP == 0) {
            struct message credit = {.kind = CREDIT, .run = run, .number = highest};
            (void)send(from, &credit, sizeof credit, 0);
        }
    }
    double elapsed = (double)(now() - start) / 1e9;
    struct message stop = {.kind = END, .run = run};
    for (int i = 0; i < 5; i++) (void)send(flows[0], &stop, sizeof stop, 0);
    printf("%.0f\n", (double)received / elapsed);
}

static void paced(double seconds, uint32_t size, double mbit) {
    int *flows = open_flows(1), from;
    uint32_t run = (uint32_t)now();
    struct message order = {
        .kind = PACED, .run = run, .number = (uint64_t)(mbit * 1e6), .size = size, .flows = (uint32_t)(seconds * 1000)};
    struct message message = {0};
    uint64_t received = 0, end = now() + (uint64_t)(seconds * 1e9) + 3000000000u;
    (void)send(flows[0], &order, sizeof order, 0);
    while (now() < end) {
        if (!receive(run, 500, &message, &from)) continue;
        if (message.kind == END) break;
        received++;
    }
    if (message.kind != END || message.number == 0) fail("no end");
    printf("%.4f\n", 100 * (1 - (double)received / (double)message.number));
}

static void questions(double seconds, int count) {
    int unanswered = 0;
    uint64_t start = now();
    for (int i = 0; i < count; i++) {
        int fd = flow(), is_answered = 0;
        struct message question = {.kind = QUESTION, .run = (uint32_t)i};
        if (send(fd, &question, sizeof question, 0) > 0) {
            struct pollfd ready = {fd, POLLIN, 0};
            is_answered = poll(&ready, 1, 1000) > 0 && recv(fd, &question, sizeof question, 0) > 0;
        }
        unanswered += !is_answered;
        close(fd);
        uint64_t due = start + (uint64_t)(seconds * 1e9 / count * (i + 1)), time = now();
        if (due > time) usleep((useconds_t)((due - time) / 1000));
    }
    printf("%d\n", unanswered);
}

static void hold(double seconds, int count) {
    int *flows = open_flows(count);
    struct message question = {.kind = QUESTION}, message;
    int open = 0, from;
    for (int i = 0; i < count; i++) {
        question.run = (uint32_t)i + 1;
        for (int try = 0; try < 5; try++) {
            (void)send(flows[i], &question, sizeof question, 0);
            if (receive(question.run, 500, &message, &from)) {
                open++;
                break;
            }
        }
    }
    printf("open %d\n", open);
    fflush(stdout);
    usleep((useconds_t)(seconds * 1e6));
}

static void tcp(double seconds) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&server, sizeof server) < 0) fail("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    char bytes[64] = {0};
    uint64_t count = 0, start = now(), end = start + (uint64_t)(seconds * 1e9);
    for (; now() < end; count++)
        if (send(fd, bytes, 64, MSG_NOSIGNAL) != 64 || recv(fd, bytes, 64, MSG_WAITALL) != 64) fail("tcp");
    printf("%.2f\n", (double)(now() - start) / 1e3 / (double)count);
}

static uint16_t checksum(const void *bytes, size_t length) {
    uint32_t sum = 0;
    for (size_t i = 0; i < length; i += 2) sum += ((const uint16_t *)bytes)[i / 2];
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

static void ping(double seconds) {
    int fd = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
    if (fd < 0) fail("ping");
    uint16_t identifier = (uint16_t)getpid();
    uint64_t count = 0, start = now(), end = start + (uint64_t)(seconds * 1e9);
    _Alignas(8) char packet[64], answer[256];
    while (now() < end) {
        memset(packet, 0, sizeof packet);
        struct icmphdr *header = (struct icmphdr *)packet;
        header->type = ICMP_ECHO;
        header->un.echo.id = identifier;
        header->un.echo.sequence = htons((uint16_t)count);
        header->checksum = checksum(packet, sizeof packet);
        if (sendto(fd, packet, sizeof packet, 0, (struct sockaddr *)&server, sizeof server) < 0) fail("sendto");
        for (;;) {
            struct pollfd ready = {fd, POLLIN, 0};
            if (poll(&ready, 1, 1000) <= 0) break;
            ssize_t length = recv(fd, answer, sizeof answer, 0);
            if (length < (ssize_t)(sizeof(struct iphdr) + sizeof *header)) continue;
            const struct icmphdr *reply = (struct icmphdr *)(answer + ((struct iphdr *)answer)->ihl * 4);
            if (reply->type != ICMP_ECHOREPLY || reply->un.echo.id != identifier ||
                reply->un.echo.sequence != header->un.echo.sequence)
                continue;
            count++;
            break;
        }
    }
    printf("%.2f\n", (double)(now() - start) / 1e3 / (double)(count ? count : 1));
}

int main(int count, char *arguments[]) {
    signal(SIGPIPE, SIG_IGN);
    if (count == 3 && strcmp(arguments[1], "serve") == 0) serve((uint16_t)atoi(arguments[2]));
    if (count < 5) {
        fprintf(stderr, "usage: see the head of datagrams.c\n");
        return 64;
    }
    server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(arguments[3]))};
    inet_pton(AF_INET, arguments[2], &server.sin_addr);
    double seconds = atof(arguments[4]);
    int first = count > 5 ? atoi(arguments[5]) : 0, second = count > 6 ? atoi(arguments[6]) : 0;
    const char *what = arguments[1];
    if (strcmp(what, "up") == 0) up(seconds, (uint32_t)first, second);
    else if (strcmp(what, "down") == 0) down(seconds, (uint32_t)first, second);
    else if (strcmp(what, "paced") == 0) paced(seconds, (uint32_t)first, second);
    else if (strcmp(what, "questions") == 0) questions(seconds, first);
    else if (strcmp(what, "hold") == 0) hold(seconds, first);
    else if (strcmp(what, "tcp") == 0) tcp(seconds);
    else if (strcmp(what, "ping") == 0) ping(seconds);
    else return 64;
    return 0;
}
