// SPDX-License-Identifier: Apache-2.0
// What the parts of the simulator share.
#ifndef SIMULATOR_H
#define SIMULATOR_H

#include <stddef.h>
#include <stdint.h>

#include "VmnetSimulator.h"

/// The settings as they are now.
struct vmnet_simulator_settings simulator_settings(void);

/// A TAP with this address (0: none) and `header` bytes of virtio header. Returns its descriptor, -1 without the right to one.
int simulated_tap(const char *name, uint32_t address, uint32_t mask, size_t header);

/// A frame on its way from the other side of the network to the interface.
typedef void (*host_output)(void *context, const uint8_t *frame, size_t length);

/// The host in memory: answers ARP for its address, ping, and DHCP.
struct memory_host {
    uint32_t address, first, last, mask;  // host order
    uint8_t mac[6];
    /// Nothing is given out, as on a host network with an identifier.
    int without_dhcp;
    int is_router;
    struct { uint8_t mac[6]; uint32_t address; } leases[256];
    int lease_count;
};

void memory_host_receive(struct memory_host *host, const uint8_t *frame, size_t length, host_output output, void *context);

#endif
