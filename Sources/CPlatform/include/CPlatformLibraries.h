// SPDX-License-Identifier: Apache-2.0
// The build, logged packets, tracked connections, and libraries that are loaded at run time and are not needed to
// build. Part of CPlatform.h.
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

// ---- Connections that the kernel tracks (linux/conntrack.c)
// ----------------------------------------------------------------------

/// The addresses with the same first `length` bits, of 128; IPv4 as ::ffff:a.b.c.d.
struct platform_prefix {
    uint8_t address[16];
    uint8_t length;
};
/// Removes the entries of connection tracking in which a source of a direction has one of the prefixes and, if
/// `first_label` is not negative, that have one of the labels up to `last_label`, which is below 128. Returns how many,
/// or -errno.
int platform_conntrack_remove(const struct platform_prefix *sources, int count, int first_label, int last_label);

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
