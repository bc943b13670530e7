// SPDX-License-Identifier: Apache-2.0
// Batches of datagrams by recvmsg_x and sendmsg_x (xnu bsd/kern/uipc_syscalls.c), which Apple may take away: looked up
// when first used, and replaced by one call per datagram if they are missing or fail.
#include "CPlatform.h"

#if PLATFORM_IS_DARWIN
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>

#include "simulated.h"

#if defined(__APPLE__)
// struct msghdr_x is the fields of struct msghdr and the length.
_Static_assert(sizeof(struct platform_message) == 56 && offsetof(struct platform_message, length) == 48,
    "struct platform_message is struct msghdr_x");
#endif

typedef ssize_t (*batch_call)(int, const struct platform_message *, unsigned, int);

/// Datagrams in one call: macOS 13 refuses more than 100.
enum { BATCH_LIMIT = 100 };

/// A function that may be missing, or unavailable to this process.
struct optional_call {
    const char *name;
    _Atomic(batch_call) found;
    _Atomic(int) is_missing;
};

static struct optional_call receive_many = {.name = "recvmsg_x"}, send_many = {.name = "sendmsg_x"};

/// From now on one datagram at a time.
static void give_up(struct optional_call *call) {
    atomic_store_explicit(&call->found, NULL, memory_order_relaxed);
    atomic_store_explicit(&call->is_missing, 1, memory_order_relaxed);
}

static batch_call find(struct optional_call *call) {
    batch_call found = atomic_load_explicit(&call->found, memory_order_relaxed);
    if (found || atomic_load_explicit(&call->is_missing, memory_order_relaxed)) return found;
    found = (batch_call)platform_symbol(call->name);
    if (found) atomic_store_explicit(&call->found, found, memory_order_relaxed);
    else give_up(call);
    return found;
}

int platform_sequenced_packets_supported(void) { return 0; }

int platform_receive_batch(int fd, struct platform_message *messages, unsigned count) {
    batch_call call = find(&receive_many);
    if (count > BATCH_LIMIT) count = BATCH_LIMIT;
    if (call) {
        for (unsigned i = 0; i < count; i++) messages[i].header.msg_flags = 0;
        ssize_t received = call(fd, messages, count, MSG_DONTWAIT);
        if (received > 0) return (int)received;
        // 0 without an error: the peer is gone.
        if (received == 0) return -ECONNRESET;
        if (errno != ENOSYS && errno != EPERM) return -errno;
        give_up(&receive_many);
    }
    for (unsigned i = 0; i < count; i++) {
        messages[i].header.msg_flags = 0;
        ssize_t length = recvmsg(fd, &messages[i].header, MSG_DONTWAIT);
        if (length < 0) return i > 0 ? (int)i : -errno;
        messages[i].length = (size_t)length;
    }
    return (int)count;
}

int platform_send_batch(int fd, struct platform_message *messages, unsigned count) {
    batch_call call = find(&send_many);
    if (count > BATCH_LIMIT) count = BATCH_LIMIT;
    if (call) {
        ssize_t sent = call(fd, messages, count, MSG_DONTWAIT);
        if (sent > 0) return (int)sent;
        if (sent == 0) return -ENOBUFS;
        if (errno != ENOSYS && errno != EPERM) return -errno;
        give_up(&send_many);
    }
    for (unsigned i = 0; i < count; i++) {
        if (sendmsg(fd, &messages[i].header, MSG_DONTWAIT) < 0) return i > 0 ? (int)i : -errno;
    }
    return (int)count;
}

int platform_report_senders(int fd) {
    (void)fd;
    return 0;
}

int platform_message_user(const struct platform_message *message, uint32_t *user) {
    (void)message, (void)user;
    return -ENOTSUP;
}

// One at a time: whether recvmsg_x and sendmsg_x take names differs between versions.
int platform_receive_batch_named(int fd, struct platform_message *messages, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        struct msghdr *header = &messages[i].header;
        header->msg_namelen = PLATFORM_NAME_SIZE;
        header->msg_control = NULL;
        header->msg_controllen = 0;
        header->msg_flags = 0;
        ssize_t length = recvmsg(fd, header, MSG_DONTWAIT);
        if (length < 0) return i > 0 ? (int)i : -errno;
        messages[i].length = (size_t)length;
    }
    return (int)count;
}

int platform_send_batch_to(int fd, struct platform_message *messages, unsigned count, void *address, size_t length) {
    for (unsigned i = 0; i < count; i++) {
        struct msghdr header = messages[i].header;
        header.msg_name = address;
        header.msg_namelen = (socklen_t)length;
        if (sendmsg(fd, &header, MSG_DONTWAIT) < 0) return i > 0 ? (int)i : -errno;
    }
    return (int)count;
}
#endif
