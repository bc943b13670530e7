// SPDX-License-Identifier: Apache-2.0
// Relayed datagrams of UDP and ICMP echo: with the fields of their IP headers, and with the errors that were received
// for them (posix/datagrams.c). Part of CPlatform.h.
#ifndef CPLATFORM_DATAGRAMS_H
#define CPLATFORM_DATAGRAMS_H

#include <stddef.h>
#include <stdint.h>

/// Datagrams in one call at most.
enum { PLATFORM_DATAGRAM_BATCH = 32 };
/// Bytes of the longest datagram of IPv4, without its headers.
enum { PLATFORM_LONGEST_DATAGRAM = 65507 };

/// A datagram, without its headers. A received one may be several of one flow that the system has joined.
struct platform_datagram {
    uint8_t *bytes;
    size_t length;
    struct platform_inet_address peer;   // the remote end
    struct platform_inet_address local;  // this host's end; family 0: unknown, or the system's choice. Without a port
    uint8_t hops;                        // received: TTL or hop limit; 0 if unknown
    uint8_t traffic_class;               // received: DSCP and ECN
    uint8_t is_truncated;                // received
    uint32_t segment;                    // received: bytes of each of several, the last may be shorter; 0 if it is one
};

/// A socket that sends ICMP echo requests without privilege, and receives the replies to its own. -EACCES where
/// net.ipv4.ping_group_range does not include the process's group (Linux).
int platform_echo_socket(int ipv6);
/// Where the ICMP message begins in what such a socket has received.
size_t platform_echo_offset(const void *bytes, size_t length);
/// Makes a datagram socket report hops, traffic class, errors (Linux) and, with `reports_local`, the local address.
void platform_datagram_prepare(int fd, int ipv6, int reports_local);
/// Has the system join datagrams of one flow that it receives, where it can (UDP_GRO). Returns the longest datagram
/// that it sends joined to others (UDP_SEGMENT); 0 where it does not, and for sockets of pings.
uint32_t platform_datagram_join(int fd);
/// Whether a socket of UDP or TCP keeps the errors that it receives for what it has sent (Linux).
void platform_datagram_report_errors(int fd, int ipv6, int is_on);
/// TTL or hop limit, and DSCP with ECN, of what is sent from now on.
void platform_datagram_set_hops(int fd, int ipv6, int hops);
void platform_datagram_set_class(int fd, int ipv6, int traffic_class);
/// Whether datagrams that are longer than the path's MTU are fragmented. Otherwise they are refused with EMSGSIZE, and
/// IPv4 packets have DF.
void platform_datagram_set_fragmentation(int fd, int ipv6, int is_allowed);
/// Receives up to `count` datagrams without blocking into the buffers of `capacity` bytes each. Returns how many, at
/// least 1.
int platform_datagrams_receive(int fd, struct platform_datagram *datagrams, unsigned count, size_t capacity);
/// Sends up to `count` datagrams without blocking. Returns how many were taken, at least 1; the error of the next one
/// comes with the next call. A pending error of the socket comes before. Datagrams of one flow that lie one after the
/// other and are equally long, up to `longest_segment` bytes, are passed to the system as one. Where it refuses that,
/// they go one by one, and `longest_segment` is lowered so that the next ones do at once.
int platform_datagrams_send(
    int fd, const struct platform_datagram *datagrams, unsigned count, uint32_t *longest_segment);

/// An error that was received for a datagram, or that this host has found.
struct platform_datagram_error {
    int32_t code;    // positive errno
    uint8_t family;  // 4: ICMP; 6: ICMPv6; 0: of this host
    uint8_t type;    // of the ICMP message
    uint8_t icmp_code;
    uint32_t mtu;                         // of the path, if the datagram was too long for it; otherwise 0
    struct platform_inet_address peer;    // where the datagram was sent
    struct platform_inet_address sender;  // of the ICMP message; family 0 if unknown
};
/// Takes the oldest error of a socket, and the start of the datagram after its UDP header: up to `capacity` bytes.
/// Returns their number; -EAGAIN if there is no error, and on systems that do not keep them.
ssize_t platform_datagram_error(int fd, struct platform_datagram_error *error, void *bytes, size_t capacity);

#endif
