// SPDX-License-Identifier: Apache-2.0
#include "CPlatform.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "address.h"

static int result(int value) { return value < 0 ? -errno : value; }

#ifndef SOCK_CLOEXEC
// Where there are no socket-type flags for them (macOS), close-on-exec and non-blocking are set after it. The program
// never forks without exec, and passes descriptors by posix_spawn, so that no child inherits one in between.
static int prepare(int fd) {
    if (fd < 0) return -errno;
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0) {
        int error = errno;
        close(fd);
        return -error;
    }
#ifdef SO_NOSIGPIPE
    setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &(int){1}, sizeof(int));
#endif
    return fd;
}
#endif

static int make_socket(int domain, int type, int protocol) {
#ifdef SOCK_CLOEXEC
    return result(socket(domain, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol));
#else
    return prepare(socket(domain, type, protocol));
#endif
}

int platform_socket(int domain, int type) { return make_socket(domain, type, 0); }

int platform_echo_socket(int ipv6) {
    return make_socket(ipv6 ? AF_INET6 : AF_INET, SOCK_DGRAM, ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
}

static int unix_address(const uint8_t *path, size_t length, struct sockaddr_un *address, socklen_t *size) {
    int abstract = length > 0 && path[0] == 0;
    if (length == 0) return -EINVAL;
    if (length + !abstract > sizeof address->sun_path) return -ENAMETOOLONG;
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, path, length);
    *size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + !abstract);
    return 0;
}

int platform_unix_address(const uint8_t *path, size_t length, void *address) {
    struct sockaddr_un built;
    socklen_t size;
    int error = unix_address(path, length, &built, &size);
    if (error) return error;
    memcpy(address, &built, size);
    return (int)size;
}

