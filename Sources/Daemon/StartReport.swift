// SPDX-License-Identifier: Apache-2.0
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
}

extension Daemon {
    /// What there is, once it is.
    func report(_ summary: String) -> StartReport {
        let network = uplink?.presence?.network ?? vmnetParameters?.network
        let identity = configuration.interfaceID ?? (0..<16).map { _ in Random.value() }
        return StartReport(
            summary: summary, network: network, machine: MACAddress(locallyAdministeredFrom: Array("machine".utf8) + identity), interfaceID: identity,
            mtu: vmnetParameters?.mtu ?? configuration.mtu, maximumFrame: vmnetParameters?.maximumFrame ?? configuration.mtu + 14,
            batches: vmnetParameters?.batches ?? (Forwarder.batchCapacity, Forwarder.batchCapacity), nat66Prefix: vmnetParameters?.nat66Prefix)
    }
}
