// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Platform
import Wire

/// Local Network privacy, which keeps programs of users from guests from macOS 15 on (Apple's TN3179). The permission
/// of a program cannot be read; what can be read is the list of networks that need none.
struct LocalNetworkCheck: HostCheck {
    static let name = "local_network"
    private static let domain = "com.apple.network.local-network"
    private static let keys = ["AllowedEthernetLocalNetworkAddresses", "AllowedWiFiLocalNetworkAddresses"]

    /// The major version of macOS.
    let system: Int
    /// What `defaults read` prints of each key.
    let lists: [String]
    let network: IPv4Network

    static func gathered(_ scene: Scene) -> LocalNetworkCheck {
        LocalNetworkCheck(
            system: ToolOutput.majorVersion(ToolOutput.of("sw_vers", "-productVersion") ?? ""),
            lists: keys.map { ToolOutput.of("defaults", "read", "/Library/Preferences/" + domain, $0) ?? "" },
            network: scene.network?.network?.network ?? IPv4Network("192.168.64.0/24")!)
    }

    var diagnoses: [Diagnosis] {
        guard system >= 15 else { return Self.ok("macOS \(system) does not restrict it") }
        let missing = zip(Self.keys, lists).filter { _, list in !allows(list) }.map(\.0)
        guard !missing.isEmpty else { return Self.ok("\(network) needs no permission") }
        let commands = missing.map {
            Remedy.sudo(
                "defaults", "write", "/Library/Preferences/" + Self.domain, $0, "-array-add", "\(network)")
        }
        return [
            Self.warning(
                .localNetworkPrivacy,
                """
                programs of users reach guests in \(network) only with the permission in System Settings, Privacy & \
                Security, Local Network
                """, commands.joined(separator: " && "))
        ]
    }

    private func allows(_ list: String) -> Bool {
        list.split { " \n\t(),\"".contains($0) }.contains { IPv4Network($0)?.overlaps(network) ?? false }
    }
}
