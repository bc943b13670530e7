// SPDX-License-Identifier: Apache-2.0
import CPlatform

// Sockets whose datagrams are relayed: UDP, and ICMP echo.

extension Socket {
    /// A socket that sends pings without privilege, and receives their replies. The caller owns it.
    /// - Throws: `Errno.accessDenied` where net.ipv4.ping_group_range does not include the process's group (Linux).
    package static func echo(ipv6: Bool = false) throws(SystemError) -> Descriptor {
        try Descriptor(checking: platform_echo_socket(ipv6 ? 1 : 0), "open a socket for pings")
    }
}

extension Descriptor {
    /// Makes a datagram socket report hops, traffic class and errors.
    /// - Parameter isLocalReported: with the address of this host that datagrams were sent to.
    package func reportDatagrams(ipv6: Bool, isLocalReported: Bool = false) {
        platform_datagram_prepare(raw, ipv6 ? 1 : 0, isLocalReported ? 1 : 0)
    }

    /// Has the system join datagrams of one flow that this socket receives, where it can (udp(7), UDP_GRO).
    /// - Returns: bytes of the longest datagram that it sends joined to others (UDP_SEGMENT); 0 where it does not: on
    ///   macOS, and for sockets of pings.
    package func joinDatagrams() -> UInt32 { platform_datagram_join(raw) }

    /// Has a socket of UDP or TCP keep the errors that it receives for what it has sent, for `takeDatagramFailure`
    /// (Linux), or not.
    package func reportErrors(_ isOn: Bool, ipv6: Bool) {
        platform_datagram_report_errors(raw, ipv6 ? 1 : 0, isOn ? 1 : 0)
    }

    /// Sets TTL or hop limit of what is sent from now on.
    package func setHops(_ hops: UInt8, ipv6: Bool) { platform_datagram_set_hops(raw, ipv6 ? 1 : 0, Int32(hops)) }

    /// Sets DSCP and ECN of what is sent from now on.
    package func setTrafficClass(_ value: UInt8, ipv6: Bool) {
        platform_datagram_set_class(raw, ipv6 ? 1 : 0, Int32(value))
    }

    /// Sets whether datagrams longer than the path's MTU are fragmented; otherwise sending fails
    /// (`Errno.messageTooLong`).
    package func setFragmentation(_ isAllowed: Bool, ipv6: Bool) {
        platform_datagram_set_fragmentation(raw, ipv6 ? 1 : 0, isAllowed ? 1 : 0)
    }

    /// Takes the oldest error of a datagram socket (ip(7), IP_RECVERR); nil if there is none, and on macOS.
    package func takeDatagramFailure() -> DatagramFailure? {
        var error = platform_datagram_error(), length = 0
        let payload = unsafe [UInt8](unsafeUninitializedCapacity: 1280) { buffer, count in
            length = unsafe platform_datagram_error(raw, &error, buffer.baseAddress, 1280)
            count = max(0, length)
        }
        guard length >= 0 else { return nil }
        let sender = error.sender.family == 0 ? nil : SocketAddress(raw: error.sender)
        let message = DatagramFailure.Message(
            isIPv6: error.family == 6, type: error.type, code: error.icmp_code, sender: sender)
        return DatagramFailure(
            code: error.code, message: error.family == 0 ? nil : message, mtu: error.mtu,
            peer: SocketAddress(raw: error.peer), payload: payload)
    }
}
