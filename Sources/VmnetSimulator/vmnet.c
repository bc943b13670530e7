// SPDX-License-Identifier: Apache-2.0
// vmnet's functions. A network is what interfaces with the same mode and addresses share: the other side (a host in memory or a TAP), and a
// hub between them that reflects nothing to the sender. Frames for an interface wait in a ring; when it is full they are dropped in silence,
// as the kernel does.
#include <Block/Block.h>
#include <arpa/inet.h>
#include <dispatch/dispatch.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <vmnet/vmnet.h>

#include "VmnetSimulator.h"
#include "simulator.h"

extern const char *vmnet_read_max_packets_key, *vmnet_write_max_packets_key, *vmnet_enable_virtio_header_key;

enum { SLOTS = 512, SLOT_SIZE = 65536 + 64, INTERFACES = 32 };

struct network {
    uint32_t mode, start, end, mask;
    int members;
    struct memory_host host;
    int tap, stop[2];
    /// Bytes of the header that the members and the TAP put in front of frames.
    size_t header;
    pthread_t thread;
};

struct vmnet_interface {
    struct vmnet_simulator_settings settings;
    struct network *network;
    uint32_t mode;
    /// Of what is read and written, with the header where there is one.
    size_t maximum, header;
    int is_isolated, is_stopped, is_started;
    dispatch_queue_t queue;
    vmnet_interface_event_callback_t callback;
    int is_event_pending;
    int head, count;
    uint64_t writes, written;
    struct slot { size_t length; uint8_t bytes[SLOT_SIZE]; } *slots;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct vmnet_interface *interfaces[INTERFACES];
static uint64_t total_written, total_dropped;

void vmnet_simulator_counters(uint64_t *written, uint64_t *dropped) {
    pthread_mutex_lock(&mutex);
    *written = total_written;
    *dropped = total_dropped;
    pthread_mutex_unlock(&mutex);
}

int vmnet_simulator_interfaces(void) {
    int count = 0;
    pthread_mutex_lock(&mutex);
    for (int i = 0; i < INTERFACES; i++) count += interfaces[i] != NULL;
    pthread_mutex_unlock(&mutex);
    return count;
}

static void wait_a_little(uint32_t milliseconds) {
    struct timespec pause = {.tv_sec = milliseconds / 1000, .tv_nsec = (long)(milliseconds % 1000) * 1000000};
    if (milliseconds) nanosleep(&pause, NULL);
}

// ---- Events; the mutex is held

static void fire(struct vmnet_interface *it) {
    if (!it->callback || !it->queue || it->is_event_pending || it->is_stopped) return;
    it->is_event_pending = 1;
    int estimate = it->count;
    vmnet_interface_event_callback_t callback = it->callback;
    dispatch_async(it->queue, ^{
        xpc_object_t event = xpc_dictionary_create(NULL, NULL, 0);
        // An estimate, and not a good one.
        xpc_dictionary_set_uint64(event, vmnet_estimated_packets_available_key, (uint64_t)estimate / 2);
        pthread_mutex_lock(&mutex);
        it->is_event_pending = 0;
        int is_wanted = it->callback != NULL;
        pthread_mutex_unlock(&mutex);
        if (is_wanted) callback(VMNET_INTERFACE_PACKETS_AVAILABLE, event);
        xpc_release(event);
        // As long as there is something, there is another event.
        if (it->settings.edge_events) return;
        dispatch_after(dispatch_time(DISPATCH_TIME_NOW, 1000000), it->queue, ^{
            pthread_mutex_lock(&mutex);
            if (it->count > 0) fire(it);
            pthread_mutex_unlock(&mutex);
        });
    });
}

static void deliver(struct vmnet_interface *it, const uint8_t *frame, size_t length) {
    if (it->is_stopped || length > it->maximum) return;
    if (it->count == SLOTS) {
        total_dropped++;
        return;
    }
    struct slot *slot = &it->slots[(it->head + it->count) % SLOTS];
    memcpy(slot->bytes, frame, length);
    slot->length = length;
    if (it->count++ == 0 || !it->settings.edge_events) fire(it);
}

static void deliver_from_host(void *context, const uint8_t *frame, size_t length) {
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

// ---- Networks; the mutex is held

static void *read_tap(void *context) {
    struct network *network = context;
    static _Thread_local uint8_t frame[SLOT_SIZE];
    struct pollfd ready[2] = {{.fd = network->tap, .events = POLLIN}, {.fd = network->stop[0], .events = POLLIN}};
    while (poll(ready, 2, -1) >= 0 && !ready[1].revents) {
        ssize_t length = read(network->tap, frame, sizeof frame);
        if (length <= 0) continue;
        pthread_mutex_lock(&mutex);
        deliver_from_host(network, frame, (size_t)length);
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

static int open_tap(struct network *network, const char *name) {
    int is_bridged = network->mode == VMNET_BRIDGED_MODE;
    network->tap = simulated_tap(name, is_bridged ? 0 : network->start, network->mask, network->header);
    if (network->tap < 0) return 0;
    return pipe2(network->stop, O_CLOEXEC) == 0 && pthread_create(&network->thread, NULL, read_tap, network) == 0;
}

static vmnet_return_t join(struct vmnet_interface *it, uint32_t start, uint32_t end, uint32_t mask) {
    for (int i = 0; i < INTERFACES; i++) {
        struct network *other = interfaces[i] ? interfaces[i]->network : NULL;
        if (!other || it->mode == VMNET_BRIDGED_MODE || (other->start & other->mask) != (start & mask)) continue;
        // The same range in the other mode, or with other bounds, is somebody else's.
        if (other->mode != it->mode || other->start != start || other->end != end || other->mask != mask || other->header != it->header) return VMNET_FAILURE;
        it->network = other;
        other->members++;
        return VMNET_SUCCESS;
    }
    struct network *network = calloc(1, sizeof *network);
    *network = (struct network){
        .mode = it->mode, .start = start, .end = end, .mask = mask, .members = 1, .tap = -1, .header = it->header,
        .host = {.address = start, .first = start + 1, .last = end, .mask = mask, .mac = {0x3e, 0x22, 0xfb, 0, 0, 1}, .is_router = it->mode == VMNET_SHARED_MODE},
    };
    it->network = network;
    if (it->settings.tap[0] && !open_tap(network, it->settings.tap)) {
        free(network);
        it->network = NULL;
        return VMNET_FAILURE;
    }
    return VMNET_SUCCESS;
}

static void leave(struct vmnet_interface *it) {
    struct network *network = it->network;
    it->network = NULL;
    if (!network || --network->members > 0) return;
    if (network->tap >= 0) {
        (void)!write(network->stop[1], "", 1);
        pthread_mutex_unlock(&mutex);
        pthread_join(network->thread, NULL);
        pthread_mutex_lock(&mutex);
        close(network->tap);
        close(network->stop[0]);
        close(network->stop[1]);
    }
    free(network);
}

// ---- Starting and stopping

static int parse(xpc_object_t description, const char *key, uint32_t *value) {
    const char *text = xpc_dictionary_get_string(description, key);
    struct in_addr address;
    if (!text || inet_pton(AF_INET, text, &address) != 1) return 0;
    *value = ntohl(address.s_addr);
    return 1;
}

static int is_private(uint32_t address) { return address >> 24 == 10 || address >> 20 == 0xac1 || address >> 16 == 0xc0a8; }

static void put_address(xpc_object_t result, const char *key, uint32_t value) {
    char text[INET_ADDRSTRLEN];
    struct in_addr address = {htonl(value)};
    xpc_dictionary_set_string(result, key, inet_ntop(AF_INET, &address, text, sizeof text));
}

static vmnet_return_t configure(struct vmnet_interface *it, xpc_object_t description, xpc_object_t result) {
    it->mode = (uint32_t)xpc_dictionary_get_uint64(description, vmnet_operation_mode_key);
    it->is_isolated = xpc_dictionary_get_bool(description, vmnet_enable_isolation_key);
    uint64_t mtu = xpc_dictionary_get_uint64(description, vmnet_mtu_key);
    int has_header = vmnet_enable_virtio_header_key && xpc_dictionary_get_bool(description, vmnet_enable_virtio_header_key);
    it->header = has_header ? 12 : 0;
    uint32_t start = it->mode == VMNET_HOST_MODE ? 0xc0a88001 : 0xc0a84001, end = start + 253, mask = 0xffffff00;
    if (it->mode < VMNET_HOST_MODE || it->mode > VMNET_BRIDGED_MODE) return VMNET_INVALID_ARGUMENT;
    if (it->mode == VMNET_BRIDGED_MODE) {
        const char *name = xpc_dictionary_get_string(description, vmnet_shared_interface_name_key);
        if (!name || strcmp(name, "en0") != 0 || mtu) return VMNET_INVALID_ARGUMENT;
    } else {
        int given = parse(description, vmnet_start_address_key, &start) + parse(description, vmnet_end_address_key, &end) + parse(description, vmnet_subnet_mask_key, &mask);
        if (given != 0 && given != 3) return VMNET_INVALID_ARGUMENT;
        if (!is_private(start)) return VMNET_FAILURE;
    }
    vmnet_return_t status = join(it, start, end, mask);
    if (status != VMNET_SUCCESS) return status;
    if (xpc_dictionary_get_uuid(description, vmnet_network_identifier_key)) it->network->host.without_dhcp = 1;
    if (!mtu) mtu = 1500;
    // With TSO a segment of 64 KiB behind an Ethernet header; whether the virtio header counts is not documented: it does not.
    size_t longest = has_header ? 65550 : (size_t)mtu + 14;
    it->maximum = longest + it->header;
    xpc_dictionary_set_uint64(result, vmnet_mtu_key, mtu);
    xpc_dictionary_set_uint64(result, vmnet_max_packet_size_key, longest);
    if (xpc_dictionary_get_bool(description, vmnet_allocate_mac_address_key)) xpc_dictionary_set_string(result, vmnet_mac_address_key, "3e:22:fb:00:01:01");
    const uint8_t *id = xpc_dictionary_get_uuid(description, vmnet_interface_id_key);
    xpc_dictionary_set_uuid(result, vmnet_interface_id_key, id ? id : (const uint8_t *)"0123456789abcdef");
    if (it->mode != VMNET_BRIDGED_MODE) {
        put_address(result, vmnet_start_address_key, start);
        put_address(result, vmnet_end_address_key, end);
        put_address(result, vmnet_subnet_mask_key, mask);
        if (it->mode == VMNET_SHARED_MODE) xpc_dictionary_set_string(result, vmnet_nat66_prefix_key, "fd00:1:2:3::");
    }
    if (!it->settings.hides_batches) {
        xpc_dictionary_set_uint64(result, vmnet_read_max_packets_key, it->settings.batch);
        xpc_dictionary_set_uint64(result, vmnet_write_max_packets_key, it->settings.batch);
    }
    return VMNET_SUCCESS;
}

interface_ref vmnet_start_interface(xpc_object_t description, dispatch_queue_t queue, vmnet_start_interface_completion_handler_t handler) {
    pthread_mutex_lock(&mutex);
    struct vmnet_simulator_settings settings = simulator_settings();
    if (settings.start_without_handle) {
        pthread_mutex_unlock(&mutex);
        return NULL;
    }
    struct vmnet_interface *it = calloc(1, sizeof *it);
    it->settings = settings;
    if (!it->settings.batch) it->settings.batch = it->settings.hides_batches ? 200 : 256;
    it->slots = calloc(SLOTS, sizeof *it->slots);
    xpc_object_t result = xpc_dictionary_create(NULL, NULL, 0);
    vmnet_return_t status = it->settings.start_status ? (vmnet_return_t)it->settings.start_status : configure(it, description, result);
    int place = 0;
    while (place < INTERFACES && interfaces[place]) place++;
    if (status == VMNET_SUCCESS && place == INTERFACES) status = VMNET_FAILURE;
    if (status == VMNET_SUCCESS) interfaces[place] = it;
    pthread_mutex_unlock(&mutex);
    int is_silent = it->settings.start_silent;
    // Never before this has returned.
    dispatch_after(dispatch_time(DISPATCH_TIME_NOW, (int64_t)it->settings.start_delay * 1000000 + 100000), queue, ^{
        pthread_mutex_lock(&mutex);
        it->is_started = status == VMNET_SUCCESS;
        pthread_mutex_unlock(&mutex);
        if (!is_silent) handler(status, status == VMNET_SUCCESS ? result : NULL);
        xpc_release(result);
    });
    return it;
}

vmnet_return_t vmnet_stop_interface(interface_ref it, dispatch_queue_t queue, vmnet_interface_completion_handler_t handler) {
    pthread_mutex_lock(&mutex);
    if (it->is_stopped) {
        pthread_mutex_unlock(&mutex);
        return VMNET_INVALID_ARGUMENT;
    }
    it->is_stopped = 1;
    leave(it);
    for (int i = 0; i < INTERFACES; i++) {
        if (interfaces[i] == it) interfaces[i] = NULL;
    }
    int is_silent = it->settings.stop_silent;
    pthread_mutex_unlock(&mutex);
    dispatch_async(queue, ^{
        // The interface itself stays for good: a read may be under way, and a test may use it after its end.
        if (!is_silent) handler(VMNET_SUCCESS);
    });
    return VMNET_SUCCESS;
}

vmnet_return_t vmnet_interface_set_event_callback(interface_ref it, interface_event_t mask, dispatch_queue_t queue, vmnet_interface_event_callback_t callback) {
    if ((queue == NULL) != (callback == NULL) || mask != VMNET_INTERFACE_PACKETS_AVAILABLE) return VMNET_INVALID_ARGUMENT;
    pthread_mutex_lock(&mutex);
    it->queue = queue;
    it->callback = callback ? Block_copy(callback) : NULL;
    if (it->settings.spurious_events || it->count > 0) fire(it);
    pthread_mutex_unlock(&mutex);
    return VMNET_SUCCESS;
}

// ---- Frames

static vmnet_return_t check(struct vmnet_interface *it, int count) {
    if (!it->is_started) return VMNET_SETUP_INCOMPLETE;
    if (it->is_stopped || (it->settings.vanish_after && it->written >= it->settings.vanish_after)) return VMNET_INVALID_ARGUMENT;
    if (count > (int)it->settings.batch) return VMNET_TOO_MANY_PACKETS;
    return count < 0 ? VMNET_INVALID_ARGUMENT : VMNET_SUCCESS;
}

vmnet_return_t vmnet_read(interface_ref it, struct vmpktdesc *packets, int *pktcnt) {
    wait_a_little(it->settings.slowness);
    pthread_mutex_lock(&mutex);
    vmnet_return_t status = check(it, *pktcnt);
    int filled = 0;
    for (int i = 0; status == VMNET_SUCCESS && i < *pktcnt && it->count > 0; i++) {
        if (packets[i].vm_pkt_iovcnt != 1 || packets[i].vm_pkt_size < it->maximum || packets[i].vm_pkt_iov->iov_len < it->maximum) {
            status = VMNET_INVALID_ARGUMENT;
            break;
        }
        struct slot *slot = &it->slots[it->head];
        memcpy(packets[i].vm_pkt_iov->iov_base, slot->bytes, slot->length);
        packets[i].vm_pkt_size = slot->length;
        it->head = (it->head + 1) % SLOTS;
        it->count--;
        filled++;
    }
    pthread_mutex_unlock(&mutex);
    *pktcnt = filled;
    return status;
}

static void accept_frame(struct vmnet_interface *it, const uint8_t *frame, size_t length) {
    struct network *network = it->network;
    it->written++;
    total_written++;
    if (network->tap >= 0) (void)!write(network->tap, frame, length);
    else if (network->mode != VMNET_BRIDGED_MODE) memory_host_receive(&network->host, frame + it->header, length - it->header, deliver_from_host, network);
    for (int i = 0; i < INTERFACES; i++) {
        struct vmnet_interface *other = interfaces[i];
        if (!other || other == it || other->network != network || (other->is_isolated && it->is_isolated)) continue;
        deliver(other, frame, length);
    }
}

vmnet_return_t vmnet_write(interface_ref it, struct vmpktdesc *packets, int *pktcnt) {
    wait_a_little(it->settings.slowness);
    pthread_mutex_lock(&mutex);
    vmnet_return_t status = check(it, *pktcnt);
    int taken = 0, limit = *pktcnt;
    it->writes++;
    if (status == VMNET_SUCCESS && it->settings.exhausted_every && it->writes % it->settings.exhausted_every == 0) status = VMNET_BUFFER_EXHAUSTED;
    if (it->settings.partial_every && it->writes % it->settings.partial_every == 0) limit = 1;
    for (int i = 0; status == VMNET_SUCCESS && i < *pktcnt; i++) {
        if (packets[i].vm_pkt_size > it->maximum) status = VMNET_PACKET_TOO_BIG;
        else if (packets[i].vm_pkt_iovcnt != 1 || packets[i].vm_pkt_size < (it->settings.least_frame ? it->settings.least_frame : 14) + it->header || packets[i].vm_pkt_iov->iov_len != packets[i].vm_pkt_size) status = VMNET_INVALID_ARGUMENT;
    }
    for (int i = 0; status == VMNET_SUCCESS && i < limit && i < *pktcnt; i++) {
        accept_frame(it, packets[i].vm_pkt_iov->iov_base, packets[i].vm_pkt_size);
        taken++;
    }
    pthread_mutex_unlock(&mutex);
    *pktcnt = taken;
    return status;
}

xpc_object_t vmnet_copy_shared_interface_list(void) {
    xpc_object_t list = xpc_dictionary_create(NULL, NULL, 0);
    xpc_dictionary_set_string(list, "0", "en1");
    xpc_dictionary_set_string(list, "1", "en0");
    return list;
}