int platform_unix_pin(const uint8_t *path, size_t length, uint32_t owner) {
#ifdef O_PATH
    char name[sizeof((struct sockaddr_un *)0)->sun_path + 1] = {0};
    struct stat status;
    if (length == 0 || length >= sizeof name) return -ENAMETOOLONG;
    memcpy(name, path, length);
    int file = open(name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (file < 0) return -errno;
    int error = fstat(file, &status) < 0       ? -errno
        : !S_ISSOCK(status.st_mode)            ? -ENOTSOCK
        : owner != 0 && status.st_uid != owner ? -EPERM
                                               : 0;
    if (error) close(file);
    return error ? error : file;
#else
    (void)path, (void)length, (void)owner;
    return -ENOTSUP;
#endif
}

const uint8_t *platform_message_name(const struct platform_message *message, size_t *length) {
    const struct sockaddr_un *address = message->header.msg_name;
    size_t offset = offsetof(struct sockaddr_un, sun_path), size = message->header.msg_namelen;
    const uint8_t *path = (const uint8_t *)address + offset;
    size_t count = size > offset && size <= PLATFORM_NAME_SIZE ? size - offset : 0;
    // A path ends at its terminator, where there is one; an abstract name is all that there is.
    if (count > 0 && path[0] != 0) {
        const uint8_t *end = memchr(path, 0, count);
        if (end) count = (size_t)(end - path);
    }
#if defined(__APPLE__)
    else
        count = 0;
#endif
    *length = count;
    return path;
}

int platform_unix_bind(int fd, const uint8_t *path, size_t length) {
    struct sockaddr_un address;
    socklen_t size;
    int error = unix_address(path, length, &address, &size);
    return error ? error : result(bind(fd, (struct sockaddr *)&address, size));
}

int platform_unix_connect(int fd, const uint8_t *path, size_t length) {
    struct sockaddr_un address;
    socklen_t size;
    int error = unix_address(path, length, &address, &size);
    return error ? error : result(connect(fd, (struct sockaddr *)&address, size));
}

int platform_unix_connect_owned(int fd, const uint8_t *path, size_t length, uint32_t owner) {
    struct sockaddr_un address;
    socklen_t size;
    int error = unix_address(path, length, &address, &size);
    if (error) return error;
    if (path[0] == 0)
        return owner != 0 && owner != geteuid() ? -EPERM : result(connect(fd, (struct sockaddr *)&address, size));
    char name[sizeof address.sun_path + 1] = {0};
    memcpy(name, path, length);
    struct stat status;
#ifdef O_PATH
    int file = open(name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (file < 0) return -errno;
    error = fstat(file, &status) < 0 ? -errno : 0;
#else
    error = lstat(name, &status) < 0 ? -errno : 0;
#endif
    if (!error && !S_ISSOCK(status.st_mode)) error = -ENOTSOCK;
    if (!error && owner != 0 && status.st_uid != owner) error = -EPERM;
#ifdef O_PATH
    // Through the open file, because the path may name another socket by now.
    if (!error) {
        snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d", file);
        error = result(connect(fd, (struct sockaddr *)&address, sizeof address));
    }
    close(file);
    return error;
#else
    return error ? error : result(connect(fd, (struct sockaddr *)&address, size));
#endif
}

int platform_unix_disconnect(int fd) {
    struct sockaddr address = {.sa_family = AF_UNSPEC};
    // macOS dissolves the association and then complains about the empty name.
    return connect(fd, &address, sizeof address) < 0 && errno != EAFNOSUPPORT && errno != ENOENT && errno != EINVAL
        ? -errno
        : 0;
}

int platform_accept(int fd) {
#ifdef SOCK_CLOEXEC
    return result(accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK));
#else
    return prepare(accept(fd, NULL, NULL));
#endif
}

static void raise_buffer(int fd, int option, int size) {
    int now = 0;
    socklen_t length = sizeof now;
    if (size <= 0 || (getsockopt(fd, SOL_SOCKET, option, &now, &length) == 0 && now >= size)) return;
#ifdef SO_SNDBUFFORCE
    int force = option == SO_SNDBUF ? SO_SNDBUFFORCE : SO_RCVBUFFORCE;
    if (setsockopt(fd, SOL_SOCKET, force, &size, sizeof size) == 0) return;
#endif
    // A request above the limit is clamped on Linux and refused on some BSDs: halve until it is taken.
    while (size > now && setsockopt(fd, SOL_SOCKET, option, &size, sizeof size) < 0) size /= 2;
}

void platform_socket_buffers(int fd, int send, int receive) {
    raise_buffer(fd, SO_SNDBUF, send);
    raise_buffer(fd, SO_RCVBUF, receive);
}

#ifdef MSG_NOSIGNAL
enum { SEND_FLAGS = MSG_DONTWAIT | MSG_NOSIGNAL };
#else
enum { SEND_FLAGS = MSG_DONTWAIT };
#endif

ssize_t platform_send(int fd, const void *bytes, size_t length) {
    ssize_t sent = send(fd, bytes, length, SEND_FLAGS);
    return sent < 0 ? -errno : sent;
}

ssize_t platform_unix_send(int fd, const void *bytes, size_t count, const void *address, size_t length) {
    ssize_t sent = sendto(fd, bytes, count, SEND_FLAGS, address, (socklen_t)length);
    return sent < 0 ? -errno : sent;
}

ssize_t platform_send_pieces(int fd, const struct iovec *pieces, int count) {
    struct msghdr message = {.msg_iov = (struct iovec *)pieces, .msg_iovlen = count};
    ssize_t sent = sendmsg(fd, &message, SEND_FLAGS);
    return sent < 0 ? -errno : sent;
}

ssize_t platform_receive(int fd, void *bytes, size_t length) {
    ssize_t received = recv(fd, bytes, length, MSG_DONTWAIT);
    return received < 0 ? -errno : received;
}

ssize_t platform_receive_pieces(int fd, const struct iovec *pieces, int count) {
    struct msghdr message = {.msg_iov = (struct iovec *)pieces, .msg_iovlen = count};
    ssize_t received = recvmsg(fd, &message, MSG_DONTWAIT);
    return received < 0 ? -errno : received;
}

int platform_receive_descriptor(int fd) {
    char byte;
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec piece = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {
        .msg_iov = &piece, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof control.room};
    ssize_t length = recvmsg(fd, &message, MSG_DONTWAIT);
    if (length < 0) return -errno;
    struct cmsghdr *header = length > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    if (!header || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS ||
        header->cmsg_len != CMSG_LEN(sizeof(int)))
        return -ENODATA;
    int received;
    memcpy(&received, CMSG_DATA(header), sizeof received);
    fcntl(received, F_SETFD, FD_CLOEXEC);
    return received;
}

int platform_socket_kind(int fd, struct platform_socket_kind *kind) {
    int type = 0, listening = 0;
    socklen_t length = sizeof type;
    struct sockaddr_storage address = {0};
    memset(kind, 0, sizeof *kind);
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) < 0) return -errno;
    length = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &length) < 0) return -errno;
    // macOS returns no name for a socket of a pair.
    kind->is_unix = address.ss_family == AF_UNIX || length == 0;
    kind->is_stream = type == SOCK_STREAM;
    kind->is_datagram = type == SOCK_DGRAM;
    kind->is_sequenced = type == SOCK_SEQPACKET && platform_sequenced_packets_supported();
    length = sizeof listening;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) == 0) kind->is_listening = listening != 0;
    length = sizeof address;
    kind->is_connected = getpeername(fd, (struct sockaddr *)&address, &length) == 0;
    return 0;
}

int platform_unix_bound_path(int fd, uint8_t *path, size_t capacity) {
    struct sockaddr_un address = {0};
    socklen_t size = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &size) < 0) return -errno;
    size_t offset = offsetof(struct sockaddr_un, sun_path);
    size_t length = size > offset ? strnlen(address.sun_path, sizeof address.sun_path) : 0;
    if (length > capacity) length = capacity;
    memcpy(path, address.sun_path, length);
    return (int)length;
}

