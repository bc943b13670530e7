// SPDX-License-Identifier: Apache-2.0
//
// vmnet.framework without blocks, XPC and dispatch: what Swift and the forwarder need of it. Compiled as it is on a Mac, and on Linux
// against VmnetSimulator.
//
// Functions that can fail return 0, a negative errno, or a vmnet status above 1000 as a positive number.
#ifndef CVMNET_H
#define CVMNET_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum { CVMNET_HOST = 1000, CVMNET_SHARED = 1001, CVMNET_BRIDGED = 1002 };

/// What to start. Strings that are NULL and numbers that are 0 are left to the system.
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
    /// Names a network of its own without DHCP, for host.
    const uint8_t *network_id;
    /// Guests of different interfaces do not reach each other.
    int isolation;
    /// Every frame has a virtio header of 12 bytes in front, and TCP segments of up to 64 KiB come and go in one piece (macOS 15.4).
    int virtio_header;
};

/// What was started.
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
    /// Bytes of the header in front of every frame: 0 or 12.
    int header;
};

struct cvmnet;

/// Starts an interface and waits for it, `timeout` nanoseconds at most (-ETIMEDOUT). `wakeup` is written to (8 bytes that count one, as for
/// an eventfd) whenever frames may have come; it stays the caller's, who closes it after `cvmnet_stop`.
int cvmnet_start(const struct cvmnet_options *options, int wakeup, uint64_t timeout, struct cvmnet **interface, struct cvmnet_parameters *parameters);
/// Stops and frees it. Nothing is written to the wake-up any more afterwards. -ETIMEDOUT if the system did not say so in time.
int cvmnet_stop(struct cvmnet *interface, uint64_t timeout);
/// Reads up to `count` frames without waiting: `iov_len` is a buffer's room, and the frame's length afterwards. Returns how many, or a
/// negative errno or status. One thread at a time.
int cvmnet_receive(void *interface, struct iovec *frames, int count);
/// Writes up to `count` frames, the first bytes of every `stride`th element of `frames`. Returns how many were taken, or a negative errno
/// or status if none was: -ENOBUFS for a moment's lack of room, -EMSGSIZE if the first frame is one that vmnet does not take. One thread at a time, which may be another than the reader's.
int cvmnet_send(void *interface, const struct iovec *frames, int stride, int count);
/// Whether this system's framework has virtio headers.
int cvmnet_has_virtio_header(void);
/// The physical interfaces that can be bridged, each ended by a zero byte, an empty one at the end. Returns how many there are.
int cvmnet_bridgeable(char *names, size_t capacity);

#endif
