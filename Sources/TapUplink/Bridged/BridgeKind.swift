// SPDX-License-Identifier: Apache-2.0
import HostChanges
import HostFirewall
import Platform

/// How guests become part of the network that an interface is on (Linux, from /sys/class/net).
package enum BridgeKind: Equatable, Sendable {
    /// A Linux bridge: a TAP becomes a port of it.
    case bridge
    /// A bridge of Open vSwitch, with either of its data paths: ovs-vsctl adds a TAP.
    case openVSwitch
    /// A Wi-Fi station, whose access point drops frames from other source addresses.
    case wireless
    /// Any other Ethernet interface: a packet socket.
    case nic

    /// Finds out what `interface` is.
    package init(interface: String) {
        let path = "/sys/class/net/\(interface)"
        if Files.exists(path + "/bridge") {
            self = .bridge
        } else if OpenVSwitch.isBridge(interface) {
            self = .openVSwitch
        } else if Files.exists(path + "/wireless") || Files.exists(path + "/phy80211") {
            self = .wireless
        } else {
            self = .nic
        }
    }

    /// Why guests cannot become part of the network that an interface is on; nil if they may. Does not check for Wi-Fi.
    package static func refusal(of interface: String) -> String? {
        // ARPHRD_ETHER of linux/if_arp.h; the loopback interface has 772, a tunnel 65534.
        let type = Files.text("/sys/class/net/\(interface)/type").flatMap { Int($0) }
        if interface == "lo" { return "the loopback interface has no network behind it" }
        if let type, type != 1 { return "it carries no Ethernet frames (a tunnel, for example)" }
        if NetworkInterfaces.link(named: interface)?.group == LinkGroup.taps {
            return "it is the TAP of another vde_vmnet, whose network guests join through that one"
        }
        return nil
    }

    /// The MTU of an interface.
    package static func mtu(of interface: String) -> Int {
        Files.text("/sys/class/net/\(interface)/mtu").flatMap { Int($0) } ?? 1500
    }
}
