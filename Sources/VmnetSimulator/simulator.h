// SPDX-License-Identifier: Apache-2.0
// Declarations shared by the files of the simulator.
#ifndef SIMULATOR_H
#define SIMULATOR_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <vmnet/vmnet.h>

#include "CVmnetAPI.h"
#include "VmnetSimulator.h"

/// The settings as they are now.
struct vmnet_simulator_settings simulator_settings(void);

/// A TAP with this address (0: none) and `header` bytes of virtio header. Returns its descriptor, -1 without the right
/// to one.
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
    struct {
        uint8_t mac[6];
        uint32_t address;
    } leases[256];
    int lease_count;
};

/// Whether a frame is of IPv4 from an address that was not given out.
int memory_host_doubts(const struct memory_host *host, const uint8_t *frame, size_t length);
void memory_host_receive(
    struct memory_host *host, const uint8_t *frame, size_t length, host_output output, void *context);

/// A frame's slot: a segment of 64 KiB, its Ethernet header, and a virtio header.
enum { SLOTS = 512, SLOT_SIZE = 65536 + 64, INTERFACES = 32 };

struct object;

/// What interfaces with the same mode and addresses share, or those of one object.
struct network {
    uint32_t mode, start, end, mask;
    struct object *object;
    int members;
    struct memory_host host;
    int tap, stop[2];
    /// Bytes of the header that the members put before frames, and of the TAP's.
    size_t header, tap_header;
    pthread_t thread;
};

struct vmnet_interface {
    struct vmnet_simulator_settings settings;
    struct network *network;
    uint32_t mode;
    /// Of what is read and written, with the header where there is one.
    size_t maximum, header;
    /// Reads and writes that are running.
    int calls;
    int is_isolated, is_alone, is_stopped, is_started;
    dispatch_queue_t queue;
    vmnet_interface_event_callback_t callback;
    int is_event_pending;
    int head, count;
    uint64_t writes, written;
    struct slot {
        size_t length;
        uint8_t bytes[SLOT_SIZE];
    } * slots;
};

/// RFC 1918.
static inline int is_private(uint32_t address) {
    return address >> 24 == 10 || address >> 20 == 0xac1 || address >> 16 == 0xc0a8;
}

/// Guards everything here.
extern pthread_mutex_t simulator_mutex;
extern struct vmnet_interface *interfaces[INTERFACES];

void wait_a_little(uint32_t milliseconds);

// ---- The mutex is held for all of these

/// Notifies an interface of frames.
void fire(struct vmnet_interface *it);
/// Queues a frame that arrives before the event callback is set.
void deliver_early(struct vmnet_interface *it);
/// Frames from the other side of a network, without a virtio header where the host is the one in memory.
void deliver_from_host(void *network, const uint8_t *frame, size_t length);

/// Puts an interface into its network; a network of `object` where that is not NULL.
vmnet_return_t network_join(
    struct vmnet_interface *it, uint32_t start, uint32_t end, uint32_t mask, int has_segments, struct object *object);
/// Writes a frame of a member, as it came, to the TAP.
void network_write_tap(struct network *network, const uint8_t *frame, size_t length);
void network_leave(struct vmnet_interface *it);

/// A configuration of a network, or a network that was made of it; counted.
struct object {
    int references;
    uint32_t mode, start, mask;
    int is_made;
    uint64_t mtu;
    int without_dhcp;
    char external_interface[16];
    struct in6_addr prefix;
    struct {
        uint8_t mac[6];
        uint32_t address;
    } reservations[16];
    int reservation_count;
};

void object_release(struct object *object);
/// Whether another network that was made has an address of this range.
int object_overlaps(uint32_t start, uint32_t mask, const struct object *except);

/// Removes the rules of an owner: an interface, or an object.
void simulated_rules_remove(const void *owner);
void simulated_rules_move(const void *from, const void *to);
vmnet_return_t simulated_rules_add(
    const void *owner, uint8_t protocol, uint16_t external_port, uint32_t address, uint16_t internal_port);

/// Starts an interface, on an object or, with NULL, in the classic way.
interface_ref simulated_start(struct object *object, xpc_object_t description, dispatch_queue_t queue,
    vmnet_start_interface_completion_handler_t handler);

#endif
