// SPDX-License-Identifier: Apache-2.0
// Interfaces: start, events, and stop.
#include <Block/Block.h>
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "simulator.h"

extern const char *vmnet_read_max_packets_key, *vmnet_write_max_packets_key, *vmnet_enable_virtio_header_key,
    *vmnet_enable_checksum_offload_key;

pthread_mutex_t simulator_mutex = PTHREAD_MUTEX_INITIALIZER;
struct vmnet_interface *interfaces[INTERFACES];

int vmnet_simulator_interfaces(void) {
    int count = 0;
    pthread_mutex_lock(&simulator_mutex);
    for (int i = 0; i < INTERFACES; i++) count += interfaces[i] != NULL;
    pthread_mutex_unlock(&simulator_mutex);
    return count;
}

void wait_a_little(uint32_t milliseconds) {
    struct timespec pause = {.tv_sec = milliseconds / 1000, .tv_nsec = (long)(milliseconds % 1000) * 1000000};
    if (milliseconds) nanosleep(&pause, NULL);
}

static int parse(xpc_object_t description, const char *key, uint32_t *value) {
    const char *text = xpc_dictionary_get_string(description, key);
    struct in_addr address;
    if (!text || inet_pton(AF_INET, text, &address) != 1) return 0;
    *value = ntohl(address.s_addr);
    return 1;
}

static void put_address(xpc_object_t result, const char *key, uint32_t value) {
    char text[INET_ADDRSTRLEN];
    struct in_addr address = {htonl(value)};
    xpc_dictionary_set_string(result, key, inet_ntop(AF_INET, &address, text, sizeof text));
}

