// SPDX-License-Identifier: Apache-2.0
// Starting and stopping interfaces. CVmnet is the only code that calls vmnet.framework, XPC and dispatch.
//
// Keys and functions that macOS 13 lacks are looked up when they are needed. No memory is allocated for a frame:
// descriptors are made once.
#include "CVmnet.h"

#include <dispatch/dispatch.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

const char *optional_key(const char *symbol) {
    const char **value = (const char **)vmnet_lookup(symbol);
    return value ? *value : NULL;
}

static void copy_string(char *to, size_t capacity, xpc_object_t from, const char *name) {
    const char *value = xpc_dictionary_get_string(from, name);
    if (value) strncpy(to, value, capacity - 1);
}

static int batch(xpc_object_t from, const char *symbol) {
    const char *name = optional_key(symbol);
    uint64_t value = name ? xpc_dictionary_get_uint64(from, name) : 0;
    if (value == 0) return DEFAULT_BATCH;
    return value > MAXIMUM_BATCH ? MAXIMUM_BATCH : (int)value;
}

static void copy_parameters(struct cvmnet_parameters *to, xpc_object_t from) {
    copy_string(to->mac, sizeof to->mac, from, vmnet_mac_address_key);
    copy_string(to->start_address, sizeof to->start_address, from, vmnet_start_address_key);
    copy_string(to->end_address, sizeof to->end_address, from, vmnet_end_address_key);
    copy_string(to->subnet_mask, sizeof to->subnet_mask, from, vmnet_subnet_mask_key);
    copy_string(to->nat66_prefix, sizeof to->nat66_prefix, from, vmnet_nat66_prefix_key);
    const uint8_t *id = xpc_dictionary_get_uuid(from, vmnet_interface_id_key);
    if (id) memcpy(to->interface_id, id, 16);
    to->mtu = xpc_dictionary_get_uint64(from, vmnet_mtu_key);
    to->maximum_frame = xpc_dictionary_get_uint64(from, vmnet_max_packet_size_key);
    to->read_batch = batch(from, "vmnet_read_max_packets_key");
    to->write_batch = batch(from, "vmnet_write_max_packets_key");
}

static void set_string(xpc_object_t description, const char *name, const char *value) {
    if (value) xpc_dictionary_set_string(description, name, value);
}

int cvmnet_service_is_registered(void) { return vmnet_service_is_registered(); }

int cvmnet_has_virtio_header(void) { return optional_key("vmnet_enable_virtio_header_key") != NULL; }

/// The options of every kind of start.
static xpc_object_t describe(const struct cvmnet_options *options) {
    xpc_object_t description = xpc_dictionary_create(NULL, NULL, 0);
    // A switch carries many addresses: none of the system's making is needed, unless one is to be the same every time.
    xpc_dictionary_set_bool(description, vmnet_allocate_mac_address_key, options->interface_id != NULL);
    if (options->offload != CVMNET_NO_OFFLOAD) xpc_dictionary_set_bool(description, vmnet_enable_tso_key, true);
    // The two must not be combined.
    const char *layout = optional_key(options->offload == CVMNET_VIRTIO_OFFLOAD ? "vmnet_enable_virtio_header_key"
                                                                                : "vmnet_enable_checksum_offload_key");
    if (options->offload != CVMNET_NO_OFFLOAD && layout) xpc_dictionary_set_bool(description, layout, true);
    // Always set: without it, some systems create a new network for each interface.
    if (options->mode != VMNET_BRIDGED_MODE)
        xpc_dictionary_set_bool(description, vmnet_enable_isolation_key, options->isolation != 0);
    return description;
}

/// The description of a network without a network object.
static void describe_network(const struct cvmnet_options *options, xpc_object_t description) {
    xpc_dictionary_set_uint64(description, vmnet_operation_mode_key, options->mode);
    if (options->interface_id) xpc_dictionary_set_uuid(description, vmnet_interface_id_key, options->interface_id);
    if (options->mode == VMNET_BRIDGED_MODE) {
        set_string(description, vmnet_shared_interface_name_key, options->interface);
        return;
    }
    set_string(description, vmnet_start_address_key, options->start_address);
    set_string(description, vmnet_end_address_key, options->end_address);
    set_string(description, vmnet_subnet_mask_key, options->subnet_mask);
    set_string(description, vmnet_nat66_prefix_key, options->nat66_prefix);
    if (options->mtu) xpc_dictionary_set_uint64(description, vmnet_mtu_key, options->mtu);
    if (options->network_id) xpc_dictionary_set_uuid(description, vmnet_network_identifier_key, options->network_id);
}

