// SPDX-License-Identifier: Apache-2.0
#include "CPlatform.h"

#if !PLATFORM_IS_DARWIN
#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

int platform_poller_create(void) {
    int fd = epoll_create1(EPOLL_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static int control(int poller, int operation, int fd, uint64_t token, uint32_t interest) {
    struct epoll_event event = {
        .events = (interest & PLATFORM_READABLE ? EPOLLIN : 0u) | (interest & PLATFORM_WRITABLE ? EPOLLOUT : 0u),
        .data.u64 = token,
    };
    return epoll_ctl(poller, operation, fd, &event) < 0 ? -errno : 0;
}

int platform_poller_add(int poller, int fd, uint64_t token, uint32_t interest) {
    return control(poller, EPOLL_CTL_ADD, fd, token, interest);
}
int platform_poller_modify(int poller, int fd, uint64_t token, uint32_t interest) {
    return control(poller, EPOLL_CTL_MOD, fd, token, interest);
}
int platform_poller_remove(int poller, int fd) { return control(poller, EPOLL_CTL_DEL, fd, 0, 0); }

int platform_poller_wait(int poller, struct platform_event *events, int capacity, int64_t timeout) {
    struct epoll_event ready[64];
    // epoll_pwait2 with its nanoseconds is Linux 5.11; milliseconds, rounded up, serve every timer here.
    int64_t milliseconds = timeout < 0 ? -1 : timeout / 1000000 + (timeout % 1000000 != 0);
    int count = epoll_wait(
        poller, ready, capacity < 64 ? capacity : 64, milliseconds > INT32_MAX ? INT32_MAX : (int)milliseconds);
    if (count < 0) return errno == EINTR ? 0 : -errno;
    for (int i = 0; i < count; i++) {
        events[i].token = ready[i].data.u64;
        events[i].ready = (ready[i].events & EPOLLIN ? PLATFORM_READABLE : 0) |
            (ready[i].events & EPOLLOUT ? PLATFORM_WRITABLE : 0) |
            (ready[i].events & (EPOLLERR | EPOLLHUP) ? PLATFORM_HANGUP : 0);
    }
    return count;
}

int platform_poller_reports_writability(void) { return 1; }

int platform_wakeup_create(int descriptors[2]) {
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0) return -errno;
    descriptors[0] = descriptors[1] = fd;
    return 0;
}

void platform_wakeup_signal(int fd) { (void)!write(fd, &(uint64_t){1}, 8); }

void platform_wakeup_drain(int fd) {
    uint64_t count;
    (void)!read(fd, &count, 8);
}
#endif
