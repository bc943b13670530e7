// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import ControlProtocol
import HostFirewall
import Lifecycle
import Platform
import VhostUser

/// `vde_vmnet version`: what this program is, and what it can do on this system. For reports, and for programs that
/// look for a feature.
package struct Version: ParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "version",
        abstract: "Print the version, the commit, the system and the features.",
        discussion: """
            Works without privilege and changes nothing. A feature is what this program can do; whether the user may \
            use it is decided when a network starts. `vde_vmnet --version` prints the version alone.
            """)

    @Flag(help: "Print one JSON object instead of lines of text.")
    var json = false

    package init() {}

    package mutating func run() throws {
        let report = VersionReport.current
        try CommandOutput.write(json ? report.json.text + "\n" : report.text)
    }
}

/// What `vde_vmnet version` prints.
struct VersionReport {
    /// Of the build: semver.org.
    let version: String
    /// Nil if the build could not find it.
    let commit: String?
    let system: SystemName
    /// Whether there is a TAP uplink; it exists on Linux.
    let hasTap: Bool
    /// What sets the rules of a TAP with NAT: `libnftables` or `nft`; nil if neither is installed.
    let firewall: String?
    let hasVmnet: Bool
    /// Whether guests may share their memory; on Linux.
    let hasVhostUser: Bool

    static var current: VersionReport {
        let hasTap = !OperatingSystem.isMacOS
        return VersionReport(
            version: programVersion, commit: ProgramBuild.commit, system: .current, hasTap: hasTap,
            firewall: hasTap ? NFTables.installed : nil, hasVmnet: Root.vmnet != nil,
            hasVhostUser: VhostConnection.isSupported)
    }

    var text: String {
        var lines = ["vde_vmnet \(version)", "commit: \(commit ?? "unknown, because the build did not name it")"]
        lines.append("system: \(system.name) \(system.release) \(system.architecture)")
        lines.append("TAP: \(tapText)")
        lines.append("user-mode NAT: yes")
        lines.append("vmnet.framework: \(hasVmnet ? "yes" : "no")")
        lines.append("vhost-user: \(hasVhostUser ? "yes" : "no")")
        return lines.joined(separator: "\n") + "\n"
    }

    private var tapText: String {
        guard hasTap else { return "no" }
        guard let firewall else {
            return "only bridged, because nftables is not installed; install the package nftables"
        }
        return "yes, with \(firewall)"
    }

    var json: JSON {
        .object([
            ("version", .string(version)),
            ("commit", commit.map(JSON.string) ?? .null),
            (
                "system",
                .object([
                    ("name", .string(system.name)), ("release", .string(system.release)),
                    ("architecture", .string(system.architecture)),
                ])
            ),
            (
                "features",
                .object([
                    ("tap", .bool(hasTap)), ("nftables", firewall.map(JSON.string) ?? .null),
                    ("user", .bool(true)),
                    ("vmnet", .bool(hasVmnet)), ("vhost-user", .bool(hasVhostUser)),
                ])
            ),
        ])
    }
}
