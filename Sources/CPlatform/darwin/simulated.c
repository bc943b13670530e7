// SPDX-License-Identifier: Apache-2.0
// kqueue, recvmsg_x, sendmsg_x and IP_BOUND_IF on Linux, for the build that tests the macOS code: with xnu's rules,
// among them that a full receiver is ENOBUFS, and that no event reports when it has room again.
#include "CPlatform.h"

#if defined(PLATFORM_AS_DARWIN) && !defined(__APPLE__)
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "simulated.h"

enum { DESCRIPTORS = 65536, MOST_DATAGRAMS = 100 };

/// The two filters of a descriptor. Of each queue, since a descriptor may be in several; a descriptor that is closed
/// leaves its filters behind, which the next descriptor with that number must set again, as the poller does.
struct filters {
    uint8_t has_read, has_write, reads, writes, is_known;
    void *read_data, *write_data;
};

static struct filters *queues[DESCRIPTORS];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

int kqueue(void) {
    int queue = epoll_create1(EPOLL_CLOEXEC);
    if (queue < 0 || queue >= DESCRIPTORS) return -1;
    pthread_mutex_lock(&mutex);
    free(queues[queue]);
    queues[queue] = calloc(DESCRIPTORS, sizeof(struct filters));
    pthread_mutex_unlock(&mutex);
    return queue;
}

static int apply(int queue, const struct kevent *change) {
    struct filters *it = &queues[queue][change->ident];
    int is_read = change->filter == EVFILT_READ;
    uint8_t *has = is_read ? &it->has_read : &it->has_write, *is_on = is_read ? &it->reads : &it->writes;
    if (change->flags & EV_DELETE) {
        if (!*has) return ENOENT;
        *has = *is_on = 0;
    } else {
        *has = 1;
        if (is_read) it->read_data = change->udata;
        else it->write_data = change->udata;
        *is_on = (change->flags & EV_DISABLE) == 0;
    }
    struct epoll_event event = {
        .events = (it->reads ? EPOLLIN : 0u) | (it->writes ? EPOLLOUT : 0u), .data.fd = (int)change->ident};
    if (!it->has_read && !it->has_write) {
        (void)epoll_ctl(queue, EPOLL_CTL_DEL, (int)change->ident, NULL);
        it->is_known = 0;
        return 0;
    }
    if (it->is_known && epoll_ctl(queue, EPOLL_CTL_MOD, (int)change->ident, &event) == 0) return 0;
    it->is_known = 1;
    return epoll_ctl(queue, EPOLL_CTL_ADD, (int)change->ident, &event) < 0 ? errno : 0;
}

int kevent(int queue, const struct kevent *changes, int change_count, struct kevent *events, int event_count,
    const struct timespec *timeout) {
    for (int i = 0; i < change_count; i++) {
        pthread_mutex_lock(&mutex);
        int error = apply(queue, &changes[i]);
        pthread_mutex_unlock(&mutex);
        if (error) return errno = error, -1;
    }
    if (event_count == 0) return 0;
    struct epoll_event ready[32];
    int64_t milliseconds = timeout ? (int64_t)timeout->tv_sec * 1000 + (timeout->tv_nsec + 999999) / 1000000 : -1;
    // Each descriptor may make two events.
    int wanted = event_count / 2 < 32 ? event_count / 2 : 32;
    int count =
        epoll_wait(queue, ready, wanted > 0 ? wanted : 1, milliseconds > INT32_MAX ? INT32_MAX : (int)milliseconds);
    if (count < 0) return -1;
    int total = 0;
    pthread_mutex_lock(&mutex);
    for (int i = 0; i < count; i++) {
        int fd = ready[i].data.fd;
        struct filters *it = &queues[queue][fd];
        uint16_t end = ready[i].events & (EPOLLHUP | EPOLLERR) ? EV_EOF : 0;
        if (it->has_read && (ready[i].events & EPOLLIN || end)) {
            events[total++] =
                (struct kevent){.ident = (uintptr_t)fd, .filter = EVFILT_READ, .flags = end, .udata = it->read_data};
        }
        if (it->has_write && (ready[i].events & EPOLLOUT || end) && total < event_count) {
            events[total++] =
                (struct kevent){.ident = (uintptr_t)fd, .filter = EVFILT_WRITE, .flags = end, .udata = it->write_data};
        }
    }
    pthread_mutex_unlock(&mutex);
    return total;
}

static ssize_t receive_many(int fd, struct platform_message *messages, unsigned count, int flags) {
    if (flags & ~MSG_DONTWAIT) return errno = EINVAL, -1;
    if (count > MOST_DATAGRAMS) count = MOST_DATAGRAMS;
    for (unsigned i = 0; i < count; i++) {
        ssize_t length = recvmsg(fd, &messages[i].header, MSG_DONTWAIT);
        if (length < 0) return i > 0 ? (ssize_t)i : -1;
        messages[i].length = (size_t)length;
        // A datagram that was cut ends the call.
        if (messages[i].header.msg_flags & MSG_TRUNC) return (ssize_t)i + 1;
    }
    return (ssize_t)count;
}

static ssize_t send_many(int fd, struct platform_message *messages, unsigned count, int flags) {
    if (flags & ~MSG_DONTWAIT) return errno = EINVAL, -1;
    if (count > MOST_DATAGRAMS) count = MOST_DATAGRAMS;
    for (unsigned i = 0; i < count; i++) {
        if (messages[i].header.msg_name || messages[i].header.msg_control || messages[i].header.msg_flags)
            return errno = EINVAL, -1;
        if (sendmsg(fd, &messages[i].header, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
            if (errno == EAGAIN) errno = ENOBUFS;
            return i > 0 ? (ssize_t)i : -1;
        }
    }
    return (ssize_t)count;
}

int platform_set_option(int fd, int level, int option, const void *value, socklen_t length) {
    int family = 0;
    socklen_t size = sizeof family;
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size) < 0) return -1;
    // ip_ctloutput and ip6_ctloutput refuse the level of the other version of IP.
    int is_fitting = family == AF_INET6 ? level == IPPROTO_IPV6 && option == IPV6_BOUND_IF
                                        : level == IPPROTO_IP && option == IP_BOUND_IF;
    if (!is_fitting || length != sizeof(unsigned)) return errno = EINVAL, -1;
    if (setsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, value, length) == 0) return 0;
    if (errno == ENODEV) errno = ENXIO;
    return -1;
}

void *platform_symbol(const char *name) {
    if (getenv("PLATFORM_WITHOUT_BATCHES")) return NULL;
    return strcmp(name, "recvmsg_x") == 0 ? (void *)receive_many
        : strcmp(name, "sendmsg_x") == 0  ? (void *)send_many
                                          : NULL;
}
#endif
