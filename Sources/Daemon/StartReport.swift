// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Platform
import Switching
import Uplinks
import Wire

/// What there is when the daemon is ready.
package struct StartReport: Sendable {
    /// One line for people: `192.168.105.0/24 on vmnet0, gateway 192.168.105.1, switch at /tmp/vde`.
    package var summary: String
    /// nil on a network that is somebody else's.
    package var network: GuestNetwork?
    /// An address for a machine that has none.
    package var machine: MACAddress
    /// 16 bytes.
    package var interfaceID: [UInt8]
    package var mtu: Int
    /// Bytes of the longest frame.
    package var maximumFrame: Int
    /// Frames that are taken and given in one call.
    package var batches: (read: Int, write: Int)
    package var nat66Prefix: String?

    /// - Parameters:
    ///   - network: of a TAP.
    ///   - vmnet: what the framework has said of its network.
    init(_ summary: String, _ configuration: Configuration, network: GuestNetwork?, vmnet: VmnetParameters?) {
        let identity = configuration.interfaceID ?? (0..<16).map { _ in Random.value() }
        self.summary = summary
        self.network = network ?? vmnet?.network
        machine = MACAddress(locallyAdministeredFrom: Array("machine".utf8) + identity)
        interfaceID = identity
        mtu = vmnet?.mtu ?? configuration.mtu
        maximumFrame = vmnet?.maximumFrame ?? configuration.mtu + 14
        batches = vmnet?.batches ?? (ForwardingWorker.batchCapacity, ForwardingWorker.batchCapacity)
        nat66Prefix = vmnet?.nat66Prefix
    }
}
