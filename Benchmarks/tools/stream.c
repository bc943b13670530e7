// SPDX-License-Identifier: Apache-2.0
//
// A source and a sink of TCP, small enough for a guest's initrd (linked statically).
//
//   stream serve PORT                                  takes any number of clients
//   stream up|down HOST PORT SECONDS STREAMS           sends to or receives from a server; prints the receiver's Mbit/s
//   stream connect HOST PORT SECONDS 1                 connections, one after the other; prints connections/s
//   stream check-up|check-down HOST PORT MEGABYTES 1   compares checksums; prints `same` or `different`
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CHUNK = 256 * 1024 };
struct order {
    uint8_t direction, checked, unused[6];
    double amount;
};
struct result {
    uint64_t bytes, nanoseconds, sum;
};

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static int whole(int fd, void *bytes, size_t length, int writing) {
    for (size_t done = 0; done < length;) {
        ssize_t part = writing ? send(fd, (char *)bytes + done, length - done, MSG_NOSIGNAL)
                               : recv(fd, (char *)bytes + done, length - done, 0);
        if (part <= 0) return -1;
        done += (size_t)part;
    }
    return 0;
}

// FNV-1a over the bytes of a pseudo-random stream: whatever is lost, repeated or exchanged changes it.
static uint64_t add(uint64_t sum, const unsigned char *bytes, size_t length) {
    for (size_t i = 0; i < length; i++) sum = (sum ^ bytes[i]) * 0x100000001b3u;
    return sum;
}

// Sends to `fd`, or where that is -1 only works out what the sum would be.
static struct result source(int fd, struct order order) {
    struct result result = {0, 0, 0xcbf29ce484222325u};
    unsigned char *chunk = malloc(CHUNK);
    uint64_t start = now(), end = start + (uint64_t)(order.amount * 1e9), state = 88172645463325252u;
    memset(chunk, 0x5a, CHUNK);
    while (order.checked ? result.bytes < (uint64_t)(order.amount * 1e6) : now() < end) {
        if (order.checked) {
            for (size_t i = 0; i + 8 <= CHUNK; i += 8) {
                state ^= state << 13, state ^= state >> 7, state ^= state << 17;
                memcpy(chunk + i, &state, 8);
            }
            result.sum = add(result.sum, chunk, CHUNK);
        }
        if (fd >= 0 && whole(fd, chunk, CHUNK, 1) < 0) break;
        result.bytes += CHUNK;
    }
    if (fd >= 0) shutdown(fd, SHUT_WR);
    result.nanoseconds = now() - start;
    free(chunk);
    return result;
}

static struct result sink(int fd, struct order order) {
    struct result result = {0, 0, 0xcbf29ce484222325u};
    unsigned char *chunk = malloc(CHUNK);
    uint64_t start = 0;
    ssize_t length;
    while ((length = recv(fd, chunk, CHUNK, 0)) > 0) {
        if (!start) start = now();
        if (order.checked) result.sum = add(result.sum, chunk, (size_t)length);
        result.bytes += (uint64_t)length;
    }
    result.nanoseconds = start ? now() - start : 1;
    free(chunk);
    return result;
}

static void *serve(void *argument) {
    int fd = (int)(intptr_t)argument;
    struct order order;
    if (whole(fd, &order, sizeof order, 0) == 0) {
        struct result result = order.direction == 'u' ? sink(fd, order) : source(fd, order);
        if (order.direction == 'u') whole(fd, &result, sizeof result, 1);
    }
    close(fd);
    return NULL;
}

static struct sockaddr_storage peer;
static socklen_t peer_size;
static struct order order;

static void *client(void *argument) {
    struct result *result = argument, other = {0, 0, 0};
    int fd = socket(peer.ss_family, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&peer, peer_size) < 0) {
        perror("stream: connect");
        exit(1);
    }
    whole(fd, &order, sizeof order, 1);
    if (order.direction == 'u') {
        struct result own = source(fd, order);
        if (whole(fd, &other, sizeof other, 0) < 0) {
            fprintf(stderr, "stream: no answer\n");
            exit(1);
        }
        *result = other;
        if (order.checked) printf("%s\n", own.sum == other.sum && own.bytes == other.bytes ? "same" : "different");
    } else {
        *result = sink(fd, order);
        if (order.checked) {
            // The bytes are always the same: what the other end has sent can be worked out here.
            struct result own = source(-1, order);
            printf("%s\n", own.sum == result->sum && own.bytes == result->bytes ? "same" : "different");
        }
    }
    close(fd);
    return NULL;
}

