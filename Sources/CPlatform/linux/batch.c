// SPDX-License-Identifier: Apache-2.0
#include "CPlatform.h"

#if !PLATFORM_IS_DARWIN
#include <errno.h>
#include <string.h>

_Static_assert(sizeof(struct platform_message) == sizeof(struct mmsghdr) &&
        offsetof(struct platform_message, length) == offsetof(struct mmsghdr, msg_len),
    "struct platform_message is struct mmsghdr");

int platform_sequenced_packets_supported(void) { return 1; }

int platform_receive_batch(int fd, struct platform_message *messages, unsigned count) {
    int received = recvmmsg(fd, (struct mmsghdr *)messages, count, MSG_DONTWAIT, NULL);
    return received < 0 ? -errno : received;
}

int platform_send_batch(int fd, struct platform_message *messages, unsigned count) {
    int sent = sendmmsg(fd, (struct mmsghdr *)messages, count, MSG_DONTWAIT | MSG_NOSIGNAL);
    return sent < 0 ? -errno : sent;
}

_Static_assert(
    PLATFORM_CONTROL_SIZE == CMSG_SPACE(sizeof(struct ucred)), "room for the credentials and for nothing else");

int platform_report_senders(int fd) { return setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &(int){1}, sizeof(int)) == 0; }

int platform_message_user(const struct platform_message *message, uint32_t *user) {
    const struct cmsghdr *control = CMSG_FIRSTHDR(&message->header);
    if (!control || control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_CREDENTIALS) return -ENOTSUP;
    struct ucred sender;
    memcpy(&sender, CMSG_DATA(control), sizeof sender);
    // Process id 0: the datagram was sent before SO_PASSCRED was set.
    if (sender.pid == 0) return -ENOTSUP;
    *user = sender.uid;
    return 0;
}

int platform_receive_batch_named(int fd, struct platform_message *messages, unsigned count) {
    // Each call overwrites the lengths.
    for (unsigned i = 0; i < count; i++) {
        messages[i].header.msg_namelen = PLATFORM_NAME_SIZE;
        messages[i].header.msg_controllen = PLATFORM_CONTROL_SIZE;
    }
    return platform_receive_batch(fd, messages, count);
}

int platform_send_batch_to(int fd, struct platform_message *messages, unsigned count, void *address, size_t length) {
    for (unsigned i = 0; i < count; i++) {
        messages[i].header.msg_name = address;
        messages[i].header.msg_namelen = (socklen_t)length;
    }
    int sent = platform_send_batch(fd, messages, count);
    for (unsigned i = 0; i < count; i++) {
        messages[i].header.msg_name = NULL;
        messages[i].header.msg_namelen = 0;
    }
    return sent;
}
#endif
