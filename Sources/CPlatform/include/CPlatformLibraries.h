// SPDX-License-Identifier: Apache-2.0
// The build, logged packets, and libraries that are loaded at run time and are not needed to build. Part of
// CPlatform.h.
#ifndef CPLATFORM_LIBRARIES_H
#define CPLATFORM_LIBRARIES_H

#include <stddef.h>
#include <stdint.h>

// ---- The build (posix/build.c)
// ----------------------------------------------------------------------

/// The commit that the program was built from, with `-modified` if files differed from it; empty if it is not known.
const char *platform_commit(void);

// ---- nftables by libnftables, found at run time (posix/nftables.c)
// ----------------------------------------------------------------------

struct platform_nftables;
/// Loads the library and opens its netlink socket, which children do not inherit. -ENOENT without the library or with
/// an unknown interface version, -EPERM and others if the kernel refuses the socket.
int platform_nftables_open(struct platform_nftables **nftables);
/// Executes commands in the syntax of nft(8), all or none. Returns -EINVAL if they were refused. `*output` and `*error`
/// are what nft would print, valid until the next call.
int platform_nftables_run(
    struct platform_nftables *nftables, const char *commands, const char **output, const char **error);
/// Closes the socket: the kernel removes the tables that it owns.
void platform_nftables_close(struct platform_nftables *nftables);

// ---- Packets that rules of nftables log (linux/nflog.c)
// ----------------------------------------------------------------------

/// Bytes of a logged packet that are kept: the longest IPv4 header, or an IPv6 header, and the ports.
#define PLATFORM_LOGGED_LENGTH 64
/// The beginning of a packet that a rule of nftables has logged, and the sender's hardware address.
struct platform_logged_packet {
    uint8_t hardware[6];
    uint8_t has_hardware;
    uint32_t length;  // of `bytes`
    uint8_t bytes[PLATFORM_LOGGED_LENGTH];
};
/// Opens a group of NFLOG that no other socket has: rules with `log group GROUP` log to it (Linux). Closed by the
/// caller.
int platform_packet_log_open(uint16_t *group);
/// Receives packets that were logged, without blocking. Returns their number, or -errno; ENOBUFS if some were lost.
int platform_packet_log_receive(int fd, struct platform_logged_packet *packets, int capacity);

// ---- User-mode NAT by libslirp, found at run time (posix/slirp.c)
// ----------------------------------------------------------------------

struct platform_slirp;
struct platform_slirp_options {
    uint32_t network, mask, host;  // host order
    uint8_t prefix[16], host6[16];
    uint8_t prefix_length;  // 0: no IPv6
    uint32_t mtu;           // 68 to 65520
    void *context;
    /// Receives a frame for a guest, called within `platform_slirp_input` and `platform_slirp_run`.
    void (*send)(void *context, const void *frame, size_t length);
};
/// Creates a NAT, for use by one thread at a time. -ENOENT without the library, -ENOTSUP for an unknown version, -EIO
/// if the library fails.
int platform_slirp_open(const struct platform_slirp_options *options, struct platform_slirp **slirp);
/// The version of the library that `platform_slirp_open` would load, such as `4.7.0`; NULL if there is none or if its
/// interface is not known. Valid for ever.
const char *platform_slirp_installed(void);
/// The library's version, such as `4.7.0`.
const char *platform_slirp_version(const struct platform_slirp *slirp);
void platform_slirp_close(struct platform_slirp *slirp);
/// Passes a guest's frame to the library.
void platform_slirp_input(struct platform_slirp *slirp, const void *frame, size_t length);
/// Forwards a port of the host to a port of a guest. Addresses in host order.
int platform_slirp_publish(
    struct platform_slirp *slirp, int is_udp, uint32_t host, uint16_t host_port, uint32_t guest, uint16_t guest_port);
/// Ends that.
int platform_slirp_unpublish(struct platform_slirp *slirp, int is_udp, uint32_t host, uint16_t host_port);
/// Whether the library forwards ports of IPv6: from version 4.5 on.
int platform_slirp_forwards_ipv6(const struct platform_slirp *slirp);
/// Forwards a UDP port of the host to a port of a guest, both by IPv6. Addresses in network order. -ENOSYS if the
/// library does not.
int platform_slirp_publish6(struct platform_slirp *slirp, const uint8_t host[16], uint16_t host_port,
    const uint8_t guest[16], uint16_t guest_port);
/// Ends that.
int platform_slirp_unpublish6(struct platform_slirp *slirp, const uint8_t host[16], uint16_t host_port);
/// Waits up to `timeout` milliseconds (UINT32_MAX: for ever) for its sockets, or for `wakeup` to be readable, and
/// handles socket events and timers. Returns whether `wakeup` was readable.
int platform_slirp_run(struct platform_slirp *slirp, int wakeup, uint32_t timeout);
/// The assumed sizes and offsets of the library's structures in bytes, for a test that compares them with its header.
struct platform_slirp_layout {
    uint32_t callbacks, configuration, network, prefix, host6, mtu, loopback, dns, dhcp, notify, timer;
};
int platform_slirp_layout(struct platform_slirp_layout *layout);

// ---- Filter expressions by libpcap, found at run time (posix/pcap.c)
// ----------------------------------------------------------------------

/// An instruction of the classic BSD packet filter (struct bpf_insn).
struct platform_filter_instruction {
    uint16_t code;
    uint8_t jump_true, jump_false;
    uint32_t constant;
};
/// Compiles an expression of pcap-filter(7) for Ethernet. Returns the number of instructions, up to `capacity`; -ENOENT
/// without the library, -EMSGSIZE for more, -EINVAL with the library's text in `reason` if the expression is wrong.
int platform_pcap_compile(const char *expression, int snap_length, struct platform_filter_instruction *instructions,
    int capacity, char *reason, size_t reason_length);

#endif
