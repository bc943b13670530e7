// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing
import Wire

/// The socket for one UDP port of a guest, or for one identifier of its pings: whatever the destination, the outside
/// sees the same port of the host (RFC 4787 section 4.1, "endpoint-independent mapping").
final class DatagramFlow: DatagramSocket {
    /// The guest's end; the remote end is unspecified (`FlowKey.withoutRemote`).
    let key: FlowKey
    /// The guest that is charged.
    let owner: GuestOwner
    /// The guest's. Another guest that has got its address does not continue the flow.
    let hardware: MACAddress
    /// That of the last datagram, with its destination.
    var latest: FlowKey
    /// What has been sent to.
    var peers = PeerFilter()
    /// The only port that was sent to is that of DNS.
    var isForNames = true

    init(_ key: FlowKey, of owner: GuestOwner, _ socket: consuming Descriptor, hardware: MACAddress) {
        self.key = key
        latest = key
        self.owner = owner
        self.hardware = hardware
        super.init(socket, isIPv6: key.isIPv6)
    }

    /// Seconds without a datagram in either direction after which the flow ends: at least two minutes, five by default
    /// (RFC 4787 section 4.3). A DNS query has been answered, or sent again, long before.
    /// For pings a minute (RFC 5508 section 3.2).
    var lifetime: TimeAmount { .seconds(isForNames ? 30 : isUDP ? 300 : 60) }

    /// It leads to destinations on this host only (`FlowKey.withoutRemote`).
    var isOnHost: Bool { key.remotePort != 0 }

    /// It is no flow of pings.
    var isUDP: Bool { key.protocolNumber == IPProtocol.udp }
}
