// SPDX-License-Identifier: Apache-2.0
import Platform

/// A socket that sends datagrams of guests, and what it is set to.
class DatagramSocket {
    let socket: Descriptor
    private let isIPv6: Bool

    // nil before the first datagram.
    private var hops: UInt8?
    private var trafficClass: UInt8?
    private var mayFragment: Bool?

    init(_ socket: consuming Descriptor, isIPv6: Bool) {
        self.socket = socket
        self.isIPv6 = isIPv6
    }

    /// Whether a datagram needs the socket to be set differently.
    final func differs(_ inbound: InboundDatagram) -> Bool {
        hops != inbound.outgoingHops || trafficClass != inbound.trafficClass || mayFragment != inbound.mayFragment
    }

    /// Sets the socket to send datagrams like this one.
    final func prepare(for inbound: InboundDatagram) {
        if hops != inbound.outgoingHops { socket.setHops(inbound.outgoingHops, ipv6: isIPv6) }
        if trafficClass != inbound.trafficClass { socket.setTrafficClass(inbound.trafficClass, ipv6: isIPv6) }
        if mayFragment != inbound.mayFragment { socket.setFragmentation(inbound.mayFragment, ipv6: isIPv6) }
        hops = inbound.outgoingHops
        trafficClass = inbound.trafficClass
        mayFragment = inbound.mayFragment
    }
}
