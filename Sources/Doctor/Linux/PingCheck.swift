// SPDX-License-Identifier: Apache-2.0
import Platform

/// Whether the user-mode NAT may ping the outside for guests.
struct PingCheck: HostCheck {
    static let name = "ping"

    /// Whether pings of guests pass sockets of this program.
    let isNeeded: Bool
    /// The group whose processes make the sockets.
    let group: UInt32
    /// net.ipv4.ping_group_range; nil if it cannot be read.
    let range: String?

    static func gathered(_ scene: Scene) -> PingCheck {
        // The kernel looks at the group only, whatever the capabilities are.
        PingCheck(
            isNeeded: scene.network.map { $0.uplink == "user" || $0.hasNAT6 } ?? scene.hasNAT6,
            group: CurrentProcess.effectiveGroup, range: Files.text("/proc/sys/net/ipv4/ping_group_range"))
    }

    var diagnoses: [Diagnosis] {
        guard isNeeded else { return Self.ok("not needed: pings of guests need no sockets of this user") }
        let ends = (range ?? "").split(whereSeparator: \.isWhitespace).compactMap { UInt32($0) }
        guard ends.count == 2 else { return Self.ok("this system has no limit for pings") }
        if ends[0] <= group && group <= ends[1] { return Self.ok("guests may ping the outside") }
        return [
            Self.warning(
                .pingGroupRange,
                """
                group \(group) is outside of net.ipv4.ping_group_range (\(ends[0]) \(ends[1])): guests cannot ping the \
                outside
                """,
                Remedy.set("net/ipv4/ping_group_range", "0 2147483647"))
        ]
    }
}
