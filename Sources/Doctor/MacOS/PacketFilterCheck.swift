// SPDX-License-Identifier: Apache-2.0
import Platform
import Wire

/// Rules of pf that block packets of vmnet's bridges.
struct PacketFilterCheck: HostCheck {
    static let name = "pf"

    /// What `pfctl -a '*' -sr` prints, which needs root.
    let rules: String
    /// What `pfctl -s info` prints.
    let info: String

    static func gathered() -> PacketFilterCheck {
        PacketFilterCheck(
            rules: ToolOutput.of("pfctl", "-a", "*", "-sr") ?? "", info: ToolOutput.of("pfctl", "-s", "info") ?? "")
    }

    /// vmnet's bridges are bridge100 and following.
    private var blocking: Substring? {
        rules.split(separator: "\n").first { line in
            let words = line.split(separator: " ")
            guard words.first == "block" else { return false }
            return words.contains { $0.hasPrefix("bridge1") && $0.count == 9 }
        }
    }

    var diagnoses: [Diagnosis] {
        if info.contains(text: "Status: Disabled") { return Self.ok("off") }
        guard let blocking else { return Self.ok("no rule blocks a bridge of vmnet") }
        return [
            Self.warning(
                .pfBlocks, "a rule of pf blocks packets of vmnet's networks: \(blocking.drop { $0 == " " })",
                Remedy.sudo("pfctl", "-f", "/etc/pf.conf"))
        ]
    }
}
