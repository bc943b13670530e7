// SPDX-License-Identifier: Apache-2.0
#if defined(__linux__)
#include "../posix/child.h"
#include "CPlatform.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <net/route.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

static int is_same(const struct stat *one, const struct stat *other) {
    return one->st_dev == other->st_dev && one->st_ino == other->st_ino;
}

int platform_namespace_open(const char *path) {
    int place = open(path, O_PATH | O_CLOEXEC);
    if (place < 0) return -errno;
    struct statfs system;
    char link[32];
    snprintf(link, sizeof link, "/proc/self/fd/%d", place);
    int is_namespace = fstatfs(place, &system) == 0 && (unsigned long)system.f_type == NSFS_MAGIC;
    int fd = is_namespace ? open(link, O_RDONLY | O_CLOEXEC) : -1;
    int error = is_namespace ? -errno : -EINVAL;
    close(place);
    if (fd < 0) return error;
    if (ioctl(fd, NS_GET_NSTYPE) == CLONE_NEWNET) return fd;
    close(fd);
    return -EINVAL;
}

int platform_namespace_is_other(int fd) {
    struct stat own, other;
    if (fstat(fd, &other) < 0 || stat("/proc/self/ns/net", &own) < 0) return -errno;
    return !is_same(&own, &other);
}

int platform_process_handle(int32_t process) {
    int fd = (int)syscall(SYS_pidfd_open, process, 0);
    return fd < 0 ? -errno : fd;
}

/// Enters a network namespace. Without the right to do so, enters the user namespace that owns it first: a process of
/// the user that has made that one has all capabilities in it (user_namespaces(7)).
static int enter(int fd) {
    if (setns(fd, CLONE_NEWNET) == 0) return 0;
    int owner = ioctl(fd, NS_GET_USERNS);
    if (owner < 0 || setns(owner, CLONE_NEWUSER) < 0) return -EPERM;
    return setns(fd, CLONE_NEWNET) < 0 ? -errno : 0;
}

/// The socket for requests about interfaces.
static int open_requests(void) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return fd < 0 ? -errno : fd;
}

static struct ifreq request_for(const char *name) {
    struct ifreq request;
    memset(&request, 0, sizeof request);
    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    return request;
}

static int bring_up(int requests, const char *name) {
    struct ifreq request = request_for(name);
    if (ioctl(requests, SIOCGIFFLAGS, &request) < 0) return -errno;
    request.ifr_flags |= IFF_UP;
    return ioctl(requests, SIOCSIFFLAGS, &request) < 0 ? -errno : 0;
}

struct tap {
    int namespace;
    const char *name;
    const uint8_t *hardware;
    uint32_t mtu;
};

static int make_tap(const void *context) {
    const struct tap *tap = context;
    uint32_t offloads = 0;
    int error = enter(tap->namespace);
    if (error < 0) return error;
    int fd = platform_tap_open(tap->name, 1, &offloads);
    if (fd < 0) return fd;
    int requests = open_requests();
    if (requests < 0) return requests;
    struct ifreq request = request_for(tap->name);
    request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
    memcpy(request.ifr_hwaddr.sa_data, tap->hardware, 6);
    if (ioctl(requests, SIOCSIFHWADDR, &request) < 0) return -errno;
    request = request_for(tap->name);
    request.ifr_mtu = (int)tap->mtu;
    if (ioctl(requests, SIOCSIFMTU, &request) < 0) return -errno;
    error = bring_up(requests, tap->name);
    return error < 0 ? error : fd;
}

int platform_namespace_tap(int fd, const char *name, const uint8_t hardware[6], uint32_t mtu) {
    struct tap tap = {.namespace = fd, .name = name, .hardware = hardware, .mtu = mtu};
    return child_descriptor(make_tap, &tap);
}

struct configuration {
    int namespace;
    const char *name;
    uint32_t address, mask, gateway;
};

static struct sockaddr internet(uint32_t address) {
    struct sockaddr_in value = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(address)};
    struct sockaddr result;
    memcpy(&result, &value, sizeof result);
    return result;
}

static int configure(const void *context) {
    const struct configuration *configuration = context;
    int error = enter(configuration->namespace);
    int requests = error < 0 ? error : open_requests();
    if (requests < 0) return requests;
    error = bring_up(requests, "lo");
    if (error < 0) return error;
    struct ifreq request = request_for(configuration->name);
    request.ifr_addr = internet(configuration->address);
    if (ioctl(requests, SIOCSIFADDR, &request) < 0) return -errno;
    request.ifr_netmask = internet(configuration->mask);
    if (ioctl(requests, SIOCSIFNETMASK, &request) < 0) return -errno;
    if (configuration->gateway == 0) return 0;
    struct rtentry route;
    memset(&route, 0, sizeof route);
    route.rt_dst = internet(0);
    route.rt_genmask = internet(0);
    route.rt_gateway = internet(configuration->gateway);
    route.rt_flags = RTF_UP | RTF_GATEWAY;
    return ioctl(requests, SIOCADDRT, &route) < 0 ? -errno : 0;
}

int platform_namespace_configure(int fd, const char *name, uint32_t address, uint8_t prefix_length, uint32_t gateway) {
    struct configuration configuration = {.namespace = fd, .name = name, .address = address, .gateway = gateway};
    configuration.mask = prefix_length == 0 ? 0 : ~(uint32_t)0 << (32 - prefix_length);
    return child_result(configure, &configuration);
}
#endif
