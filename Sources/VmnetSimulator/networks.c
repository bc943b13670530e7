// SPDX-License-Identifier: Apache-2.0
// Networks: the other side (a host in memory or a TAP), and a hub between members that reflects nothing to the sender.
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "simulator.h"

enum { TAP_HEADER = 12 };

/// Finishes a checksum that the kernel has left to the device (virtio 1.1, section 5.1.6.2): members without headers
/// get whole frames.
static void finish_checksum(const uint8_t *header, uint8_t *frame, size_t length) {
    uint16_t start, offset;
    memcpy(&start, header + 6, 2);
    memcpy(&offset, header + 8, 2);
    if (!(header[0] & 1) || start + offset + 2u > length) return;
    uint32_t sum = 0;
    for (size_t i = start; i < length; i++) sum += (i - start) % 2 ? frame[i] : (uint32_t)frame[i] << 8;
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    frame[start + offset] = (uint8_t)(~sum >> 8);
    frame[start + offset + 1] = (uint8_t)~sum;
}

void network_write_tap(struct network *network, const uint8_t *frame, size_t length) {
    uint8_t none[TAP_HEADER] = {0};
    struct iovec pieces[2] = {{.iov_base = none, .iov_len = network->tap_header - network->header},
        {.iov_base = (void *)frame, .iov_len = length}};
    (void)!writev(network->tap, pieces, 2);
}

static void *read_tap(void *context) {
    struct network *network = context;
    static _Thread_local uint8_t frame[SLOT_SIZE];
    struct pollfd ready[2] = {{.fd = network->tap, .events = POLLIN}, {.fd = network->stop[0], .events = POLLIN}};
    while (poll(ready, 2, -1) >= 0 && !ready[1].revents) {
        ssize_t length = read(network->tap, frame, sizeof frame);
        if (length <= (ssize_t)network->tap_header) continue;
        size_t stripped = network->tap_header - network->header;
        if (stripped) finish_checksum(frame, frame + stripped, (size_t)length - stripped);
        pthread_mutex_lock(&simulator_mutex);
        deliver_from_host(network, frame + stripped, (size_t)length - stripped);
        pthread_mutex_unlock(&simulator_mutex);
    }
    return NULL;
}

static int open_tap(struct network *network, const char *name) {
    int is_bridged = network->mode == VMNET_BRIDGED_MODE;
    network->tap = simulated_tap(name, is_bridged ? 0 : network->start, network->mask, network->tap_header);
    if (network->tap < 0) return 0;
    return pipe2(network->stop, O_CLOEXEC) == 0 && pthread_create(&network->thread, NULL, read_tap, network) == 0;
}

vmnet_return_t network_join(
    struct vmnet_interface *it, uint32_t start, uint32_t end, uint32_t mask, int has_segments, struct object *object) {
    if (it->mode != VMNET_BRIDGED_MODE && object_overlaps(start, mask, object)) return VMNET_FAILURE;
    for (int i = 0; i < INTERFACES; i++) {
        struct network *other = interfaces[i] ? interfaces[i]->network : NULL;
        if (!other || it->mode == VMNET_BRIDGED_MODE || (other->start & other->mask) != (start & mask)) continue;
        // The same range in the other mode, or with other bounds, belongs to another network.
        if (it->is_alone || other->mode != it->mode || other->start != start || other->end != end ||
            other->mask != mask || other->header != it->header || other->object != object)
            return VMNET_FAILURE;
        it->network = other;
        other->members++;
        return VMNET_SUCCESS;
    }
    struct network *network = calloc(1, sizeof *network);
    *network = (struct network){
        .mode = it->mode,
        .start = start,
        .end = end,
        .mask = mask,
        .members = 1,
        .tap = -1,
        .header = it->header,
        .tap_header = it->header || has_segments ? TAP_HEADER : 0,
        .object = object,
        .host = {.address = start,
            .first = start + 1,
            .last = end,
            .mask = mask,
            .mac = {0x3e, 0x22, 0xfb, 0, 0, 1},
            .is_router = it->mode == VMNET_SHARED_MODE},
    };
    it->network = network;
    if (it->settings.tap[0] && !open_tap(network, it->settings.tap)) {
        free(network);
        it->network = NULL;
        return VMNET_FAILURE;
    }
    if (object) {
        object->references++;
        network->host.without_dhcp = object->without_dhcp;
        network->host.lease_count = object->reservation_count;
        for (int i = 0; i < object->reservation_count; i++) {
            memcpy(network->host.leases[i].mac, object->reservations[i].mac, 6);
            network->host.leases[i].address = object->reservations[i].address;
        }
    }
    return VMNET_SUCCESS;
}

void network_leave(struct vmnet_interface *it) {
    struct network *network = it->network;
    it->network = NULL;
    if (!network || --network->members > 0) return;
    if (network->tap >= 0) {
        (void)!write(network->stop[1], "", 1);
        pthread_mutex_unlock(&simulator_mutex);
        pthread_join(network->thread, NULL);
        pthread_mutex_lock(&simulator_mutex);
        close(network->tap);
        close(network->stop[0]);
        close(network->stop[1]);
    }
    if (network->object) object_release(network->object);
    free(network);
}
