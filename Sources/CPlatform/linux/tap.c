// SPDX-License-Identifier: Apache-2.0
#if defined(__linux__)
#include "CPlatform.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20  // Linux 6.2
#define TUN_F_USO6 0x40
#endif

/// Configures a TAP the way this program needs it. 0 or a negative errno.
static int prepare(int fd, uint32_t *offloads) {
    // From the most offloads to none. USO needs both flags, TSO needs the checksum flag.
    static const unsigned wanted[] = {
        TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN | TUN_F_USO4 | TUN_F_USO6,
        TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN,
        TUN_F_CSUM,
        0,
    };
    int size = 12, little = 1;
    if (ioctl(fd, TUNSETVNETHDRSZ, &size) < 0 || ioctl(fd, TUNSETVNETLE, &little) < 0) return -errno;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        if (ioctl(fd, TUNSETOFFLOAD, (unsigned long)wanted[i]) < 0) continue;
        *offloads = wanted[i];
        return 0;
    }
    return -errno;
}

int platform_tap_open(const char *name, int create, uint32_t *offloads) {
    struct ifreq request;
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return -errno;
    memset(&request, 0, sizeof request);
    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    request.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (create ? IFF_TUN_EXCL : 0));
    int error = ioctl(fd, TUNSETIFF, &request) < 0 ? -errno : prepare(fd, offloads);
    if (error == 0) return fd;
    close(fd);
    return error;
}

int platform_tap_adopt(int fd, char name[16], uint32_t *offloads) {
    struct ifreq request;
    memset(&request, 0, sizeof request);
    if (ioctl(fd, TUNGETIFF, &request) < 0) return -errno;
    if ((request.ifr_flags & IFF_TAP) == 0 || (request.ifr_flags & IFF_VNET_HDR) == 0) return -EPROTOTYPE;
    strncpy(name, request.ifr_name, 15);
    name[15] = 0;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) return -errno;
    return prepare(fd, offloads);
}
#endif
