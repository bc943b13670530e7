// SPDX-License-Identifier: Apache-2.0
import Wire

/// Bytes of the longest frame, and of the shortest one.
package enum FrameLimits {
    /// An Ethernet header without a payload.
    package static var shortest: Int { EthernetHeader.length }

    /// On a link of this MTU, to which the Ethernet header and one VLAN tag do not count.
    package static func link(mtu: Int) -> Int { mtu + EthernetHeader.taggedLength }

    /// On a stream: what the programs at its other end accept.
    package static var stream: Int { StreamDeframer.maximumFrameLength }

    /// For a device whose MTU another program sets: the kernel drops longer ones.
    package static var device: Int { link(mtu: IPv4Header.maximumPacket) }
}