static vmnet_return_t configure(
    struct vmnet_interface *it, struct object *object, xpc_object_t description, xpc_object_t result) {
    it->mode = object ? object->mode : (uint32_t)xpc_dictionary_get_uint64(description, vmnet_operation_mode_key);
    it->is_isolated = xpc_dictionary_get_bool(description, vmnet_enable_isolation_key);
    it->is_alone =
        it->settings.requires_isolation_set && !xpc_dictionary_get_value(description, vmnet_enable_isolation_key);
    if (it->mode == VMNET_BRIDGED_MODE && it->settings.refuses_bridged_isolation &&
        xpc_dictionary_get_value(description, vmnet_enable_isolation_key)) {
        return VMNET_INVALID_ARGUMENT;
    }
    uint64_t mtu = object ? object->mtu : xpc_dictionary_get_uint64(description, vmnet_mtu_key);
    int has_header = xpc_dictionary_get_bool(description, vmnet_enable_virtio_header_key);
    // The two are not to be combined.
    if (has_header && xpc_dictionary_get_bool(description, vmnet_enable_checksum_offload_key))
        return VMNET_INVALID_ARGUMENT;
    if (has_header && object && it->settings.object_refuses_header) return VMNET_INVALID_ARGUMENT;
    if (it->settings.mtu_limit && mtu > it->settings.mtu_limit) return VMNET_INVALID_ARGUMENT;
    it->header = has_header ? 12 : 0;
    uint32_t start = it->mode == VMNET_HOST_MODE ? 0xc0a88001 : 0xc0a84001, end = start + 253, mask = 0xffffff00;
    if (it->mode < VMNET_HOST_MODE || it->mode > VMNET_BRIDGED_MODE) return VMNET_INVALID_ARGUMENT;
    if (object) {
        start = object->start, mask = object->mask, end = (start | ~mask) - 1;
        if (start == (start & mask)) {
            // The network's own address was taken; according to bug reports nothing works then.
            if (!it->settings.object_takes_network) return VMNET_FAILURE;
            start++;
        }
    } else if (it->mode == VMNET_BRIDGED_MODE) {
        const char *name = xpc_dictionary_get_string(description, vmnet_shared_interface_name_key);
        if (!name || strcmp(name, "en0") != 0 || mtu) return VMNET_INVALID_ARGUMENT;
    } else {
        int given = parse(description, vmnet_start_address_key, &start) +
            parse(description, vmnet_end_address_key, &end) + parse(description, vmnet_subnet_mask_key, &mask);
        if (given != 0 && given != 3) return VMNET_INVALID_ARGUMENT;
        if (!is_private(start)) return VMNET_FAILURE;
    }
    int has_segments = xpc_dictionary_get_bool(description, vmnet_enable_tso_key);
    vmnet_return_t status = network_join(it, start, end, mask, has_segments, object);
    if (status != VMNET_SUCCESS) return status;
    if (xpc_dictionary_get_uuid(description, vmnet_network_identifier_key)) it->network->host.without_dhcp = 1;
    if (!mtu) mtu = 1500;
    // With TSO a segment of 64 KiB after an Ethernet header; whether the virtio header counts is not documented.
    size_t longest = has_segments ? 65550 : (size_t)mtu + 14;
    it->maximum = longest + (it->settings.header_inside ? 0 : it->header);
    xpc_dictionary_set_uint64(result, vmnet_mtu_key, mtu);
    xpc_dictionary_set_uint64(result, vmnet_max_packet_size_key, longest);
    if (xpc_dictionary_get_bool(description, vmnet_allocate_mac_address_key))
        xpc_dictionary_set_string(result, vmnet_mac_address_key, "3e:22:fb:00:01:01");
    const uint8_t *id = xpc_dictionary_get_uuid(description, vmnet_interface_id_key);
    xpc_dictionary_set_uuid(result, vmnet_interface_id_key, id ? id : (const uint8_t *)"0123456789abcdef");
    if (it->mode != VMNET_BRIDGED_MODE && !object && !it->settings.hides_addresses) {
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

/// Starts that failed because the service was not registered; under simulator_mutex.
static uint32_t unregistered_starts;

int vmnet_service_is_registered(void) {
    pthread_mutex_lock(&simulator_mutex);
    int is_registered = unregistered_starts >= simulator_settings().unregistered_starts;
    pthread_mutex_unlock(&simulator_mutex);
    return is_registered;
}

interface_ref simulated_start(struct object *object, xpc_object_t description, dispatch_queue_t queue,
    vmnet_start_interface_completion_handler_t handler) {
    pthread_mutex_lock(&simulator_mutex);
    struct vmnet_simulator_settings settings = simulator_settings();
    if (settings.start_without_handle || (object && settings.object_without_handle)) {
        pthread_mutex_unlock(&simulator_mutex);
        if (settings.start_without_handle == 2)
            dispatch_async(queue,
                ^{ handler(settings.start_status ? (vmnet_return_t)settings.start_status : VMNET_FAILURE, NULL); });
        return NULL;
    }
    struct vmnet_interface *it = calloc(1, sizeof *it);
    it->settings = settings;
    if (!it->settings.batch) it->settings.batch = it->settings.hides_batches ? 200 : 256;
    it->slots = calloc(SLOTS, sizeof *it->slots);
    xpc_object_t result = xpc_dictionary_create(NULL, NULL, 0);
    vmnet_return_t status = it->settings.start_status ? (vmnet_return_t)it->settings.start_status
                                                      : configure(it, object, description, result);
    if (unregistered_starts < settings.unregistered_starts) {
        unregistered_starts++;
        status = VMNET_FAILURE;
    } else if (settings.unregistered_starts == 0) {
        unregistered_starts = 0;
    }
    int place = 0;
    while (place < INTERFACES && interfaces[place]) place++;
    if (status == VMNET_SUCCESS && place == INTERFACES) status = VMNET_FAILURE;
    if (status == VMNET_SUCCESS) interfaces[place] = it;
    pthread_mutex_unlock(&simulator_mutex);
    int is_silent = it->settings.start_silent;
    // Never before this has returned.
    dispatch_after(dispatch_time(DISPATCH_TIME_NOW, (int64_t)it->settings.start_delay * 1000000 + 100000), queue, ^{
      pthread_mutex_lock(&simulator_mutex);
      it->is_started = status == VMNET_SUCCESS;
      if (it->is_started && it->settings.early_frames) deliver_early(it);
      pthread_mutex_unlock(&simulator_mutex);
      if (!is_silent) handler(status, status == VMNET_SUCCESS ? result : NULL);
      xpc_release(result);
    });
    return it;
}

interface_ref vmnet_start_interface(
    xpc_object_t description, dispatch_queue_t queue, vmnet_start_interface_completion_handler_t handler) {
    return simulated_start(NULL, description, queue, handler);
}

vmnet_return_t vmnet_stop_interface(
    interface_ref it, dispatch_queue_t queue, vmnet_interface_completion_handler_t handler) {
    pthread_mutex_lock(&simulator_mutex);
    if (it->is_stopped) {
        pthread_mutex_unlock(&simulator_mutex);
        return VMNET_INVALID_ARGUMENT;
    }
    it->is_stopped = 1;
    simulated_rules_remove(it);
    network_leave(it);
    for (int i = 0; i < INTERFACES; i++) {
        if (interfaces[i] == it) interfaces[i] = NULL;
    }
    int is_silent = it->settings.stop_silent;
    vmnet_return_t status = it->settings.stop_status ? (vmnet_return_t)it->settings.stop_status : VMNET_SUCCESS;
    pthread_mutex_unlock(&simulator_mutex);
    if (status != VMNET_SUCCESS) return status;
    dispatch_async(queue, ^{
      // The interface itself stays for good: a read may be under way, and a test may use it after its end.
      if (!is_silent) handler(VMNET_SUCCESS);
    });
    return VMNET_SUCCESS;
}

vmnet_return_t vmnet_interface_set_event_callback(
    interface_ref it, interface_event_t mask, dispatch_queue_t queue, vmnet_interface_event_callback_t callback) {
    if ((queue == NULL) != (callback == NULL) || mask != VMNET_INTERFACE_PACKETS_AVAILABLE)
        return VMNET_INVALID_ARGUMENT;
    pthread_mutex_lock(&simulator_mutex);
    it->queue = queue;
    it->callback = callback ? Block_copy(callback) : NULL;
    if (it->settings.spurious_events || (it->count > 0 && !it->settings.early_frames)) fire(it);
    pthread_mutex_unlock(&simulator_mutex);
    return VMNET_SUCCESS;
}

xpc_object_t vmnet_copy_shared_interface_list(void) {
    xpc_object_t list = xpc_dictionary_create(NULL, NULL, 0);
    xpc_dictionary_set_string(list, "0", "en1");
    xpc_dictionary_set_string(list, "1", "en0");
    return list;
}
