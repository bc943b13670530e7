// SPDX-License-Identifier: Apache-2.0
import Platform

/// Internet Sharing, which runs another DHCP server and NAT.
struct InternetSharingCheck: HostCheck {
    static let name = "internet_sharing"
    private static let file = "/Library/Preferences/SystemConfiguration/com.apple.nat"

    /// What `defaults read` prints of the settings.
    let settings: String

    static func gathered() -> InternetSharingCheck {
        InternetSharingCheck(settings: ToolOutput.of("defaults", "read", file, "NAT") ?? "")
    }

    var diagnoses: [Diagnosis] {
        let isOn = settings.split(separator: "\n").contains { line in
            line.split { " =;".contains($0) }.map(String.init) == ["Enabled", "1"]
        }
        guard isOn else { return Self.ok("off") }
        return [
            Self.warning(
                .internetSharing, "Internet Sharing is on: its DHCP server and NAT use the networks of vmnet",
                Remedy.sudo("defaults", "write", Self.file, "NAT", "-dict", "Enabled", "-int", "0"))
        ]
    }
}
