// SPDX-License-Identifier: Apache-2.0
// The TAP that stands for the Mac's end of a network.
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "simulator.h"

int simulated_tap(const char *name, uint32_t address, uint32_t mask, size_t header) {
    struct ifreq request = {.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | (header ? IFF_VNET_HDR : 0))};
    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    int tap = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (tap < 0) return -1;
    if (ioctl(tap, TUNSETIFF, &request) < 0) {
        close(tap);
        return -1;
    }
    if (header) {
        ioctl(tap, TUNSETVNETHDRSZ, &(int){(int)header});
        ioctl(tap, TUNSETOFFLOAD, (unsigned long)(TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6));
    }
    int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in *own = (struct sockaddr_in *)&request.ifr_addr;
    if (address) {
        *own = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(address)};
        ioctl(control, SIOCSIFADDR, &request);
        own->sin_addr.s_addr = htonl(mask);
        ioctl(control, SIOCSIFNETMASK, &request);
    }
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    ioctl(control, SIOCSIFFLAGS, &request);
    close(control);
    return tap;
}
