// SPDX-License-Identifier: Apache-2.0
import Platform

/// How guests can become part of the network that an interface is on (Linux, from /sys/class/net).
package enum Bridging: Equatable, Sendable {
    /// A Linux bridge, whatever its ports are: a TAP joins it.
    case bridge
    /// A bridge of Open vSwitch, which the kernel's own calls cannot extend.
    case openVSwitch
    /// A Wi-Fi station, which may only speak for itself.
    case wireless
    /// Anything else that carries Ethernet: a packet socket.
    case nic

    package init(interface: String) {
        let path = "/sys/class/net/\(interface)"
        if Files.exists(path + "/bridge") {
            self = .bridge
        } else if Files.exists(path + "/wireless") || Files.exists(path + "/phy80211") {
            self = .wireless
        } else if (Files.text(path + "/uevent") ?? "").contains("DEVTYPE=openvswitch") || Files.text(path + "/ifalias") == "ovs" {
            self = .openVSwitch
        } else {
            self = .nic
        }
    }

    package func mtu(of interface: String) -> Int { Files.text("/sys/class/net/\(interface)/mtu").flatMap { Int($0) } ?? 1500 }
}
