// SPDX-License-Identifier: Apache-2.0
#include "CPlatform.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/socket.h>
#if defined(__GLIBC__)
#include <malloc.h>
#elif defined(__APPLE__)
#include <malloc/malloc.h>
#endif

#ifndef MAP_ANONYMOUS
#define MAP_ANONYMOUS MAP_ANON
#endif

void platform_stream_prepare(int fd) {
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &(int){1}, sizeof(int));
}

#ifdef TCP_KEEPIDLE
enum { KEEPALIVE_IDLE = TCP_KEEPIDLE };
#else
enum { KEEPALIVE_IDLE = TCP_KEEPALIVE };
#endif

int platform_stream_keepalive(int fd, int idle, int interval, int count) {
    if (setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &(int){idle > 0}, sizeof(int)) < 0) return -errno;
    if (idle <= 0) return 0;
    if (setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count) < 0)
        return -errno;
    // Last, because this one restarts the timer.
    return setsockopt(fd, IPPROTO_TCP, KEEPALIVE_IDLE, &idle, sizeof idle) < 0 ? -errno : 0;
}

int platform_stream_finish(int fd) { return shutdown(fd, SHUT_WR) < 0 ? -errno : 0; }

void platform_stream_reset(int fd) {
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
}

void *platform_pages_allocate(size_t length) {
    void *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

void platform_pages_free(void *memory, size_t length) { munmap(memory, length); }

void platform_memory_trim(void) {
#if defined(__GLIBC__)
    malloc_trim(0);
#elif defined(__APPLE__)
    malloc_zone_pressure_relief(NULL, 0);
#endif
}
