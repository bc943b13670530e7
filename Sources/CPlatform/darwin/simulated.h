// SPDX-License-Identifier: Apache-2.0
// The functions of macOS that darwin/batch.c, darwin/interface.c and darwin/poller.c need. With PLATFORM_AS_DARWIN
// simulated.c provides them on Linux: a separate build, in which tests run the macOS code for sockets and events.
#ifndef PLATFORM_SIMULATED_H
#define PLATFORM_SIMULATED_H

#if defined(__APPLE__)
#include <dlfcn.h>
#include <sys/event.h>
#include <sys/socket.h>
#include <sys/time.h>

static inline void *platform_symbol(const char *name) { return dlsym(RTLD_DEFAULT, name); }
static inline int platform_set_option(int fd, int level, int option, const void *value, socklen_t length) {
    return setsockopt(fd, level, option, value, length);
}
#else
#include <stdint.h>
#include <sys/socket.h>
#include <time.h>

/// kqueue(2), as far as descriptors are watched for reading and writing.
struct kevent {
    uintptr_t ident;
    int16_t filter;
    uint16_t flags;
    uint32_t fflags;
    intptr_t data;
    void *udata;
};
enum { EVFILT_READ = -1, EVFILT_WRITE = -2 };
enum { EV_ADD = 0x1, EV_DELETE = 0x2, EV_ENABLE = 0x4, EV_DISABLE = 0x8, EV_ERROR = 0x4000, EV_EOF = 0x8000 };
#define EV_SET(event, id, kind, what, extra, number, pointer)                                                          \
    (*(event) = (struct kevent){                                                                                       \
         .ident = (id), .filter = (kind), .flags = (what), .fflags = (extra), .data = (number), .udata = (pointer)})

int kqueue(void);
int kevent(int queue, const struct kevent *changes, int change_count, struct kevent *events, int event_count,
    const struct timespec *timeout);
/// recvmsg_x and sendmsg_x; NULL for both where PLATFORM_WITHOUT_BATCHES is in the environment.
void *platform_symbol(const char *name);
enum { IP_BOUND_IF = 25, IPV6_BOUND_IF = 125 };
/// setsockopt(2) for these two.
int platform_set_option(int fd, int level, int option, const void *value, socklen_t length);
#endif

#endif
