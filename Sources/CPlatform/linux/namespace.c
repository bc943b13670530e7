// SPDX-License-Identifier: Apache-2.0
#if defined(__linux__)
#include "../posix/child.h"
#include "CPlatform.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static int is_same(const struct stat *one, const struct stat *other) {
    return one->st_dev == other->st_dev && one->st_ino == other->st_ino;
}

int platform_namespace_is_other(int fd) {
    struct stat own, other;
    int type = ioctl(fd, NS_GET_NSTYPE);
    if (type < 0) return -errno;
    if (type != CLONE_NEWNET) return -EINVAL;
    if (fstat(fd, &other) < 0 || stat("/proc/self/ns/net", &own) < 0) return -errno;
    return !is_same(&own, &other);
}

/// Enters a network namespace, and before it the user namespace that owns it, in which a process of the user that has
/// made it has all capabilities (user_namespaces(7)).
static int enter(int fd) {
    struct stat own, other;
    // -EPERM for one that is not below this process's.
    int owner = ioctl(fd, NS_GET_USERNS);
    if (owner >= 0 && fstat(owner, &other) == 0 && stat("/proc/self/ns/user", &own) == 0 && !is_same(&own, &other) &&
        setns(owner, CLONE_NEWUSER) < 0)
        return -errno;
    return setns(fd, CLONE_NEWNET) < 0 ? -errno : 0;
}

static int bring_up(const char *name, uint32_t mtu) {
    struct ifreq request;
    memset(&request, 0, sizeof request);
    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    int socket_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (socket_fd < 0) return -errno;
    request.ifr_mtu = (int)mtu;
    int error = ioctl(socket_fd, SIOCSIFMTU, &request) < 0 ? -errno : 0;
    if (error == 0 && ioctl(socket_fd, SIOCGIFFLAGS, &request) < 0) error = -errno;
    request.ifr_flags |= IFF_UP;
    if (error == 0 && ioctl(socket_fd, SIOCSIFFLAGS, &request) < 0) error = -errno;
    close(socket_fd);
    return error;
}

struct tap {
    int namespace;
    const char *name;
    uint32_t mtu;
};

static int make_tap(const void *context) {
    const struct tap *tap = context;
    uint32_t offloads = 0;
    int error = enter(tap->namespace);
    if (error < 0) return error;
    int fd = platform_tap_open(tap->name, 1, &offloads);
    if (fd < 0) return fd;
    error = bring_up(tap->name, tap->mtu);
    return error < 0 ? error : fd;
}

int platform_namespace_tap(int fd, const char *name, uint32_t mtu) {
    struct tap tap = {.namespace = fd, .name = name, .mtu = mtu};
    return child_descriptor(make_tap, &tap);
}
#endif
