// SPDX-License-Identifier: Apache-2.0
// Sockets that are bound to an interface, by its index (xnu bsd/netinet/in_pcb.c, inp_bindif).
#include "CPlatform.h"

#if PLATFORM_IS_DARWIN
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>

#include "simulated.h"

int platform_bind_to_interface(int fd, int ipv6, const char *name) {
    unsigned index = if_nametoindex(name);
    if (index == 0) return -errno;
    // A socket takes the option for its version of IP only.
    int level = ipv6 ? IPPROTO_IPV6 : IPPROTO_IP, option = ipv6 ? IPV6_BOUND_IF : IP_BOUND_IF;
    return platform_set_option(fd, level, option, &index, sizeof index) < 0 ? -errno : 0;
}
#endif
