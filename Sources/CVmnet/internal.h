// SPDX-License-Identifier: Apache-2.0
// Declarations shared by the files of CVmnet.
#ifndef CVMNET_INTERNAL_H
#define CVMNET_INTERNAL_H

#include <dispatch/dispatch.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <vmnet/vmnet.h>
#include <xpc/xpc.h>

#include "CVmnet.h"
#include "CVmnetAPI.h"

/// Frames in one call if the system does not report the number (documented: 200 frames and 256 KiB).
enum { DEFAULT_BATCH = 200, MAXIMUM_BATCH = 256, MAXIMUM_WRITE = 256 * 1024 };

/// Room to read into in one call, in bytes: as much as other programs are known to offer, 16 of the longest
/// frames. Each frame has SPARE_ROOM more than its reported maximum, because it is not documented whether a header or a
/// tag counts.
enum { MAXIMUM_READ = 16 * (65550 + 76), SPARE_ROOM = 76 };

/// Bytes of a virtio header, and of the least frame of Ethernet without its FCS (IEEE 802.3).
enum { VIRTIO_HEADER = 12, MINIMUM_FRAME = 60 };

struct cvmnet {
    interface_ref interface;
    /// Handlers of start and stop. Not the queue of the events: a handler must not wait behind one.
    dispatch_queue_t control;
    dispatch_queue_t events;
    /// Bytes that are offered for each frame to read.
    size_t room;
    int read_batch, write_batch;
    struct vmpktdesc reads[MAXIMUM_BATCH], writes[MAXIMUM_BATCH];
    struct iovec read_pieces[MAXIMUM_BATCH], write_pieces[MAXIMUM_BATCH];
    /// The least frame of Ethernet, after a virtio header.
    uint8_t padded[VIRTIO_HEADER + MINIMUM_FRAME];
};

/// State shared by a handler and its waiter, reference counted, because the framework may answer late or never.
struct answer {
    dispatch_semaphore_t done;
    atomic_int holders;
    /// Which came first, the answer or the timeout.
    atomic_int state;
    vmnet_return_t status;
    struct cvmnet_parameters parameters;
};

enum { WAITING, ANSWERED, ABANDONED };

/// Creates one with two references: the handler's and the waiter's.
struct answer *answer_create(void);
void answer_release(struct answer *answer);
/// 0 or -ETIMEDOUT.
int answer_wait(struct answer *answer, uint64_t timeout);
/// True for the first caller.
int answer_claim(struct answer *answer, int state);
/// Passes a status to the waiter, if it still waits, and drops a reference.
void answer_give(struct answer *answer, vmnet_return_t status);

/// The value of a key that this system may lack; NULL without it.
const char *optional_key(const char *symbol);

/// A network object, made in two steps, of which only the second calls the system.
struct network_request;

/// What `options` require of a network object. NULL with a status where the system does not take it.
struct network_request *network_request_create(
    const struct cvmnet_options *options, vmnet_return_t *status, int *failed_rule);
/// Makes the network. May hang. NULL with a status.
void *network_create(struct network_request *request, vmnet_return_t *status);
void network_request_free(struct network_request *request);
void network_release(void *network);
interface_ref network_start_interface(void *network, xpc_object_t description, dispatch_queue_t queue,
    vmnet_start_interface_completion_handler_t handler);
/// The addresses of a network, which an interface on it does not report.
void network_describe(void *network, struct cvmnet_parameters *parameters);

/// Adds the rules of `options`. 0, a negative errno or a status; the one at fault is in `failed_rule`.
int rules_add(struct cvmnet *it, const struct cvmnet_options *options, uint64_t timeout, int *failed_rule);

#endif
