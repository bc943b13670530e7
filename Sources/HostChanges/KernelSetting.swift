// SPDX-License-Identifier: Apache-2.0
import Platform
import Wire

/// A kernel setting below /proc/sys.
package struct KernelSetting: Hashable, Sendable {
    /// Such as `net/ipv4/conf/eth0/forwarding`.
    package let path: String

    /// - Parameter path: relative to /proc/sys.
    package init(path: String) { self.path = path }

    private static let forwardingEverywhere = KernelSetting(path: "net/ipv4/conf/all/forwarding")

    /// Whether the host forwards between all of its interfaces, except those that its administrator has closed.
    package static var isRouter: Bool { forwardingEverywhere.value == "1" }

    /// Whether packets that arrive by `interface` may be forwarded.
    package static func forwarding(on interface: String) -> KernelSetting {
        KernelSetting(path: "net/ipv4/conf/\(interface)/forwarding")
    }

    /// Whether the host forwards IPv6 between all of its interfaces.
    package static let forwardingEverywhere6 = KernelSetting(path: "net/ipv6/conf/all/forwarding")

    /// Whether the host forwards IPv6 between all of its interfaces.
    package static var isRouter6: Bool { forwardingEverywhere6.value == "1" }

    /// Whether the kernel forwards IPv6 of guests without becoming a router for others: it can do so for packets that
    /// arrive by single interfaces, or is a router already.
    package static var canForward6: Bool { forcedForwarding(on: "all").value != nil || isRouter6 }

    /// Whether IPv6 packets that arrive by `interface` are forwarded on a host that is no router (Linux 6.17).
    package static func forcedForwarding(on interface: String) -> KernelSetting {
        KernelSetting(path: "net/ipv6/conf/\(interface)/force_forwarding")
    }

    /// The settings by which interfaces follow router advertisements only while the host is no router. One of them is
    /// the default of new interfaces.
    package static var hostsAdvertisements: [KernelSetting] {
        ((try? Files.entries("/proc/sys/net/ipv6/conf")) ?? []).map {
            KernelSetting(path: "net/ipv6/conf/\($0)/accept_ra")
        }.filter { $0.value == "1" && !$0.path.contains(text: "/all/") }
    }

    /// Whether the setting is kept as it is at the end, because the host has become a router meanwhile.
    var isRouters: Bool { path.hasPrefix("net/ipv4/") && KernelSetting.isRouter }

    /// The settings that a record may contain, because they are changed and restored. The star is an interface's name.
    private static let recorded = [
        "net/ipv4/conf/*/forwarding", "net/ipv6/conf/*/force_forwarding", "net/ipv6/conf/*/accept_ra",
        "net/ipv6/conf/all/forwarding",
    ]

    /// The original values that a record may contain.
    package static let recordedValues: Set<String> = ["0", "1"]

    /// A setting from a record; nil for a setting that this program never changes.
    package init?(recorded path: String) {
        let parts = path.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        let isKnown = KernelSetting.recorded.contains { form in
            let expected = form.split(separator: "/").map(String.init)
            return expected.count == parts.count
                && zip(expected, parts).allSatisfy { $0 == $1 || ($0 == "*" && NetworkInterfaces.isName($1)) }
        }
        guard isKnown else { return nil }
        self.path = path
    }

    /// The current value; nil if the kernel has no such setting, or has it no longer.
    package var value: String? { Files.text("/proc/sys/" + path) }

    /// Writes the setting, which needs root or CAP_NET_ADMIN.
    package func set(_ value: String) throws(SystemError) { try Files.overwrite("/proc/sys/" + path, value) }
}
