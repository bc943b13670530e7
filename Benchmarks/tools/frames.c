// SPDX-License-Identifier: Apache-2.0
//
// Two clients of a VDE switch, made of libvdeplug as QEMU and vde_plug are: one system call a frame, nothing clever.
//
//   frames flood PATH BYTES SECONDS      one sends as fast as it is let, the other counts
//   frames pingpong PATH BYTES SECONDS   one frame in flight, there and back
//   frames idle PATH COUNT               COUNT clients that announce themselves and do nothing until EOF on stdin
//
// Prints `name value` lines. PATH may be one for both clients or two, separated by a comma.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct vde_open_args {
    int port;
    const char *group;
    unsigned mode;
};
static void *(*vde_open_real)(char *, char *, int, struct vde_open_args *);
static ssize_t (*vde_send)(void *, const void *, size_t, int);
static ssize_t (*vde_recv)(void *, void *, size_t, int);
static int (*vde_datafd)(void *);

static void fail(const char *what) {
    fprintf(stderr, "frames: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void load(void) {
    void *library = dlopen("libvdeplug.so.2", RTLD_NOW);
    if (!library) fail("libvdeplug.so.2");
    *(void **)&vde_open_real = dlsym(library, "vde_open_real");
    *(void **)&vde_send = dlsym(library, "vde_send");
    *(void **)&vde_recv = dlsym(library, "vde_recv");
    *(void **)&vde_datafd = dlsym(library, "vde_datafd");
    if (!vde_open_real || !vde_send || !vde_recv || !vde_datafd) fail("symbols of libvdeplug");
}

static void *join(char *path) {
    struct vde_open_args arguments = {0, NULL, 0700};
    void *connection = vde_open_real(path, "frames", 1, &arguments);
    if (!connection) fail(path);
    return connection;
}

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static uint64_t cpu(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return ((uint64_t)usage.ru_utime.tv_sec + (uint64_t)usage.ru_stime.tv_sec) * 1000000000u +
        ((uint64_t)usage.ru_utime.tv_usec + (uint64_t)usage.ru_stime.tv_usec) * 1000u;
}

static void set_receive_timeout(void *connection, long microseconds) {
    struct timeval limit = {microseconds / 1000000, microseconds % 1000000};
    setsockopt(vde_datafd(connection), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
}

// The clients of several processes at one switch need different addresses.
static unsigned char identity;

static unsigned char *frame(size_t size, unsigned char to, unsigned char from) {
    unsigned char *bytes = calloc(1, 70000);
    memset(bytes, to == 0xff ? 0xff : 0, 6);
    if (to != 0xff) bytes[0] = 2, bytes[4] = identity, bytes[5] = to;
    bytes[6] = 2, bytes[10] = identity, bytes[11] = from, bytes[12] = 0x88, bytes[13] = 0xb6;
    for (size_t i = 22; i < size; i++) bytes[i] = (unsigned char)(i * 7);
    return bytes;
}

struct shared {
    volatile uint64_t sent, cpu, done;
};
static struct shared *shared;

static void flood(char *first, char *second, size_t size, double seconds) {
    void *receiver = join(second);
    set_receive_timeout(receiver, 100000);
    vde_send(receiver, frame(60, 0xff, 2), 60, 0);
    usleep(20000);
    pid_t child = fork();
    if (child == 0) {
        void *sender = join(first);
        unsigned char *bytes = frame(size, 2, 1);
        vde_send(sender, frame(60, 0xff, 1), 60, 0);
        usleep(20000);
        uint64_t end = now() + (uint64_t)(seconds * 1e9), sent = 0, before = cpu();
        for (;; sent++) {
            if ((sent & 63) == 0 && now() >= end) break;
            memcpy(bytes + 14, &sent, 8);
            while (vde_send(sender, bytes, size, 0) < 0) {
                if (errno != EAGAIN && errno != EINTR && errno != ENOBUFS) fail("vde_send");
                struct pollfd entry = {vde_datafd(sender), POLLOUT, 0};
                poll(&entry, 1, 10);
            }
        }
        shared->cpu = cpu() - before;
        shared->sent = sent;
        shared->done = 1;
        // Closing too early would lose what still waits in the socket.
        usleep(400000);
        _exit(0);
    }
    static unsigned char buffer[70000];
    uint64_t received = 0, reordered = 0, damaged = 0, first_time = 0, last_time = 0, expected = 0, before = cpu();
    for (;;) {
        ssize_t length = vde_recv(receiver, buffer, sizeof buffer, 0);
        if (length < 0) {
            if (shared->done) break;
            int status;
            if (waitpid(child, &status, WNOHANG) == child && !shared->done) fail("the sender has ended");
            continue;
        }
        if (length < 22 || buffer[11] != 1 || buffer[0] != 2) continue;
        uint64_t number;
        memcpy(&number, buffer + 14, 8);
        if ((size_t)length != size ||
            buffer[length - 1] != (size > 22 ? (unsigned char)((size - 1) * 7) : buffer[length - 1]))
            damaged++;
        if (number < expected) reordered++;
        expected = number + 1;
        if ((received++ & 63) == 0) last_time = now();
        if (!first_time) first_time = last_time;
    }
    uint64_t own = cpu() - before;
    waitpid(child, NULL, 0);
    double span = last_time > first_time ? (double)(last_time - first_time) / 1e9 : seconds;
    printf("sent %llu\nreceived %llu\nreordered %llu\ndamaged %llu\nrate %.1f\nlost %.4f\nsender_cpu_ns "
           "%.1f\nreceiver_cpu_ns %.1f\n",
        (unsigned long long)shared->sent, (unsigned long long)received, (unsigned long long)reordered,
        (unsigned long long)damaged, (double)received / span, 100.0 * (1 - (double)received / (double)shared->sent),
        (double)shared->cpu / (double)shared->sent, (double)own / (double)received);
}

static int compare(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void pingpong(char *first, char *second, size_t size, double seconds) {
    void *echo = join(second);
    vde_send(echo, frame(60, 0xff, 2), 60, 0);
    usleep(20000);
    pid_t child = fork();
    if (child == 0) {
        static unsigned char buffer[70000];
        unsigned char *answer = frame(size, 1, 2);
        for (;;) {
            ssize_t length = vde_recv(echo, buffer, sizeof buffer, 0);
            if (length < 15 || buffer[11] != 1 || buffer[0] != 2) continue;
            if (buffer[14] == 0xee) _exit(0);
            vde_send(echo, answer, size, 0);
        }
    }
    void *client = join(first);
    set_receive_timeout(client, 200000);
    unsigned char *question = frame(size, 2, 1);
    static unsigned char buffer[70000];
    static uint32_t times[4000000];
    size_t count = 0, lost = 0;
    vde_send(client, frame(60, 0xff, 1), 60, 0);
    usleep(20000);
    uint64_t end = now() + (uint64_t)(seconds * 1e9), start;
    while ((start = now()) < end && count < sizeof times / sizeof *times) {
        vde_send(client, question, size, 0);
        ssize_t length;
        do length = vde_recv(client, buffer, sizeof buffer, 0);
        while (length >= 0 && (length < 12 || buffer[0] != 2 || buffer[11] != 2));
        if (length < 0) lost++;
        else times[count++] = (uint32_t)(now() - start);
    }
    question[14] = 0xee;
    vde_send(client, question, size, 0);
    for (int i = 0; i < 50 && waitpid(child, NULL, WNOHANG) == 0; i++) usleep(10000);
    if (!count) fail("no answer came");
    qsort(times, count, sizeof *times, compare);
    printf("median_us %.3f\np99_us %.3f\ncount %zu\nlost %zu\n", times[count / 2] / 1e3, times[count * 99 / 100] / 1e3,
        count, lost);
}

static void idle(char *path, int count) {
    for (int i = 0; i < count; i++) {
        void *connection = join(path);
        unsigned char *hello = frame(60, 0xff, 0);
        hello[9] = 1, hello[10] = (unsigned char)(i >> 8), hello[11] = (unsigned char)i;
        vde_send(connection, hello, 60, 0);
    }
    printf("ready %d\n", count);
    fflush(stdout);
    char byte;
    while (read(0, &byte, 1) > 0) {}
}

int main(int count, char **arguments) {
    identity = (unsigned char)getpid();
    if (count < 4) {
        fprintf(stderr, "usage: frames flood|pingpong PATH[,PATH] BYTES SECONDS | frames idle PATH COUNT\n");
        return 64;
    }
    load();
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    char *first = arguments[2], *second = strchr(first, ',');
    if (second) *second++ = 0;
    else second = first;
    if (!strcmp(arguments[1], "idle")) idle(first, atoi(arguments[3]));
    else if (count < 5) return 64;
    else if (!strcmp(arguments[1], "flood")) flood(first, second, (size_t)atol(arguments[3]), atof(arguments[4]));
    else if (!strcmp(arguments[1], "pingpong")) pingpong(first, second, (size_t)atol(arguments[3]), atof(arguments[4]));
    else return 64;
    return 0;
}
