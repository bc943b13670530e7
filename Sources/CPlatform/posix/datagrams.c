// SPDX-License-Identifier: Apache-2.0
#if defined(__APPLE__)
// IPV6_PKTINFO and its relatives as in RFC 3542.
#define __APPLE_USE_RFC_3542
#endif
#include "CPlatform.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <string.h>

#include "address.h"

// Linux reports the errors that it has received for a datagram; the macOS code is without them.
#if defined(__linux__) && !PLATFORM_IS_DARWIN
#define HAS_ERROR_QUEUE 1
#include <linux/errqueue.h>
#else
#define HAS_ERROR_QUEUE 0
#endif

// Several datagrams of one flow in one message (udp(7), UDP_SEGMENT and UDP_GRO; Linux 4.18 and 5.0).
#if HAS_ERROR_QUEUE
#include <netinet/udp.h>
#endif
#if HAS_ERROR_QUEUE && defined(UDP_SEGMENT) && defined(UDP_GRO)
#define HAS_SEGMENTS 1
#else
#define HAS_SEGMENTS 0
#endif

#ifdef IP_RECVPKTINFO
enum { REPORT_LOCAL = IP_RECVPKTINFO };
#else
enum { REPORT_LOCAL = IP_PKTINFO };
#endif

#ifdef MSG_NOSIGNAL
enum { SEND_FLAGS = MSG_DONTWAIT | MSG_NOSIGNAL };
#else
enum { SEND_FLAGS = MSG_DONTWAIT };
#endif

size_t platform_echo_offset(const void *bytes, size_t length) {
#if defined(__APPLE__)
    // With the header of IPv4; the first byte of a reply's message is 0.
    const uint8_t *first = bytes;
    size_t header = length > 0 && first[0] >> 4 == 4 ? (size_t)(first[0] & 15) * 4 : 0;
    return header <= length ? header : 0;
#else
    (void)bytes, (void)length;
    return 0;
#endif
}

static void set(int fd, int level, int option, int value) { setsockopt(fd, level, option, &value, sizeof value); }

void platform_datagram_prepare(int fd, int ipv6, int reports_local) {
    if (ipv6) {
        set(fd, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1);
        set(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, 1);
        if (reports_local) set(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
    } else {
        set(fd, IPPROTO_IP, IP_RECVTTL, 1);
        set(fd, IPPROTO_IP, IP_RECVTOS, 1);
        if (reports_local) set(fd, IPPROTO_IP, REPORT_LOCAL, 1);
    }
    platform_datagram_report_errors(fd, ipv6, 1);
}

uint32_t platform_datagram_join(int fd) {
#if HAS_SEGMENTS
    // A kernel without the option would send what is joined as one datagram. Sockets for pings have neither.
    int size;
    socklen_t length = sizeof size;
    set(fd, IPPROTO_UDP, UDP_GRO, 1);
    return getsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &size, &length) == 0 ? PLATFORM_LONGEST_DATAGRAM : 0;
#else
    (void)fd;
    return 0;
#endif
}

void platform_datagram_report_errors(int fd, int ipv6, int is_on) {
#if HAS_ERROR_QUEUE
    set(fd, ipv6 ? IPPROTO_IPV6 : IPPROTO_IP, ipv6 ? IPV6_RECVERR : IP_RECVERR, is_on);
#else
    (void)fd, (void)ipv6, (void)is_on;
#endif
}

void platform_datagram_set_hops(int fd, int ipv6, int hops) {
    set(fd, ipv6 ? IPPROTO_IPV6 : IPPROTO_IP, ipv6 ? IPV6_UNICAST_HOPS : IP_TTL, hops);
}

void platform_datagram_set_class(int fd, int ipv6, int traffic_class) {
    set(fd, ipv6 ? IPPROTO_IPV6 : IPPROTO_IP, ipv6 ? IPV6_TCLASS : IP_TOS, traffic_class);
}

