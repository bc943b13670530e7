// SPDX-License-Identifier: Apache-2.0
import NetworkConfiguration
import NetworkModel
import Platform
import Switching
import Uplink
import Wire

/// The properties of the network that the daemon reports when it is ready.
package struct StartReport: Sendable {
    /// One line for people: `192.168.105.0/24 on vmnet0, gateway 192.168.105.1, switch at /tmp/vde`.
    package var summary: String
    /// nil on a network of other hosts.
    package var network: GuestNetwork?
    /// A hardware address for a guest that has none.
    package var guest: MACAddress
    /// 16 bytes that identify the interface.
    package var interfaceID: [UInt8]
    /// Bytes of the longest IP packet.
    package var mtu: Int
    /// Bytes of the longest frame.
    package var maximumFrame: Int
    /// Frames in one call of read and of write.
    package var batches: (read: Int, write: Int)
    /// The IPv6 prefix of vmnet's NAT.
    package var nat66Prefix: String?

    /// - Parameter uplink: nil for a switch without one.
    init(_ summary: String, _ configuration: Configuration, _ uplink: (any Uplink)?) {
        let parameters = uplink?.parameters
        let identity = configuration.interfaceID ?? (0..<16).map { _ in Random.value() }
        self.summary = summary
        network = parameters == nil ? uplink?.hostAddressing?.network : parameters?.network
        // The seed must not change: each identifier keeps its hardware address.
        guest = MACAddress(locallyAdministeredFrom: Array("machine".utf8) + identity)
        interfaceID = identity
        mtu = parameters?.mtu ?? configuration.mtu
        maximumFrame = parameters?.maximumFrame ?? configuration.mtu + EthernetHeader.length
        batches = parameters?.batches ?? (ForwardingWorker.batchCapacity, ForwardingWorker.batchCapacity)
        nat66Prefix = parameters?.nat66Prefix
    }
}