// Connections one after the other, each closed as soon as it is there.
static int connect_often(double seconds) {
    uint64_t start = now(), end = start + (uint64_t)(seconds * 1e9), made = 0;
    for (; now() < end; made++) {
        int fd = socket(peer.ss_family, SOCK_STREAM, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *)&peer, peer_size) < 0) {
            perror("stream: connect");
            return 1;
        }
        close(fd);
    }
    printf("connects %.1f\n", (double)made * 1e9 / (double)(now() - start));
    return 0;
}

// A server for both versions of IP, or for IPv4 on a kernel without the other.
static int listen_at(uint16_t port) {
    int one = 1, zero = 0, fd = socket(AF_INET6, SOCK_STREAM, 0);
    struct sockaddr_in6 both = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int is_bound;
    if (fd >= 0) {
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        is_bound = bind(fd, (struct sockaddr *)&both, sizeof both) == 0;
    } else {
        fd = socket(AF_INET, SOCK_STREAM, 0);
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        is_bound = bind(fd, (struct sockaddr *)&address, sizeof address) == 0;
    }
    return is_bound && listen(fd, 64) == 0 ? fd : -1;
}

// Stores the peer's address, of either version of IP.
static int set_peer(const char *host, uint16_t port) {
    struct sockaddr_in *four = (struct sockaddr_in *)&peer;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)&peer;
    if (inet_pton(AF_INET, host, &four->sin_addr) == 1) {
        four->sin_family = AF_INET;
        four->sin_port = htons(port);
        peer_size = sizeof *four;
        return 1;
    }
    six->sin6_family = AF_INET6;
    six->sin6_port = htons(port);
    peer_size = sizeof *six;
    return inet_pton(AF_INET6, host, &six->sin6_addr) == 1;
}

int main(int count, char **arguments) {
    signal(SIGPIPE, SIG_IGN);
    if (count == 3 && !strcmp(arguments[1], "serve")) {
        int listener = listen_at((uint16_t)atoi(arguments[2]));
        if (listener < 0) {
            perror("stream: listen");
            return 1;
        }
        for (;;) {
            int fd = accept(listener, NULL, NULL);
            pthread_t thread;
            if (fd >= 0 && pthread_create(&thread, NULL, serve, (void *)(intptr_t)fd) == 0) pthread_detach(thread);
        }
    }
    if (count != 6) {
        fprintf(stderr,
            "usage: stream serve PORT | stream up|down|connect|check-up|check-down HOST PORT SECONDS|MEGABYTES "
            "STREAMS\n");
        return 64;
    }
    const char *word = arguments[1];
    if (!strncmp(word, "check-", 6)) order.checked = 1, word += 6;
    order.direction = (uint8_t)word[0];
    order.amount = atof(arguments[4]);
    if (!set_peer(arguments[2], (uint16_t)atoi(arguments[3]))) {
        fprintf(stderr, "stream: %s is no address\n", arguments[2]);
        return 64;
    }
    int streams = atoi(arguments[5]);
    if (!strcmp(word, "connect")) return connect_often(order.amount);
    struct result results[256] = {0};
    pthread_t threads[256];
    if (streams < 1 || streams > 256) return 64;
    for (int i = 0; i < streams; i++) pthread_create(&threads[i], NULL, client, &results[i]);
    uint64_t bytes = 0, longest = 1;
    for (int i = 0; i < streams; i++) {
        pthread_join(threads[i], NULL);
        bytes += results[i].bytes;
        if (results[i].nanoseconds > longest) longest = results[i].nanoseconds;
    }
    if (!order.checked) printf("mbits %.2f\n", (double)bytes * 8e3 / (double)longest);
    return 0;
}
