// SPDX-License-Identifier: Apache-2.0
import Wire

/// A guest that may be a router and a DHCP server for other guests.
package enum AllowedServer: Equatable, Sendable, CustomStringConvertible {
    /// The guest at this port of this process's switch.
    case port(Int)
    case hardware(MACAddress)

    package var description: String {
        switch self {
        case .port(let number): "port \(number)"
        case .hardware(let address): "\(address)"
        }
    }
}
