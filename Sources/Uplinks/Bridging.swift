// SPDX-License-Identifier: Apache-2.0
import Platform

/// How guests can become part of the network that an interface is on (Linux, from /sys/class/net).
package enum Bridging: Equatable, Sendable {
    /// A Linux bridge, whatever its ports are: a TAP joins it.
    case bridge
    /// A bridge of Open vSwitch, with either of its data paths: its own tool adds a TAP.
    case openVSwitch
    /// A Wi-Fi station, which may only speak for itself.
    case wireless
    /// Anything else that carries Ethernet: a packet socket.
    case nic

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

    /// Why guests cannot become part of the network that an interface is on; nil if they may. Wi-Fi is told apart by
    /// `init`.
    package static func refusal(of interface: String) -> String? {
        // ARPHRD_ETHER of linux/if_arp.h; the loopback interface has 772, a tunnel 65534.
        let type = Files.text("/sys/class/net/\(interface)/type").flatMap { Int($0) }
        if interface == "lo" { return "the loopback interface has no network behind it" }
        if let type, type != 1 { return "it carries no Ethernet frames (a tunnel, for example)" }
        if let index = NetworkInterfaces.index(of: interface), NetworkInterfaces.link(index)?.group == TapDevice.group {
            return "it is the TAP of another vde_vmnet, whose network guests join through that one"
        }
        return nil
    }

    package static func mtu(of interface: String) -> Int {
        Files.text("/sys/class/net/\(interface)/mtu").flatMap { Int($0) } ?? 1500
    }
}

/// Bridges of Open vSwitch, by `ovs-vsctl(8)`.
package enum OpenVSwitch {
    /// Bounded, for the tool waits for a database that may not run.
    private static func run(_ arguments: String...) -> ChildProcess.Output? {
        guard let tool = Programs.find("ovs-vsctl") else { return nil }
        return try? ChildProcess.run([tool, "--timeout=5"] + arguments)
    }

    package static func isBridge(_ interface: String) -> Bool { run("br-exists", interface)?.succeeded ?? false }

    /// Returns what is wrong; nil if nothing is.
    package static func addPort(_ port: String, to bridge: String) -> String? {
        guard let result = run("--may-exist", "add-port", bridge, port) else { return "ovs-vsctl is not installed" }
        return result.succeeded ? nil : result.error.split(separator: "\n").first.map(String.init) ?? "no reason given"
    }

    @discardableResult
    package static func removePort(_ port: String, from bridge: String) -> Bool {
        run("--if-exists", "del-port", bridge, port)?.succeeded ?? false
    }
}