void platform_datagram_set_fragmentation(int fd, int ipv6, int is_allowed) {
#if defined(IP_MTU_DISCOVER)
    // A sender of IPv6 fragments for the path MTU that it has stored; routers do not (RFC 8200 section 5).
    if (ipv6) set(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, is_allowed ? IPV6_PMTUDISC_WANT : IPV6_PMTUDISC_DO);
    else set(fd, IPPROTO_IP, IP_MTU_DISCOVER, is_allowed ? IP_PMTUDISC_DONT : IP_PMTUDISC_DO);
#else
    set(fd, ipv6 ? IPPROTO_IPV6 : IPPROTO_IP, ipv6 ? IPV6_DONTFRAG : IP_DONTFRAG, !is_allowed);
#endif
}

/// Room for hops, traffic class and local address; or for an error with its sender's address.
union control {
    struct cmsghdr header;
    uint8_t room[256];
};

static int number(const struct cmsghdr *control) {
    int value = 0;
    // One byte or an int, which systems and options differ in.
    if (control->cmsg_len >= CMSG_LEN(sizeof value)) memcpy(&value, CMSG_DATA(control), sizeof value);
    else if (control->cmsg_len >= CMSG_LEN(1)) value = *(const uint8_t *)CMSG_DATA(control);
    return value;
}

static void read_control(const struct msghdr *header, struct platform_datagram *datagram) {
    for (struct cmsghdr *each = CMSG_FIRSTHDR(header); each; each = CMSG_NXTHDR((struct msghdr *)header, each)) {
        int level = each->cmsg_level, type = each->cmsg_type;
        if (level == IPPROTO_IP && (type == IP_TTL || type == IP_RECVTTL)) datagram->hops = (uint8_t)number(each);
        else if (level == IPPROTO_IP && (type == IP_TOS || type == IP_RECVTOS))
            datagram->traffic_class = (uint8_t)number(each);
        else if (level == IPPROTO_IPV6 && type == IPV6_HOPLIMIT) datagram->hops = (uint8_t)number(each);
        else if (level == IPPROTO_IPV6 && type == IPV6_TCLASS) datagram->traffic_class = (uint8_t)number(each);
        else if (level == IPPROTO_IP && type == IP_PKTINFO) {
            struct in_pktinfo info;
            memcpy(&info, CMSG_DATA(each), sizeof info);
            datagram->local.family = 4;
            // Of a broadcast, the address that answers it.
            memcpy(datagram->local.bytes, &info.ipi_spec_dst, 4);
        } else if (level == IPPROTO_IPV6 && type == IPV6_PKTINFO) {
            struct in6_pktinfo info;
            memcpy(&info, CMSG_DATA(each), sizeof info);
            datagram->local.family = 6;
            memcpy(datagram->local.bytes, &info.ipi6_addr, 16);
            if (IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr)) datagram->local.scope = (uint32_t)info.ipi6_ifindex;
        }
#if HAS_SEGMENTS
        else if (level == IPPROTO_UDP && type == UDP_GRO) {
            int size = number(each);
            if (size > 0 && (size_t)size < datagram->length) datagram->segment = (uint32_t)size;
        }
#endif
    }
}

/// Appends control data to a message.
static void add_control(
    struct msghdr *header, union control *control, int level, int type, const void *value, size_t length) {
    struct cmsghdr *added = (struct cmsghdr *)(control->room + header->msg_controllen);
    added->cmsg_level = level;
    added->cmsg_type = type;
    added->cmsg_len = CMSG_LEN(length);
    memcpy(CMSG_DATA(added), value, length);
    header->msg_control = control;
    header->msg_controllen += CMSG_SPACE(length);
}

/// Adds the local address to send from.
static void add_local(const struct platform_inet_address *local, struct msghdr *header, union control *control) {
    if (local->family == 4) {
        struct in_pktinfo info = {0};
        memcpy(&info.ipi_spec_dst, local->bytes, 4);
        add_control(header, control, IPPROTO_IP, IP_PKTINFO, &info, sizeof info);
    } else if (local->family == 6) {
        struct in6_pktinfo info = {0};
        memcpy(&info.ipi6_addr, local->bytes, 16);
        info.ipi6_ifindex = local->scope;
        add_control(header, control, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof info);
    }
}

