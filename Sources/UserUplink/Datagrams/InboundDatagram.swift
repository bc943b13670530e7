// SPDX-License-Identifier: Apache-2.0
import Wire

/// A guest's datagram or ping, which the gateway has verified and the policy allows.
package struct InboundDatagram: Equatable, Sendable {
    /// Guest and remote end. For pings, the guest's port is their identifier, and the remote port is 0.
    package let key: FlowKey
    /// The sender.
    package let hardware: MACAddress
    /// The guest to charge for the flow that this opens.
    package let owner: GuestOwner
    /// Where the payload lies in the frame: after the UDP header, or the whole ICMP message.
    let range: Range<Int>
    /// TTL or hop limit, when it came.
    let hops: UInt8
    /// DSCP and ECN.
    let trafficClass: UInt8
    /// The guest has fragmented it, or permits that.
    let mayFragment: Bool

    /// One hop is this host.
    var outgoingHops: UInt8 { max(2, hops) - 1 }
}
