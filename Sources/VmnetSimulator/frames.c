// SPDX-License-Identifier: Apache-2.0
// Frames and events of interfaces. Frames for an interface wait in a ring; when it is full they are dropped without an
// error, as in the kernel.
#include <string.h>
#include <unistd.h>

#include "simulator.h"

static uint64_t total_written, total_dropped;

void vmnet_simulator_counters(uint64_t *written, uint64_t *dropped) {
    pthread_mutex_lock(&simulator_mutex);
    *written = total_written;
    *dropped = total_dropped;
    pthread_mutex_unlock(&simulator_mutex);
}

void fire(struct vmnet_interface *it) {
    if (!it->callback || !it->queue || it->is_event_pending || it->is_stopped) return;
    it->is_event_pending = 1;
    int estimate = it->count, high = it->settings.high_estimates;
    vmnet_interface_event_callback_t callback = it->callback;
    dispatch_async(it->queue, ^{
      xpc_object_t event = xpc_dictionary_create(NULL, NULL, 0);
      // An estimate, and not a good one.
      xpc_dictionary_set_uint64(
          event, vmnet_estimated_packets_available_key, (uint64_t)(high ? estimate * 2 + 1 : estimate / 2));
      pthread_mutex_lock(&simulator_mutex);
      it->is_event_pending = 0;
      int is_wanted = it->callback != NULL;
      pthread_mutex_unlock(&simulator_mutex);
      if (is_wanted) callback(VMNET_INTERFACE_PACKETS_AVAILABLE, event);
      xpc_release(event);
      // As long as there is something, there is another event.
      if (it->settings.edge_events) return;
      dispatch_after(dispatch_time(DISPATCH_TIME_NOW, 1000000), it->queue, ^{
        pthread_mutex_lock(&simulator_mutex);
        if (it->count > 0) fire(it);
        pthread_mutex_unlock(&simulator_mutex);
      });
    });
}

// Whether frames are lost.
static int is_silent(const struct vmnet_interface *it) {
    return it->settings.silent_after && it->written >= it->settings.silent_after;
}

static void deliver(struct vmnet_interface *it, const uint8_t *frame, size_t length) {
    if (it->is_stopped || length > it->maximum || is_silent(it)) return;
    if (it->settings.drops_tagged && length >= it->header + 14 && frame[it->header + 12] == 0x81 &&
        frame[it->header + 13] == 0)
        return;
    if (it->count ==
        (it->settings.queue_depth && it->settings.queue_depth < SLOTS ? (int)it->settings.queue_depth : SLOTS)) {
        total_dropped++;
        return;
    }
    struct slot *slot = &it->slots[(it->head + it->count) % SLOTS];
    memcpy(slot->bytes, frame, length);
    slot->length = length;
    if (it->count++ == 0 || !it->settings.edge_events) fire(it);
}

void deliver_early(struct vmnet_interface *it) {
    // A broadcast with an EtherType for local experiments (IEEE 802), after an empty header if there is one.
    uint8_t bytes[12 + 60] = {0};
    memset(bytes + it->header, 0xff, 6);
    memcpy(bytes + it->header + 6, "\x3e\x22\xfb\0\0\1\x88\xb5", 8);
    deliver(it, bytes, it->header + 60);
}

void deliver_from_host(void *context, const uint8_t *frame, size_t length) {
    struct network *network = context;
    // The host in memory makes no headers: nothing is left to be done to its frames.
    static uint8_t with_header[SLOT_SIZE];
    if (network->header && network->tap < 0) {
        memcpy(with_header + network->header, frame, length);
        frame = with_header;
        length += network->header;
    }
    for (int i = 0; i < INTERFACES; i++) {
        if (interfaces[i] && interfaces[i]->network == network) deliver(interfaces[i], frame, length);
    }
}

static vmnet_return_t check(struct vmnet_interface *it, const struct vmpktdesc *packets, int count) {
    size_t bytes = 0;
    for (int i = 0; i < count; i++) bytes += packets[i].vm_pkt_size;
    if (it->settings.byte_limit && bytes > it->settings.byte_limit) return VMNET_TOO_MANY_PACKETS;
    if (it->settings.exclusive_calls && it->calls > 1) return VMNET_FAILURE;
    if (!it->is_started) return VMNET_SETUP_INCOMPLETE;
    if (it->is_stopped || (it->settings.vanish_after && it->written >= it->settings.vanish_after)) {
        return it->settings.gone_status ? it->settings.gone_status : VMNET_INVALID_ARGUMENT;
    }
    if (count > (int)it->settings.batch) return VMNET_TOO_MANY_PACKETS;
    return count < 0 ? VMNET_INVALID_ARGUMENT : VMNET_SUCCESS;
}