int platform_datagrams_receive(int fd, struct platform_datagram *datagrams, unsigned count, size_t capacity) {
    struct platform_message messages[PLATFORM_DATAGRAM_BATCH];
    struct sockaddr_storage names[PLATFORM_DATAGRAM_BATCH];
    union control controls[PLATFORM_DATAGRAM_BATCH];
    struct iovec pieces[PLATFORM_DATAGRAM_BATCH];
    if (count > PLATFORM_DATAGRAM_BATCH) count = PLATFORM_DATAGRAM_BATCH;
    for (unsigned i = 0; i < count; i++) {
        pieces[i] = (struct iovec){.iov_base = datagrams[i].bytes, .iov_len = capacity};
        messages[i] = (struct platform_message){.header = {.msg_name = &names[i],
                                                    .msg_namelen = sizeof names[i],
                                                    .msg_iov = &pieces[i],
                                                    .msg_iovlen = 1,
                                                    .msg_control = &controls[i],
                                                    .msg_controllen = sizeof controls[i]}};
    }
#if PLATFORM_IS_DARWIN
    // recvmsg_x leaves no control data.
    unsigned done = 0;
    for (; done < count; done++) {
        ssize_t length = recvmsg(fd, &messages[done].header, MSG_DONTWAIT);
        if (length < 0) break;
        messages[done].length = (size_t)length;
    }
    int received = done > 0 ? (int)done : -errno;
#else
    int received = platform_receive_batch(fd, messages, count);
#endif
    for (int i = 0; i < received; i++) {
        struct platform_datagram *datagram = &datagrams[i];
        datagram->length = platform_message_length(&messages[i]);
        datagram->is_truncated = (uint8_t)platform_message_truncated(&messages[i]);
        datagram->hops = datagram->traffic_class = 0;
        datagram->segment = 0;
        memset(&datagram->local, 0, sizeof datagram->local);
        platform_sockaddr_read((struct sockaddr *)&names[i], &datagram->peer);
        read_control(&messages[i].header, datagram);
    }
    return received;
}

#if HAS_SEGMENTS
static int is_same(const struct platform_inet_address *one, const struct platform_inet_address *other) {
    return one->family == other->family && one->port == other->port && one->scope == other->scope &&
        memcmp(one->bytes, other->bytes, sizeof one->bytes) == 0;
}

/// How many datagrams from the first on fit into one message: of one flow, one after the other in memory, and equally
/// long, except that the last one may be shorter.
static unsigned joined(const struct platform_datagram *first, unsigned count, uint32_t limit) {
    size_t size = first->length, total = size;
    unsigned number = 1;
    if (size == 0 || size > limit) return 1;
    for (; number < count; number++) {
        const struct platform_datagram *next = first + number;
        if (next->length == 0 || next->length > size || total + next->length > PLATFORM_LONGEST_DATAGRAM ||
            next->bytes != first->bytes + total || !is_same(&next->peer, &first->peer) ||
            !is_same(&next->local, &first->local))
            break;
        total += next->length;
        if (next->length < size) return number + 1;
    }
    return number;
}

/// Whether a refusal concerns what is joined only, which then goes again, each datagram by itself.
static int is_lowered(uint32_t *limit, int error, size_t size) {
    // Too long for the path (EMSGSIZE on newer kernels), or a socket without checksums.
    if (error == EINVAL || error == EMSGSIZE) *limit = (uint32_t)size - 1;
    // A path without segmentation: IPsec, or a device without checksum offload on older kernels.
    else if (error == EIO || error == EOPNOTSUPP) *limit = 0;
    else return 0;
    return 1;
}
#else
static unsigned joined(const struct platform_datagram *first, unsigned count, uint32_t limit) {
    (void)first, (void)count, (void)limit;
    return 1;
}

static int is_lowered(uint32_t *limit, int error, size_t size) {
    (void)limit, (void)error, (void)size;
    return 0;
}
#endif

