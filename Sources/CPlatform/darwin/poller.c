// SPDX-License-Identifier: Apache-2.0
// kqueue(2). A descriptor that is watched for writing as well has two filters, and each makes its own event:
// they are put together, so that callers see one event for each descriptor, as on Linux.
#include "CPlatform.h"

#if PLATFORM_IS_DARWIN
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "simulated.h"

int platform_poller_create(void) {
    int fd = kqueue();
    if (fd < 0) return -errno;
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    return fd;
}

// kqueue keeps a pointer for each filter: the token.
static int change(int poller, int fd, int16_t filter, uint16_t flags, uint64_t token) {
    struct kevent event;
    EV_SET(&event, (uintptr_t)fd, filter, flags, 0, 0, (void *)(uintptr_t)token);
    return kevent(poller, &event, 1, NULL, 0, NULL) < 0 ? -errno : 0;
}

static int set(int poller, int fd, uint64_t token, uint32_t interest) {
    // The read filter is always set: it reports that the peer has closed.
    int error =
        change(poller, fd, EVFILT_READ, EV_ADD | (interest & PLATFORM_READABLE ? EV_ENABLE : EV_DISABLE), token);
    if (error) return error;
    if (interest & PLATFORM_WRITABLE) return change(poller, fd, EVFILT_WRITE, EV_ADD | EV_ENABLE, token);
    error = change(poller, fd, EVFILT_WRITE, EV_DELETE, token);
    return error == -ENOENT ? 0 : error;
}

int platform_poller_add(int poller, int fd, uint64_t token, uint32_t interest) {
    return set(poller, fd, token, interest);
}
int platform_poller_modify(int poller, int fd, uint64_t token, uint32_t interest) {
    return set(poller, fd, token, interest);
}

int platform_poller_remove(int poller, int fd) {
    change(poller, fd, EVFILT_WRITE, EV_DELETE, 0);
    return change(poller, fd, EVFILT_READ, EV_DELETE, 0);
}

int platform_poller_wait(int poller, struct platform_event *events, int capacity, int64_t timeout) {
    struct kevent ready[64];
    struct timespec limit = {.tv_sec = (time_t)(timeout / 1000000000), .tv_nsec = (long)(timeout % 1000000000)};
    int count = kevent(poller, NULL, 0, ready, capacity < 64 ? capacity : 64, timeout < 0 ? NULL : &limit);
    if (count < 0) return errno == EINTR ? 0 : -errno;
    int total = 0;
    for (int i = 0; i < count; i++) {
        uint64_t token = (uint64_t)(uintptr_t)ready[i].udata;
        uint32_t bits = ready[i].filter == EVFILT_WRITE ? PLATFORM_WRITABLE : PLATFORM_READABLE;
        if (ready[i].flags & (EV_EOF | EV_ERROR)) bits |= PLATFORM_HANGUP;
        int place = 0;
        while (place < total && events[place].token != token) place++;
        if (place == total) events[total++] = (struct platform_event){.token = token, .ready = 0};
        events[place].ready |= bits;
    }
    return total;
}

// From macOS 13 on the filter looks at the receiver's room, from 15 on a reader wakes the writer, and even so one byte
// of room counts.
int platform_poller_reports_writability(void) { return 0; }

int platform_wakeup_create(int descriptors[2]) {
    if (pipe(descriptors) < 0) return -errno;
    for (int i = 0; i < 2; i++) {
        fcntl(descriptors[i], F_SETFD, FD_CLOEXEC);
        fcntl(descriptors[i], F_SETFL, fcntl(descriptors[i], F_GETFL) | O_NONBLOCK);
    }
    return 0;
}

// If the pipe is full, the wake-up is signalled already.
void platform_wakeup_signal(int fd) { (void)!write(fd, "", 1); }

void platform_wakeup_drain(int fd) {
    char bytes[256];
    while (read(fd, bytes, sizeof bytes) == (ssize_t)sizeof bytes) {}
}
#endif