/// A call begins, which takes its time.
static void begin(struct vmnet_interface *it) {
    pthread_mutex_lock(&simulator_mutex);
    it->calls++;
    pthread_mutex_unlock(&simulator_mutex);
    wait_a_little(it->settings.slowness);
    pthread_mutex_lock(&simulator_mutex);
}

static vmnet_return_t end(struct vmnet_interface *it, vmnet_return_t status, int *pktcnt, int done) {
    it->calls--;
    pthread_mutex_unlock(&simulator_mutex);
    if (status == VMNET_SUCCESS || !it->settings.errors_keep_count) *pktcnt = done;
    return status;
}

vmnet_return_t vmnet_read(interface_ref it, struct vmpktdesc *packets, int *pktcnt) {
    begin(it);
    vmnet_return_t status = check(it, packets, *pktcnt);
    int filled = 0;
    for (int i = 0; status == VMNET_SUCCESS && i < *pktcnt && it->count > 0; i++) {
        size_t room = packets[i].vm_pkt_size < packets[i].vm_pkt_iov->iov_len ? packets[i].vm_pkt_size
                                                                              : packets[i].vm_pkt_iov->iov_len;
        if (packets[i].vm_pkt_iovcnt != 1 || (room < it->maximum && !it->settings.short_reads)) {
            status = VMNET_INVALID_ARGUMENT;
            break;
        }
        struct slot *slot = &it->slots[it->head];
        packets[i].vm_pkt_size = slot->length < room ? slot->length : room;
        memcpy(packets[i].vm_pkt_iov->iov_base, slot->bytes, packets[i].vm_pkt_size);
        it->head = (it->head + 1) % SLOTS;
        it->count--;
        filled++;
    }
    return end(it, status, pktcnt, filled);
}

static void accept_frame(struct vmnet_interface *it, const uint8_t *frame, size_t length) {
    struct network *network = it->network;
    it->written++;
    total_written++;
    if (is_silent(it)) return;
    if (network->tap >= 0) network_write_tap(network, frame, length);
    else if (network->mode != VMNET_BRIDGED_MODE &&
        !(it->settings.checks_sources && memory_host_doubts(&network->host, frame + it->header, length - it->header)))
        memory_host_receive(&network->host, frame + it->header, length - it->header, deliver_from_host, network);
    for (int i = 0; i < INTERFACES; i++) {
        struct vmnet_interface *other = interfaces[i];
        if (!other || other == it || other->network != network || (other->is_isolated && it->is_isolated)) continue;
        deliver(other, frame, length);
    }
}

vmnet_return_t vmnet_write(interface_ref it, struct vmpktdesc *packets, int *pktcnt) {
    begin(it);
    vmnet_return_t status = check(it, packets, *pktcnt);
    int taken = 0, limit = *pktcnt;
    it->writes++;
    if (status == VMNET_SUCCESS && it->settings.exhausted_every && it->writes % it->settings.exhausted_every == 0)
        status = VMNET_BUFFER_EXHAUSTED;
    if (it->settings.partial_every && it->writes % it->settings.partial_every == 0) limit = 1;
    int is_able = status == VMNET_SUCCESS;
    for (int i = 0; status == VMNET_SUCCESS && i < *pktcnt; i++) {
        if (it->settings.errors_take_some) limit = i;
        if (packets[i].vm_pkt_size > it->maximum) status = VMNET_PACKET_TOO_BIG;
        else if (packets[i].vm_pkt_iovcnt != 1 ||
            packets[i].vm_pkt_size < (it->settings.least_frame ? it->settings.least_frame : 14) + it->header ||
            packets[i].vm_pkt_iov->iov_len != packets[i].vm_pkt_size)
            status = VMNET_INVALID_ARGUMENT;
    }
    if (status == VMNET_SUCCESS && it->settings.errors_take_some) limit = *pktcnt;
    for (int i = 0; is_able && (status == VMNET_SUCCESS || it->settings.errors_take_some) && i < limit && i < *pktcnt;
         i++) {
        accept_frame(it, packets[i].vm_pkt_iov->iov_base, packets[i].vm_pkt_size);
        taken++;
    }
    return end(it, status, pktcnt, taken);
}
