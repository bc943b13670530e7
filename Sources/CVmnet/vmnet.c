// SPDX-License-Identifier: Apache-2.0
// The only code that speaks to vmnet.framework, XPC and dispatch.
//
// Keys that macOS 13 lacks are looked up when they are needed. No memory is allocated for a frame: descriptors are made once. What a
// handler writes to lives until the last of handler and waiter has let go of it, since the framework may answer late or never.
#include "CVmnet.h"

#include <dispatch/dispatch.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <vmnet/vmnet.h>
#include <xpc/xpc.h>

/// Frames in one call where the system does not say (documented: 200 frames and 256 KiB).
enum { DEFAULT_BATCH = 200, MAXIMUM_BATCH = 256, MAXIMUM_WRITE = 256 * 1024 };

struct cvmnet {
    interface_ref interface;
    /// Handlers of start and stop. Not the queue of the events: a handler must not wait behind one.
    dispatch_queue_t control;
    dispatch_queue_t events;
    size_t maximum_frame;
    int read_batch, write_batch;
    struct vmpktdesc reads[MAXIMUM_BATCH], writes[MAXIMUM_BATCH];
    struct iovec write_pieces[MAXIMUM_BATCH];
    /// The least frame of Ethernet, behind a virtio header.
    uint8_t padded[12 + 60];
};

/// What a handler and its waiter share.
struct answer {
    dispatch_semaphore_t done;
    atomic_int holders;
    /// Which came first, the answer or the end of patience.
    atomic_int state;
    vmnet_return_t status;
    struct cvmnet_parameters parameters;
};

static struct answer *answer_create(void) {
    struct answer *answer = calloc(1, sizeof *answer);
    if (!answer) return NULL;
    answer->done = dispatch_semaphore_create(0);
    atomic_init(&answer->holders, 2);
    return answer;
}

static void answer_release(struct answer *answer) {
    if (atomic_fetch_sub(&answer->holders, 1) > 1) return;
    dispatch_release(answer->done);
    free(answer);
}

static int answer_wait(struct answer *answer, uint64_t timeout) {
    return dispatch_semaphore_wait(answer->done, dispatch_time(DISPATCH_TIME_NOW, (int64_t)timeout)) == 0 ? 0 : -ETIMEDOUT;
}

enum { WAITING, ANSWERED, ABANDONED };

/// True for the one who comes first.
static int answer_claim(struct answer *answer, int state) {
    int waiting = WAITING;
    return atomic_compare_exchange_strong(&answer->state, &waiting, state);
}

/// The value of a key that this system may lack.
static const char *key(const char *symbol) {
    const char **value = (const char **)dlsym(RTLD_DEFAULT, symbol);
    return value ? *value : NULL;
}

static void copy_string(char *to, size_t capacity, xpc_object_t from, const char *name) {
    const char *value = xpc_dictionary_get_string(from, name);
    if (value) strncpy(to, value, capacity - 1);
}

