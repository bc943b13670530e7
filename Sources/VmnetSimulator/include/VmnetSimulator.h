// SPDX-License-Identifier: Apache-2.0
//
// vmnet's C API on Linux, with documented behaviour, so that the code that runs on a Mac runs here as well. Settings
// select between the possible variants of uncertain behaviour, and inject every fault.
//
// The other side of a shared or host network is a small host in memory (ARP, ping, DHCP in the way of bootpd), or a TAP
// of the real host, whose addresses and NAT are then the test's to set up. A bridged network has only the hosts behind
// the TAP.
#ifndef VMNET_SIMULATOR_H
#define VMNET_SIMULATOR_H

#include <stdint.h>

struct vmnet_simulator_settings {
    /// The status with which starts end; 0: success.
    uint32_t start_status;
    /// The service behind the framework is registered after so many starts, which fail with 1001.
    uint32_t unregistered_starts;
    /// Starts fail at once, without a handle; 1: and without a call of the handler, 2: with one.
    int start_without_handle;
    /// The handler of a start, or of a stop, is never called.
    int start_silent, stop_silent;
    /// Milliseconds until a start is done.
    uint32_t start_delay;
    /// Events come only when the first frame arrives at an empty queue; else as long as there is one.
    int edge_events;
    /// Events come also when there is nothing.
    int spurious_events;
    /// Frames in one call; 0: 256, and not in the parameters if `hides_batches` is set, as before macOS 15.
    uint32_t batch;
    int hides_batches;
    /// The estimate in events is too high; else it is too low.
    int high_estimates;
    /// The framework is older than macOS 15.4, and has no virtio headers.
    int lacks_virtio_header;
    /// It is older than macOS 26, and has no network objects.
    int lacks_network_objects;
    /// The status with which objects of networks are made, their starts fail, and rules are added; 0: success.
    uint32_t network_status, rule_status;
    /// Milliseconds until an object is made: the call waits.
    uint32_t network_delay;
    /// Starts on an object return no handle, and their handler does not come.
    int object_without_handle;
    /// The handler of a rule is never called.
    int rule_silent;
    /// An object reports the network's address as its subnet; else the address that it was given, the gateway's.
    int masked_subnet;
    /// Bytes of the shortest frame that it takes; 0: 14.
    uint32_t least_frame;
    /// Every nth call of write finds no buffers; 0: none does.
    uint32_t exhausted_every;
    /// Every nth call of write takes only the first frame; 0: none does.
    uint32_t partial_every;
    /// The interface vanishes after so many frames were written: reads and writes fail from then on; 0: it does not.
    uint32_t vanish_after;
    /// The reported maximum frame length includes the virtio header; else the header is not counted.
    int header_inside;
    /// A start in bridged mode fails with 1003 if it sets isolation at all.
    int refuses_bridged_isolation;
    /// A start that does not set isolation gets a separate network, or fails if its range is taken.
    int requires_isolation_set;
    /// The status of reads and writes on an interface that has vanished or was stopped; 0: 1003.
    uint32_t gone_status;
    /// A buffer too short for the longest frame gets what fits; else the read fails with 1003.
    int short_reads;
    /// After so many frames were written, frames are lost in both directions without an error, as after sleep; 0: they
    /// are not.
    uint32_t silent_after;
    /// A frame is queued before the callback is set, and no event reports it.
    int early_frames;
    /// If one frame of a write is invalid, the frames before it are taken and counted; else none is.
    int errors_take_some;
    /// A call that fails leaves the number of frames as it was.
    int errors_keep_count;
    /// Bytes of one call, offered or written; above that it fails with 1008; 0: no limit.
    uint32_t byte_limit;
    /// Frames that wait to be read; 0: 512.
    uint32_t queue_depth;
    /// A read or write while another one is running fails with 1001.
    int exclusive_calls;
    /// IPv4 from addresses that bootpd has not given out is dropped.
    int checks_sources;
    /// Frames with a VLAN tag are dropped.
    int drops_tagged;
    /// The largest MTU that may be requested; 0: any.
    uint32_t mtu_limit;
    /// A start reports neither addresses nor prefix.
    int hides_addresses;
    /// An object that is given its subnet has no DHCP any more.
    int subnet_ends_dhcp;
    /// A start on an object fails with 1003 if it requests virtio headers.
    int object_refuses_header;
    /// An object works whose subnet was given by the network's own address; else starts on it fail.
    int object_takes_network;
    /// What a stop returns; 0: success. Its handler does not come then.
    uint32_t stop_status;
    /// The handler of a rule is called before the call returns.
    int rule_handler_early;
    /// Milliseconds that every read and write takes.
    uint32_t slowness;
    /// Prints forwarding rules to standard error.
    int report;
    /// A TAP of this name in place of the host in memory; empty: none.
    char tap[16];
};

/// The settings for interfaces that are started from now on. The first call of the API takes them from the environment
/// variable VMNET_SIMULATOR instead, if there is one: names and values like
/// `edge_events=1,start_status=1009,tap=bridge100`.
void vmnet_simulator_set(const struct vmnet_simulator_settings *settings);
/// Frames that the interfaces have received, and dropped because their queue was full.
void vmnet_simulator_counters(uint64_t *written, uint64_t *dropped);

/// How many interfaces are started and not stopped.
int vmnet_simulator_interfaces(void);
/// How many objects of networks and of their configurations there are.
int vmnet_simulator_objects(void);

struct vmnet_simulator_rule {
    uint8_t protocol;
    uint16_t external_port, internal_port;
    /// Host byte order.
    uint32_t address;
};

/// The forwarding rules that hold. Returns how many, up to `capacity`.
int vmnet_simulator_rules(struct vmnet_simulator_rule *rules, int capacity);
/// The physical interface through which the last network that was made leads out; empty: the system's choice.
void vmnet_simulator_external_interface(char name[16]);

#endif