int platform_datagrams_send(
    int fd, const struct platform_datagram *datagrams, unsigned count, uint32_t *longest_segment) {
    struct platform_message messages[PLATFORM_DATAGRAM_BATCH];
    struct sockaddr_storage names[PLATFORM_DATAGRAM_BATCH];
    union control controls[PLATFORM_DATAGRAM_BATCH];
    struct iovec pieces[PLATFORM_DATAGRAM_BATCH];
    unsigned sizes[PLATFORM_DATAGRAM_BATCH], number, next;
    int sent;
    if (count > PLATFORM_DATAGRAM_BATCH) count = PLATFORM_DATAGRAM_BATCH;
    do {
        for (number = next = 0; next < count; next += sizes[number++]) {
            const struct platform_datagram *first = &datagrams[next];
            unsigned size = joined(first, count - next, *longest_segment);
            const struct platform_datagram *last = first + size - 1;
            sizes[number] = size;
            pieces[number] = (struct iovec){
                .iov_base = first->bytes, .iov_len = (size_t)(last->bytes - first->bytes) + last->length};
            messages[number] = (struct platform_message){
                .header = {.msg_name = &names[number],
                    .msg_namelen = platform_sockaddr_make(&first->peer, &names[number]),
                    .msg_iov = &pieces[number],
                    .msg_iovlen = 1},
            };
            add_local(&first->local, &messages[number].header, &controls[number]);
#if HAS_SEGMENTS
            uint16_t length = (uint16_t)first->length;
            if (size > 1)
                add_control(
                    &messages[number].header, &controls[number], IPPROTO_UDP, UDP_SEGMENT, &length, sizeof length);
#endif
        }
#if PLATFORM_IS_DARWIN
        for (sent = 0; sent < (int)number; sent++)
            if (sendmsg(fd, &messages[sent].header, SEND_FLAGS) < 0) break;
        if (sent == 0) sent = -errno;
#else
        sent = platform_send_batch(fd, messages, number);
#endif
    } while (sent < 0 && sizes[0] > 1 && is_lowered(longest_segment, -sent, datagrams->length));
    if (sent < 0) return sent;
    for (number = next = 0; number < (unsigned)sent; number++) next += sizes[number];
    return (int)next;
}

ssize_t platform_datagram_error(int fd, struct platform_datagram_error *error, void *bytes, size_t capacity) {
#if HAS_ERROR_QUEUE
    struct sockaddr_storage name = {0};
    union control control;
    struct iovec piece = {.iov_base = bytes, .iov_len = capacity};
    struct msghdr message = {.msg_name = &name,
        .msg_namelen = sizeof name,
        .msg_iov = &piece,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof control};
    ssize_t length = recvmsg(fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT);
    if (length < 0) return -errno;
    memset(error, 0, sizeof *error);
    platform_sockaddr_read((struct sockaddr *)&name, &error->peer);
    for (struct cmsghdr *each = CMSG_FIRSTHDR(&message); each; each = CMSG_NXTHDR(&message, each)) {
        if (!(each->cmsg_level == IPPROTO_IP && each->cmsg_type == IP_RECVERR) &&
            !(each->cmsg_level == IPPROTO_IPV6 && each->cmsg_type == IPV6_RECVERR))
            continue;
        struct sock_extended_err *found = (struct sock_extended_err *)CMSG_DATA(each);
        error->code = (int32_t)found->ee_errno;
        error->family = found->ee_origin == SO_EE_ORIGIN_ICMP ? 4 : found->ee_origin == SO_EE_ORIGIN_ICMP6 ? 6 : 0;
        error->type = found->ee_type;
        error->icmp_code = found->ee_code;
        if (found->ee_errno == EMSGSIZE) error->mtu = found->ee_info;
        if (error->family) platform_sockaddr_read(SO_EE_OFFENDER(found), &error->sender);
    }
    return length;
#else
    (void)fd, (void)error, (void)bytes, (void)capacity;
    return -EAGAIN;
#endif
}