int platform_socket_error(int fd) {
    int error = 0;
    socklen_t length = sizeof error;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0 ? errno : error;
}

void platform_inet_choose_port_late(int fd) {
#ifdef IP_BIND_ADDRESS_NO_PORT
    (void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &(int){1}, sizeof(int));
#else
    (void)fd;
#endif
}

int platform_inet_bind(int fd, const struct platform_inet_address *address, int reuse) {
    struct sockaddr_storage storage;
    socklen_t size = platform_sockaddr_make(address, &storage);
    if (reuse && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)) < 0) return -errno;
    // A socket of :: leaves 0.0.0.0 to another one, whatever the system's default is.
    if (address->family == 6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){1}, sizeof(int)) < 0) return -errno;
    return result(bind(fd, (struct sockaddr *)&storage, size));
}

int platform_inet_connect(int fd, const struct platform_inet_address *address) {
    struct sockaddr_storage storage;
    socklen_t size = platform_sockaddr_make(address, &storage);
    return result(connect(fd, (struct sockaddr *)&storage, size));
}

ssize_t platform_inet_send(int fd, const void *bytes, size_t length, const struct platform_inet_address *to) {
    struct sockaddr_storage storage;
    socklen_t size = platform_sockaddr_make(to, &storage);
    ssize_t sent = sendto(fd, bytes, length, SEND_FLAGS, (struct sockaddr *)&storage, size);
    return sent < 0 ? -errno : sent;
}

ssize_t platform_inet_receive(int fd, void *bytes, size_t length, struct platform_inet_address *from) {
    struct sockaddr_storage storage;
    socklen_t size = sizeof storage;
    memset(&storage, 0, sizeof storage);
    ssize_t received = recvfrom(fd, bytes, length, MSG_DONTWAIT, (struct sockaddr *)&storage, &size);
    if (received < 0) return -errno;
    platform_sockaddr_read((struct sockaddr *)&storage, from);
    return received;
}

int platform_inet_peer(int fd, struct platform_inet_address *peer) {
    struct sockaddr_storage storage = {0};
    socklen_t size = sizeof storage;
    if (getpeername(fd, (struct sockaddr *)&storage, &size) < 0) return -errno;
    platform_sockaddr_read((struct sockaddr *)&storage, peer);
    return peer->family ? 0 : -EAFNOSUPPORT;
}

static int look_up(const char *text, int flags, struct platform_inet_address *address) {
    struct addrinfo hints = {.ai_flags = flags, .ai_socktype = SOCK_DGRAM}, *found = NULL;
    if (getaddrinfo(text, NULL, &hints, &found) != 0 || !found) return -EINVAL;
    platform_sockaddr_read(found->ai_addr, address);
    freeaddrinfo(found);
    return address->family ? 0 : -EAFNOSUPPORT;
}

int platform_inet_parse(const char *text, struct platform_inet_address *address) {
    return look_up(text, AI_NUMERICHOST, address);
}

int platform_inet_resolve(const char *text, struct platform_inet_address *address) {
    return look_up(text, AI_ADDRCONFIG, address);
}

int platform_inet_resolve6(const char *text, uint8_t *addresses, int capacity) {
    struct addrinfo hints = {.ai_family = AF_INET6, .ai_socktype = SOCK_STREAM}, *found = NULL;
    int error = getaddrinfo(text, NULL, &hints, &found), count = 0;
    // "No address" is called EAI_NODATA, which not every system declares, or EAI_NONAME.
    if (error) return error == EAI_AGAIN || error == EAI_SYSTEM || error == EAI_FAIL ? -EAGAIN : 0;
    for (struct addrinfo *each = found; each && count < capacity; each = each->ai_next) {
        if (each->ai_family != AF_INET6) continue;
        memcpy(addresses + 16 * count++, &((struct sockaddr_in6 *)each->ai_addr)->sin6_addr, 16);
    }
    freeaddrinfo(found);
    return count;
}

int platform_poll_one(int fd, uint32_t interest, int64_t timeout) {
    struct pollfd entry = {
        .fd = fd, .events = (interest & PLATFORM_READABLE ? POLLIN : 0) | (interest & PLATFORM_WRITABLE ? POLLOUT : 0)};
    int64_t milliseconds = timeout < 0 ? -1 : (timeout + 999999) / 1000000;
    int count = poll(&entry, 1, milliseconds > INT32_MAX ? INT32_MAX : (int)milliseconds);
    if (count < 0) return errno == EINTR ? 0 : -errno;
    return (entry.revents & POLLIN ? PLATFORM_READABLE : 0) | (entry.revents & POLLOUT ? PLATFORM_WRITABLE : 0) |
        (entry.revents & (POLLERR | POLLHUP | POLLNVAL) ? PLATFORM_HANGUP : 0);
}