static int batch(xpc_object_t from, const char *symbol) {
    const char *name = key(symbol);
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

int cvmnet_has_virtio_header(void) { return key("vmnet_enable_virtio_header_key") != NULL; }

static xpc_object_t describe(const struct cvmnet_options *options) {
    xpc_object_t description = xpc_dictionary_create(NULL, NULL, 0);
    xpc_dictionary_set_uint64(description, vmnet_operation_mode_key, options->mode);
    // A switch carries many addresses: none of the system's making is wanted, unless one is to be the same every time.
    xpc_dictionary_set_bool(description, vmnet_allocate_mac_address_key, options->interface_id != NULL);
    if (options->interface_id) xpc_dictionary_set_uuid(description, vmnet_interface_id_key, options->interface_id);
    if (options->virtio_header) {
        xpc_dictionary_set_bool(description, key("vmnet_enable_virtio_header_key"), true);
        xpc_dictionary_set_bool(description, vmnet_enable_tso_key, true);
    }
    if (options->mode == VMNET_BRIDGED_MODE) {
        set_string(description, vmnet_shared_interface_name_key, options->interface);
        return description;
    }
    set_string(description, vmnet_start_address_key, options->start_address);
    set_string(description, vmnet_end_address_key, options->end_address);
    set_string(description, vmnet_subnet_mask_key, options->subnet_mask);
    set_string(description, vmnet_nat66_prefix_key, options->nat66_prefix);
    if (options->mtu) xpc_dictionary_set_uint64(description, vmnet_mtu_key, options->mtu);
    if (options->network_id) xpc_dictionary_set_uuid(description, vmnet_network_identifier_key, options->network_id);
    // Said either way: where it is left out, some systems make a new network for every interface.
    xpc_dictionary_set_bool(description, vmnet_enable_isolation_key, options->isolation != 0);
    return description;
}

static vmnet_return_t enable_events(struct cvmnet *it, int wakeup) {
    vmnet_return_t status = vmnet_interface_set_event_callback(it->interface, VMNET_INTERFACE_PACKETS_AVAILABLE, it->events, ^(interface_event_t mask, xpc_object_t event) {
        // How many there are is an estimate and not looked at: the reader reads until nothing is left.
        (void)mask, (void)event;
        (void)!write(wakeup, &(uint64_t){1}, 8);
    });
    // What has come before.
    (void)!write(wakeup, &(uint64_t){1}, 8);
    return status;
}

static void destroy(struct cvmnet *it) {
    dispatch_release(it->events);
    dispatch_release(it->control);
    free(it);
}

/// An interface for which nobody waits any more.
static void discard(struct cvmnet *it, vmnet_return_t status) {
    if (status != VMNET_SUCCESS) return destroy(it);
    vmnet_return_t stopping = vmnet_stop_interface(it->interface, it->control, ^(vmnet_return_t outcome) {
        (void)outcome;
        destroy(it);
    });
    if (stopping != VMNET_SUCCESS) destroy(it);
}

int cvmnet_start(const struct cvmnet_options *options, int wakeup, uint64_t timeout, struct cvmnet **interface, struct cvmnet_parameters *parameters) {
    if (options->virtio_header && !cvmnet_has_virtio_header()) return -ENOTSUP;
    struct cvmnet *it = calloc(1, sizeof *it);
    struct answer *answer = answer_create();
    if (!it || !answer) {
        free(it);
        free(answer);
        return -ENOMEM;
    }
    it->control = dispatch_queue_create("vde_vmnet.control", DISPATCH_QUEUE_SERIAL);
    it->events = dispatch_queue_create("vde_vmnet.events", DISPATCH_QUEUE_SERIAL);
    xpc_object_t description = describe(options);
    it->interface = vmnet_start_interface(description, it->control, ^(vmnet_return_t status, xpc_object_t result) {
        answer->status = status;
        if (status == VMNET_SUCCESS && result) copy_parameters(&answer->parameters, result);
        if (answer_claim(answer, ANSWERED)) dispatch_semaphore_signal(answer->done);
        else discard(it, status);
        answer_release(answer);
    });
    xpc_release(description);
    // Without a handle the handler may or may not come: it is waited for all the same, but not for long.
    int error = answer_wait(answer, it->interface ? timeout : timeout / 10);
    if (error == -ETIMEDOUT && it->interface && !answer_claim(answer, ABANDONED)) error = 0;
    if (error == 0) error = answer->status == VMNET_SUCCESS ? 0 : (int)answer->status;
    if (!it->interface && error <= 0) error = (int)VMNET_FAILURE;
    if (error == 0) {
        *parameters = answer->parameters;
        parameters->header = options->virtio_header ? 12 : 0;
    }
    answer_release(answer);
    if (error) {
        // One that did not answer in time is the handler's to clean up, if it ever runs.
        if (error != -ETIMEDOUT) destroy(it);
        return error;
    }
    it->maximum_frame = (size_t)parameters->maximum_frame;
    it->read_batch = parameters->read_batch;
    it->write_batch = parameters->write_batch;
    for (int i = 0; i < MAXIMUM_BATCH; i++) it->writes[i].vm_pkt_iov = &it->write_pieces[i];
    vmnet_return_t status = enable_events(it, wakeup);
    if (status != VMNET_SUCCESS) {
        cvmnet_stop(it, timeout);
        return (int)status;
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
    vmnet_return_t status = vmnet_stop_interface(it->interface, it->control, ^(vmnet_return_t outcome) {
        answer->status = outcome;
        dispatch_semaphore_signal(answer->done);
        answer_release(answer);
    });
    int error = 0;
    if (status != VMNET_SUCCESS) {
        // No handler will come.
        answer_release(answer);
        error = (int)status;
    } else {
        error = answer_wait(answer, timeout);
    }
    answer_release(answer);
    destroy(it);
    return error;
}

int cvmnet_receive(void *interface, struct iovec *frames, int count) {
    struct cvmnet *it = interface;
    int limit = count < it->read_batch ? count : it->read_batch;
    for (int i = 0; i < limit; i++) {
        // Sizes are the framework's to change, so all of them are set again each time.
        it->reads[i] = (struct vmpktdesc){.vm_pkt_size = frames[i].iov_len, .vm_pkt_iov = &frames[i], .vm_pkt_iovcnt = 1};
    }
    int filled = limit;
    vmnet_return_t status = vmnet_read(it->interface, it->reads, &filled);
    // A moment's trouble: there will be another event.
    if (status == VMNET_BUFFER_EXHAUSTED || status == VMNET_SETUP_INCOMPLETE) return 0;
    if (status != VMNET_SUCCESS) return -(int)status;
    if (filled < 0 || filled > limit) return -EIO;
    for (int i = 0; i < filled; i++) {
        // Only this tells a frame's length. One that claims more than there was room for is no frame.
        frames[i].iov_len = it->reads[i].vm_pkt_size <= frames[i].iov_len ? it->reads[i].vm_pkt_size : 0;
    }
    return filled;
}

static vmnet_return_t write_one(struct cvmnet *it, const struct iovec *frame, int *written) {
    *written = 1;
    it->write_pieces[0] = *frame;
    it->writes[0].vm_pkt_size = frame->iov_len;
    return vmnet_write(it->interface, it->writes, written);
}

/// Writes one frame of a batch that was refused.
static int send_one(struct cvmnet *it, const struct iovec *frame) {
    int written;
    vmnet_return_t status = write_one(it, frame, &written);
    if (status == VMNET_INVALID_ARGUMENT && frame->iov_len < sizeof it->padded) {
        // Too short for it, or nobody is there any more: at the least length of Ethernet it shows.
        memset(it->padded, 0, sizeof it->padded);
        memcpy(it->padded, frame->iov_base, frame->iov_len);
        status = write_one(it, &(struct iovec){.iov_base = it->padded, .iov_len = sizeof it->padded}, &written);
    }
    switch (status) {
    case VMNET_SUCCESS: return written == 1 ? 0 : -ENOBUFS;
    case VMNET_BUFFER_EXHAUSTED: return -ENOBUFS;
    case VMNET_PACKET_TOO_BIG: return -EMSGSIZE;
    default: return -(int)status;
    }
}

int cvmnet_send(void *interface, const struct iovec *frames, int stride, int count) {
    struct cvmnet *it = interface;
    int sent = 0;
    while (sent < count) {
        int prepared = 0;
        size_t bytes = 0;
        while (sent + prepared < count && prepared < it->write_batch) {
            const struct iovec *frame = &frames[(sent + prepared) * stride];
            if (prepared > 0 && bytes + frame->iov_len > MAXIMUM_WRITE) break;
            bytes += frame->iov_len;
            it->write_pieces[prepared] = *frame;
            it->writes[prepared].vm_pkt_size = frame->iov_len;
            it->writes[prepared].vm_pkt_iovcnt = 1;
            it->writes[prepared].vm_flags = 0;
            prepared++;
        }
        int written = prepared;
        vmnet_return_t status = vmnet_write(it->interface, it->writes, &written);
        if (written < 0 || written > prepared) written = 0;
        if (status == VMNET_SUCCESS) {
            // Fewer than there were, without an error: there was no room for the rest.
            sent += written;
            if (written < prepared) return sent > 0 ? sent : -ENOBUFS;
            continue;
        }
        // Some may have been taken all the same; all of them means that the number was not touched.
        if (written > 0 && written < prepared) return sent + written;
        // Where one of them is at fault, the others are not to suffer for it.
        int error = status == VMNET_BUFFER_EXHAUSTED ? -ENOBUFS : send_one(it, &frames[sent * stride]);
        if (error) return sent > 0 ? sent : error;
        sent++;
    }
    return sent;
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
