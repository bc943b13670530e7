// SPDX-License-Identifier: Apache-2.0
import HostChanges
import Platform

/// The kernel's forwarding between the guests' TAP and the outside. A start switches it on for the interfaces that it
/// uses.
struct ForwardingCheck: HostCheck {
    static let name = "forwarding"

    /// Whether the kernel routes guests' packets.
    let isNeeded: Bool
    /// Whether a network runs, so that forwarding is to be on.
    let isRunning: Bool
    /// The interfaces that guests' packets pass, with the value of their setting; nil: there is none.
    let interfaces: [(name: String, value: String?)]
    /// Whether the settings can be written. nil if this user could not write them anyway.
    let isWritable: Bool?
    /// Whether guests' IPv6 packets leave, or would leave, by a user-mode NAT, because the kernel forwards IPv6 between
    /// all interfaces or none.
    var hasNAT6 = false

    static func gathered(_ scene: Scene) -> ForwardingCheck {
        var names: [String] = []
        if scene.network != nil { names.append(scene.tap) }
        if let egress = scene.path?.interface ?? scene.defaultInterface { names.append(egress) }
        return ForwardingCheck(
            isNeeded: scene.isRouted, isRunning: scene.network != nil,
            interfaces: names.map { ($0, KernelSetting.forwarding(on: $0).value) },
            isWritable: scene.user == 0
                ? Files.isWritable("/proc/sys/" + KernelSetting.forwarding(on: "all").path) : nil,
            hasNAT6: scene.hasNAT6)
    }

    var diagnoses: [Diagnosis] {
        guard isNeeded else { return Self.ok("not needed: this host does not route guests' packets") }
        let off = interfaces.filter { $0.value == "0" }
        if isRunning {
            return off.isEmpty
                ? Self.ok("on for \(interfaces.map(\.name).joined(separator: " and "))" + addition)
                : off.map {
                    Self.failed(
                        .forwardingOff, "forwarding is off on \($0.name), so guests' packets do not leave this host",
                        Remedy.set(KernelSetting.forwarding(on: $0.name).path, "1"))
                }
        }
        if !off.isEmpty && isWritable == false {
            return [
                Self.failed(
                    .forwardingLocked,
                    "forwarding is off on \(off[0].name), and /proc/sys is read-only, as in a container",
                    Remedy.sudo("mount", "-o", "remount,rw", "/proc/sys"))
            ]
        }
        return Self.ok((off.isEmpty ? "on" : "a start switches it on for the interfaces that it uses") + addition)
    }

    private var addition: String { hasNAT6 ? "; IPv6 of guests leaves by a user-mode NAT instead" : "" }
}
