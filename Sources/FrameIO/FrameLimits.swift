// SPDX-License-Identifier: Apache-2.0
import Wire

/// Bytes of the longest frame.
package enum FrameLimits {
    /// On a link of this MTU, to which the Ethernet header and one VLAN tag do not count.
    package static func link(mtu: Int) -> Int { mtu + EthernetHeader.length + VLANTag.length }

    /// On a stream: what the programs at its other end accept.
    package static let stream = StreamDeframer.maximumFrameLength

    /// For a device whose MTU another program sets: the kernel drops longer ones.
    package static let device = link(mtu: 65_535)
}