static vmnet_return_t enable_events(struct cvmnet *it, int wakeup) {
    vmnet_return_t status = vmnet_interface_set_event_callback(
        it->interface, VMNET_INTERFACE_PACKETS_AVAILABLE, it->events, ^(interface_event_t mask, xpc_object_t event) {
          // The event's frame count is an estimate and ignored: the reader reads until there are no more frames.
          (void)mask, (void)event;
          (void)!write(wakeup, &(uint64_t){1}, 8);
        });
    // For frames that arrived before the callback was set.
    (void)!write(wakeup, &(uint64_t){1}, 8);
    return status;
}

static void destroy(struct cvmnet *it) {
    dispatch_release(it->events);
    dispatch_release(it->control);
    free(it);
}

/// Stops an interface whose caller has given up waiting.
static void discard(struct cvmnet *it, vmnet_return_t status) {
    if (status != VMNET_SUCCESS) return destroy(it);
    vmnet_return_t stopping = vmnet_stop_interface(it->interface, it->control, ^(vmnet_return_t outcome) {
      (void)outcome;
      destroy(it);
    });
    if (stopping != VMNET_SUCCESS) destroy(it);
}

/// The handler of a start: passes the interface to the waiter, or stops it if the waiter has given up.
static void started(
    struct cvmnet *it, struct answer *answer, vmnet_return_t status, xpc_object_t result, void *network) {
    if (status == VMNET_SUCCESS && result) copy_parameters(&answer->parameters, result);
    if (status == VMNET_SUCCESS && network) network_describe(network, &answer->parameters);
    answer->status = status;
    int is_awaited = answer_claim(answer, ANSWERED),
        is_abandoned = !is_awaited && atomic_load(&answer->state) == ABANDONED;
    // From here on the interface keeps it.
    if (network && (is_awaited || is_abandoned)) network_release(network);
    if (is_awaited) dispatch_semaphore_signal(answer->done);
    if (is_abandoned) discard(it, status);
    answer_release(answer);
}

/// Makes the network and starts the interface there, on the control queue: either may hang.
static void start_on_network(
    struct cvmnet *it, struct answer *answer, struct network_request *request, xpc_object_t description) {
    vmnet_return_t status = VMNET_FAILURE;
    void *network = network_create(request, &status);
    network_request_free(request);
    if (network && atomic_load(&answer->state) != ABANDONED) {
        it->interface = network_start_interface(network, description, it->control,
            ^(vmnet_return_t outcome, xpc_object_t result) { started(it, answer, outcome, result, network); });
        xpc_release(description);
        // Without a handle the handler may not be called. If it is, it finds the start completed.
        if (!it->interface && answer_claim(answer, ANSWERED)) {
            answer->status = VMNET_FAILURE;
            network_release(network);
            dispatch_semaphore_signal(answer->done);
        }
        return;
    }
    xpc_release(description);
    if (network) network_release(network);
    started(it, answer, network || status == VMNET_SUCCESS ? VMNET_FAILURE : status, NULL, NULL);
}

/// Begins a start. Returns whether its handler will be called.
static int begin_start(
    struct cvmnet *it, struct answer *answer, const struct cvmnet_options *options, struct network_request *request) {
    xpc_object_t description = describe(options);
    if (request) {
        dispatch_async(it->control, ^{ start_on_network(it, answer, request, description); });
        return 1;
    }
    describe_network(options, description);
    it->interface = vmnet_start_interface(description, it->control,
        ^(vmnet_return_t status, xpc_object_t result) { started(it, answer, status, result, NULL); });
    xpc_release(description);
    return it->interface != NULL;
}

