// SPDX-License-Identifier: Apache-2.0
import Wire

/// A guest: its port and its hardware address.
package struct Station: Hashable, BitwiseCopyable, Sendable {
    /// The port.
    package let port: PortNumber
    /// The hardware address.
    package let hardware: MACAddress

    package init(port: PortNumber, hardware: MACAddress) {
        self.port = port
        self.hardware = hardware
    }
}

/// An IPv6 address that a guest has used.
package struct KnownSource: Equatable, Sendable {
    /// The address.
    package let address: IPv6Address
    /// The guest.
    package let station: Station
}
