// SPDX-License-Identifier: Apache-2.0
import Platform
import Wire

/// The application firewall, which may keep guests' requests from bootpd.
struct ApplicationFirewallCheck: HostCheck {
    static let name = "application_firewall"
    private static let tool = "/usr/libexec/ApplicationFirewall/socketfilterfw"
    private static let bootpd = "/usr/libexec/bootpd"

    /// What `--getglobalstate` prints.
    let state: String
    /// What `--getblockall` prints.
    let blockAll: String
    /// What `--listapps` prints.
    let programs: String

    static func gathered() -> ApplicationFirewallCheck {
        ApplicationFirewallCheck(
            state: ToolOutput.of(tool, "--getglobalstate") ?? "", blockAll: ToolOutput.of(tool, "--getblockall") ?? "",
            programs: ToolOutput.of(tool, "--listapps") ?? "")
    }

    /// Whether the line after bootpd's has it blocked.
    private var blocksBootpd: Bool {
        let lines = programs.split(separator: "\n").filter { $0.contains { !$0.isWhitespace } }
        guard let index = lines.firstIndex(where: { $0.contains(text: Self.bootpd) }), index + 1 < lines.count else {
            return false
        }
        return lines[index + 1].contains(text: "Block incoming")
    }

    var diagnoses: [Diagnosis] {
        guard state.contains(text: "enabled") else { return Self.ok("off") }
        let setting = blockAll.lowercased()
        if setting.contains(text: "enabled") && !setting.contains(text: "disabled") {
            return [
                Self.failed(
                    .firewallBlocksAll,
                    "the application firewall blocks all incoming connections, also guests' requests to bootpd",
                    Remedy.sudo(Self.tool, "--setblockall", "off"))
            ]
        }
        if blocksBootpd {
            return [
                Self.failed(
                    .firewallBlocksBootpd,
                    "the application firewall blocks bootpd: guests get no IPv4 address with --dhcp system",
                    Remedy.sudo(Self.tool, "--unblock", Self.bootpd))
            ]
        }
        return Self.ok("on, and it does not block bootpd")
    }
}
