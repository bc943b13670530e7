// SPDX-License-Identifier: Apache-2.0
import Platform

/// A kernel setting below /proc/sys.
package struct KernelSetting: Hashable, Sendable {
    /// Such as `net/ipv4/conf/eth0/forwarding`.
    package let path: String

    package init(path: String) { self.path = path }

    /// Whether packets that arrive by `interface` may be forwarded.
    package static func forwarding(on interface: String) -> KernelSetting {
        KernelSetting(path: "net/ipv4/conf/\(interface)/forwarding")
    }

    /// What a record may name: the settings that are changed and put back, an interface's name in place of the star.
    private static let recorded = ["net/ipv4/conf/*/forwarding"]

    /// What these settings may have been before.
    package static let recordedValues: Set<String> = ["0", "1"]

    /// A setting that a record names; nil if it is none of those that are ever changed.
    package init?(recorded path: String) {
        let parts = path.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        let isKnown = KernelSetting.recorded.contains { form in
            let wanted = form.split(separator: "/").map(String.init)
            return wanted.count == parts.count
                && zip(wanted, parts).allSatisfy { $0 == $1 || ($0 == "*" && NetworkInterfaces.isName($1)) }
        }
        guard isKnown else { return nil }
        self.path = path
    }

    /// nil if the kernel has no such setting (any more).
    package var value: String? { Files.text("/proc/sys/" + path) }

    package func set(_ value: String) throws(SystemError) { try Files.overwrite("/proc/sys/" + path, value) }
}

/// The interfaces through which guests' packets leave the host.
package enum EgressInterfaces {
    /// Every interface that a route leads through, but loopback, the guests' own, and the TAPs of other instances: no
    /// guest network leads out of another.
    package static func leading(_ routes: [Route], except tap: String) -> [(name: String, index: UInt32)] {
        Set(routes.lazy.filter { !$0.isLocal }.map(\.interface)).sorted().compactMap { index in
            guard let name = NetworkInterfaces.name(of: index), name != tap, name != "lo",
                NetworkInterfaces.link(index)?.group != TapDevice.group
            else { return nil }
            return (name, index)
        }
    }
}