/// Starts and waits. `it` is destroyed where that fails, now or when the framework answers at last.
static int start_interface(
    struct cvmnet *it, const struct cvmnet_options *options, uint64_t timeout, struct cvmnet_parameters *parameters) {
    struct network_request *request = NULL;
    if (options->network_object) {
        vmnet_return_t status;
        request = network_request_create(options, &status, &parameters->failed_rule);
        if (!request) return destroy(it), (int)status;
    }
    struct answer *answer = answer_create();
    if (!answer) {
        if (request) network_request_free(request);
        return destroy(it), -ENOMEM;
    }
    int has_handler = begin_start(it, answer, options, request);
    // Without a handle the handler may or may not be called: wait for it briefly.
    int error = answer_wait(answer, has_handler ? timeout : timeout / 10);
    if (error == -ETIMEDOUT && has_handler && !answer_claim(answer, ABANDONED)) error = 0;
    if (error == 0 && answer->status != VMNET_SUCCESS) error = (int)answer->status;
    if (!has_handler && error <= 0) error = (int)VMNET_FAILURE;
    if (error == 0) {
        int failed_rule = parameters->failed_rule;
        *parameters = answer->parameters;
        parameters->failed_rule = failed_rule;
    }
    answer_release(answer);
    // One that did not answer in time is the handler's to clean up, if it ever runs.
    if (error && error != -ETIMEDOUT) destroy(it);
    return error;
}

int cvmnet_start(const struct cvmnet_options *options, int wakeup, uint64_t timeout, struct cvmnet **interface,
    struct cvmnet_parameters *parameters) {
    *parameters = (struct cvmnet_parameters){.failed_rule = -1};
    if (options->offload == CVMNET_VIRTIO_OFFLOAD && !cvmnet_has_virtio_header()) return -ENOTSUP;
    if (options->network_object && !cvmnet_has_network_objects()) return -ENOTSUP;
    struct cvmnet *it = calloc(1, sizeof *it);
    if (!it) return -ENOMEM;
    it->control = dispatch_queue_create("vde_vmnet.control", DISPATCH_QUEUE_SERIAL);
    it->events = dispatch_queue_create("vde_vmnet.events", DISPATCH_QUEUE_SERIAL);
    int error = start_interface(it, options, timeout, parameters);
    if (error) return error;
    parameters->header = options->offload == CVMNET_VIRTIO_OFFLOAD ? VIRTIO_HEADER : 0;
    // If the system reports no size, or an invalid one, use the maximum.
    it->room = parameters->maximum_frame - 1 < 1 << 20 ? (size_t)parameters->maximum_frame + SPARE_ROOM : SIZE_MAX;
    it->read_batch = parameters->read_batch;
    it->write_batch = parameters->write_batch;
    for (int i = 0; i < MAXIMUM_BATCH; i++) it->writes[i].vm_pkt_iov = &it->write_pieces[i];
    // An object has its rules already.
    if (!options->network_object) error = rules_add(it, options, timeout, &parameters->failed_rule);
    if (!error) {
        vmnet_return_t status = enable_events(it, wakeup);
        error = status == VMNET_SUCCESS ? 0 : (int)status;
    }
    if (error) {
        cvmnet_stop(it, timeout);
        return error;
    }
    *interface = it;
    return 0;
}

int cvmnet_stop(struct cvmnet *it, uint64_t timeout) {
    vmnet_interface_set_event_callback(it->interface, VMNET_INTERFACE_PACKETS_AVAILABLE, NULL, NULL);
    // One that is running ends before this does.
    dispatch_sync(it->events, ^{});
    struct answer *answer = answer_create();
    if (!answer) return -ENOMEM;
    vmnet_return_t status =
        vmnet_stop_interface(it->interface, it->control, ^(vmnet_return_t outcome) { answer_give(answer, outcome); });
    // No handler will come.
    if (status != VMNET_SUCCESS) answer_give(answer, status);
    int error = answer_wait(answer, timeout);
    if (status != VMNET_SUCCESS) error = (int)status;
    answer_release(answer);
    destroy(it);
    return error;
}

int cvmnet_bridgeable(char *names, size_t capacity) {
    xpc_object_t list = vmnet_copy_shared_interface_list();
    size_t used = 0;
    int count = 0;
    if (capacity == 0) return -EINVAL;
    if (list) {
        size_t total = xpc_array_get_count(list);
        for (size_t i = 0; i < total; i++) {
            const char *name = xpc_array_get_string(list, i);
            size_t length = name ? strlen(name) + 1 : 0;
            if (length < 2 || used + length + 1 > capacity) continue;
            memcpy(names + used, name, length);
            used += length;
            count++;
        }
        xpc_release(list);
    }
    names[used] = 0;
    return count;
}
