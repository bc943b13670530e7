// SPDX-License-Identifier: Apache-2.0
//
// A C interface to vmnet.framework without blocks, XPC and dispatch. The same code is compiled on macOS against the
// framework, and on Linux against VmnetSimulator.
//
// Functions that can fail return 0, a negative errno, or a vmnet status above 1000 as a positive number.
#ifndef CVMNET_H
#define CVMNET_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum { CVMNET_HOST = 1000, CVMNET_SHARED = 1001, CVMNET_BRIDGED = 1002 };

/// How GSO frames of up to 64 KiB are exchanged: not at all; without a header, with checksums that the framework fills
/// in (macOS 12); or after a virtio header of 12 bytes, which every frame has then (macOS 15.4).
enum { CVMNET_NO_OFFLOAD = 0, CVMNET_PLAIN_OFFLOAD = 1, CVMNET_VIRTIO_OFFLOAD = 2 };

/// An address that bootpd reserves for one client.
struct cvmnet_reservation {
    uint8_t mac[6];
    uint8_t address[4];
};

/// A port of the Mac that is forwarded to a guest.
struct cvmnet_rule {
    /// IPPROTO_TCP or IPPROTO_UDP.
    uint8_t protocol;
    uint8_t address[4];
    /// Host byte order.
    uint16_t external_port, internal_port;
};

/// The options of a start. For strings that are NULL and numbers that are 0 the system chooses.
struct cvmnet_options {
    uint32_t mode;
    /// The physical interface, for bridged.
    const char *interface;
    /// The gateway, the last address for guests, and the mask: all or none, for shared and host.
    const char *start_address;
    const char *end_address;
    const char *subnet_mask;
    const char *nat66_prefix;
    /// The MTU, for shared and host.
    uint64_t mtu;
    /// The same identifier gives the same hardware address in every run.
    const uint8_t *interface_id;
    /// Names an isolated network without DHCP, for host mode.
    const uint8_t *network_id;
    /// Guests of different interfaces do not reach each other.
    int isolation;
    /// One of CVMNET_..._OFFLOAD.
    int offload;
    /// Rules for shared mode, which hold as long as the interface.
    const struct cvmnet_rule *rules;
    int rule_count;
    /// The network is an object of this program's (macOS 26), for what comes next: no other program joins it, and its
    /// gateway is the first address of the network.
    int network_object;
    /// The physical interface to the outside, for shared mode.
    const char *external_interface;
    /// bootpd gives no addresses.
    int without_dhcp;
    const struct cvmnet_reservation *reservations;
    int reservation_count;
};

/// The properties of a started interface.
struct cvmnet_parameters {
    char mac[18];
    char start_address[46];
    char end_address[46];
    char subnet_mask[46];
    char nat66_prefix[46];
    uint8_t interface_id[16];
    uint64_t mtu;
    /// Bytes of the longest frame, and of every buffer to read into.
    uint64_t maximum_frame;
    /// Frames in one call.
    int read_batch;
    int write_batch;
    /// Bytes of the header before every frame: 0 or 12.
    int header;
    /// After a start that failed: the rule that was at fault, or -1.
    int failed_rule;
};

struct cvmnet;

/// Starts an interface and waits for it, `timeout` nanoseconds at most (-ETIMEDOUT). `wakeup` is written to (8 bytes
/// that count one, as for an eventfd) whenever frames may have come; it stays the caller's, who closes it after
/// `cvmnet_stop`.
int cvmnet_start(const struct cvmnet_options *options, int wakeup, uint64_t timeout, struct cvmnet **interface,
    struct cvmnet_parameters *parameters);
/// Stops and frees it. Nothing is written to the wake-up any more afterwards. -ETIMEDOUT if the system did not confirm
/// in time.
int cvmnet_stop(struct cvmnet *interface, uint64_t timeout);
/// Reads up to `count` frames without waiting: `iov_len` is a buffer's room, and the frame's length afterwards. Returns
/// how many, or a negative errno or status. One thread at a time.
int cvmnet_receive(void *interface, struct iovec *frames, int count);
/// Writes up to `count` frames, the first bytes of every `stride`th element of `frames`. Returns how many were taken,
/// or a negative errno or status if none was: -ENOBUFS for a moment's lack of room, -EMSGSIZE if the first frame is one
/// that vmnet does not take. One thread at a time, which may be another than the reader's.
int cvmnet_send(void *interface, const struct iovec *frames, int stride, int count);
/// Whether this system's framework has virtio headers.
int cvmnet_has_virtio_header(void);
/// Whether it has network objects.
int cvmnet_has_network_objects(void);
/// Whether the service that vmnet.framework calls is registered. Early at boot it is not, and starts fail.
int cvmnet_service_is_registered(void);
/// The physical interfaces that can be bridged, each ended by a zero byte, an empty one at the end. Returns how many
/// there are.
int cvmnet_bridgeable(char *names, size_t capacity);

#endif
