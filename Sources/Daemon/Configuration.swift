// SPDX-License-Identifier: Apache-2.0
import Platform
import Uplinks
import VDE
import Wire

/// What the daemon is to do, checked as far as it can be without touching anything.
package struct Configuration: Sendable {
    /// vmnet's three modes.
    package enum Mode: Equatable, Sendable {
        /// Host, other guests, and the outside through NAT.
        case shared
        /// Host and other guests only.
        case host
        /// Part of the network that this interface is on.
        case bridged(interface: String)
    }

    package enum DHCP: String, CaseIterable, Sendable {
        /// Ours, unless the network turns out to have another.
        case auto
        /// Ours, whoever else there is.
        case builtin
        /// A server of the host's, such as dnsmasq on the TAP.
        case system
        case off
    }

    package var locator: PlugLocator
    package var vdeGroup: UInt32?
    package var mode: Mode
    /// nil: the default network, or the next that is free.
    package var network: GuestNetwork?
    /// 16 bytes from which the gateway's hardware address is made; nil: from its IP address.
    package var interfaceID: [UInt8]?
    package var dhcp: DHCP = .auto
    package var tapName: String?
    package var stateDirectory: String?
    package var pidfile: String?
    package var mtu = 1500

    package init(locator: PlugLocator, mode: Mode) {
        self.locator = locator
        self.mode = mode
    }

    /// The hardware address of the host's end, the same in every run.
    package func hardwareAddress(gateway: IPv4Address) -> MACAddress {
        MACAddress(locallyAdministeredFrom: interfaceID ?? Array("vde_vmnet".utf8) + gateway.bytes)
    }
}
