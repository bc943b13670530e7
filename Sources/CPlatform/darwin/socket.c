// SPDX-License-Identifier: Apache-2.0
// Batches of datagrams by recvmsg_x and sendmsg_x (xnu bsd/kern/uipc_syscalls.c), which Apple may take away: looked up when first used, and
// replaced by one call for each datagram where they are missing or not to be had.
#if defined(__APPLE__)
#include "CPlatform.h"

#include <dlfcn.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/ucred.h>
#include <sys/un.h>

// struct msghdr_x is the fields of struct msghdr and the length.
_Static_assert(sizeof(struct platform_message) == 56 && offsetof(struct platform_message, length) == 48, "struct platform_message is struct msghdr_x");

typedef ssize_t (*batch_call)(int, const struct platform_message *, unsigned, int);

/// Datagrams in one call: macOS 13 refuses more than 100.
enum { BATCH_LIMIT = 100 };

static batch_call find(const char *name, _Atomic(batch_call) *found, _Atomic(int) *is_missing) {
    batch_call call = atomic_load_explicit(found, memory_order_relaxed);
    if (call || atomic_load_explicit(is_missing, memory_order_relaxed)) return call;
    call = (batch_call)dlsym(RTLD_DEFAULT, name);
    if (call) atomic_store_explicit(found, call, memory_order_relaxed);
    else atomic_store_explicit(is_missing, 1, memory_order_relaxed);
    return call;
}

static _Atomic(batch_call) receive_call, send_call;
static _Atomic(int) receive_missing, send_missing;

int platform_receive_batch(int fd, struct platform_message *messages, unsigned count) {
    batch_call call = find("recvmsg_x", &receive_call, &receive_missing);
    if (count > BATCH_LIMIT) count = BATCH_LIMIT;
    if (call) {
        for (unsigned i = 0; i < count; i++) messages[i].header.msg_flags = 0;
        ssize_t received = call(fd, messages, count, MSG_DONTWAIT);
        if (received > 0) return (int)received;
        // None without an error: the other end is gone.
        if (received == 0) return -ECONNRESET;
        if (errno != ENOSYS && errno != EPERM) return -errno;
        // Not for this process: one at a time from now on.
        atomic_store_explicit(&receive_call, NULL, memory_order_relaxed);
        atomic_store_explicit(&receive_missing, 1, memory_order_relaxed);
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
    batch_call call = find("sendmsg_x", &send_call, &send_missing);
    if (count > BATCH_LIMIT) count = BATCH_LIMIT;
    if (call) {
        ssize_t sent = call(fd, messages, count, MSG_DONTWAIT);
        if (sent > 0) return (int)sent;
        if (sent == 0) return -ENOBUFS;
        if (errno != ENOSYS && errno != EPERM) return -errno;
        atomic_store_explicit(&send_call, NULL, memory_order_relaxed);
        atomic_store_explicit(&send_missing, 1, memory_order_relaxed);
    }
    for (unsigned i = 0; i < count; i++) {
        if (sendmsg(fd, &messages[i].header, MSG_DONTWAIT) < 0) return i > 0 ? (int)i : -errno;
    }
    return (int)count;
}

int platform_peer_credentials(int fd, int32_t *pid, uint32_t *uid, uint32_t *gid) {
    struct xucred peer;
    socklen_t length = sizeof peer;
    pid_t process = 0;
    if (getsockopt(fd, SOL_LOCAL, LOCAL_PEERCRED, &peer, &length) < 0) return -errno;
    if (peer.cr_version != XUCRED_VERSION) return -EINVAL;
    *uid = peer.cr_uid;
    *gid = peer.cr_ngroups > 0 ? peer.cr_groups[0] : (gid_t)-1;
    length = sizeof process;
    *pid = getsockopt(fd, SOL_LOCAL, LOCAL_PEERPID, &process, &length) < 0 ? 0 : process;
    return 0;
}

int platform_bind_to_interface(int fd, const char *name) {
    unsigned index = if_nametoindex(name);
    if (index == 0) return -errno;
    return setsockopt(fd, IPPROTO_IP, IP_BOUND_IF, &index, sizeof index) < 0 ? -errno : 0;
}
#endif
