// SPDX-License-Identifier: Apache-2.0
// Memory and events that another process shares (vhost-user; linux/vhost.c). Part of CPlatform.h.
#ifndef CPLATFORM_VHOST_H
#define CPLATFORM_VHOST_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { PLATFORM_VHOST_DESCRIPTORS = 8 };

/// Whether this system has what vhost-user needs (eventfd, memfd). Without it, the functions return -ENOTSUP.
int platform_vhost_supported(void);
/// Receives bytes of a stream with the descriptors that came with them, close-on-exec, without blocking. The caller
/// owns the `*count` descriptors in `descriptors`. Returns the bytes received, 0 at the end of the stream. -EPROTO if
/// more descriptors came than there is room for; all are closed then.
ssize_t platform_vhost_receive(
    int fd, void *bytes, size_t length, int descriptors[PLATFORM_VHOST_DESCRIPTORS], int *count);
/// Signals eventfds without ever waiting for the process that shares them.
struct platform_vhost_signaller {
    /// The kernel's context for asynchronous I/O; 0 if there is none.
    unsigned long context;
    /// Completions that the kernel holds.
    int completed;
};
/// Where the kernel permits no asynchronous I/O, a signal is a write, for which a process that makes the eventfd
/// blocking again, and fills it, can have the caller wait.
void platform_vhost_open_signaller(struct platform_vhost_signaller *signaller);
void platform_vhost_close_signaller(struct platform_vhost_signaller *signaller);
/// Adds 1 to an eventfd. Not for several threads at a time.
void platform_vhost_signal(struct platform_vhost_signaller *signaller, int event);
/// Makes an eventfd non-blocking. -EPROTOTYPE for any other descriptor, whose poll or write might block.
int platform_vhost_prepare_event(int fd);
/// Has a poller report each signal of an eventfd once, so that it need not be read (EPOLLET).
int platform_vhost_watch(int poller, int event);
/// Takes all reports from such a poller.
void platform_vhost_drain(int poller);

/// Shared memory that is mapped here.
struct platform_vhost_mapping {
    void *base;
    size_t length;
    int slot;
};
/// Maps the first `length` bytes of a file for reading and writing. -EPROTOTYPE if the file is not in memory (tmpfs,
/// memfd, hugetlbfs), -EFBIG if it is shorter. If the other process shortens the file later, an access finds zeros:
/// see platform_vhost_is_lost.
int platform_vhost_map(int fd, uint64_t length, struct platform_vhost_mapping *mapping);
void platform_vhost_unmap(const struct platform_vhost_mapping *mapping);
/// Whether an access has found that the file was shortened. Private zeros are mapped in place of the file since then.
int platform_vhost_is_lost(const struct platform_vhost_mapping *mapping);

// Words that another process changes at the same time.
static inline uint16_t platform_load_acquire(const void *word) {
    return __atomic_load_n((const uint16_t *)word, __ATOMIC_ACQUIRE);
}
static inline uint64_t platform_load_word(const void *word) {
    return __atomic_load_n((const uint64_t *)word, __ATOMIC_RELAXED);
}
static inline void platform_store_release(void *word, uint16_t value) {
    __atomic_store_n((uint16_t *)word, value, __ATOMIC_RELEASE);
}
static inline void platform_set_bits(void *byte, uint8_t bits) {
    __atomic_fetch_or((uint8_t *)byte, bits, __ATOMIC_RELEASE);
}
// A hint to the processor: the cache line of `place` will be read, or written, soon. Never faults.
static inline void platform_prefetch(const void *place, int is_written) {
    if (is_written) {
        __builtin_prefetch(place, 1);
    } else {
        __builtin_prefetch(place, 0);
    }
}
static inline void platform_fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

#endif
