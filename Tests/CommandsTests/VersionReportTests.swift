// SPDX-License-Identifier: Apache-2.0
import ControlProtocol
import Platform
import Testing

@testable import Commands

@Suite struct VersionReportTests {
    private func report(
        commit: String? = "0123456789ab", hasTap: Bool = true, firewall: String? = "libnftables",
        hasVmnet: Bool = false
    ) -> VersionReport {
        VersionReport(
            version: "1.2.3", commit: commit, system: .current, hasTap: hasTap, firewall: firewall,
            hasVmnet: hasVmnet, hasVhostUser: true)
    }

    @Test func textNamesWhatIsMissingAndItsRemedy() {
        let whole = report().text
        #expect(whole.hasPrefix("vde_vmnet 1.2.3\ncommit: 0123456789ab\nsystem: "))
        #expect(whole.hasSuffix("vmnet.framework: no\nvhost-user: yes\n"))
        #expect(!whole.contains("install"))
        let bare = report(commit: nil, firewall: nil).text
        #expect(bare.contains("\ncommit: unknown, because the build did not name it\n"))
        #expect(bare.contains("\nTAP: only bridged, because nftables is not installed; install the package nftables\n"))
        #expect(bare.contains("\nuser-mode NAT: yes\n"))
    }

    /// On a Mac there is no TAP, and nftables is not reported as missing.
    @Test func systemWithoutTapNeedsNoFirewall() {
        let mac = report(hasTap: false, firewall: nil, hasVmnet: true)
        #expect(mac.text.contains("\nTAP: no\n") && mac.text.contains("\nvmnet.framework: yes\n"))
        #expect(mac.json.text.contains("\"tap\":false,\"nftables\":null") && mac.json.text.contains("\"vmnet\":true"))
    }

    @Test func absentFactsAreNullInJSON() {
        let text = report(commit: nil, firewall: nil).json.text
        #expect(text.hasPrefix("{\"version\":\"1.2.3\",\"commit\":null,\"system\":{\"name\":"))
        #expect(text.contains("\"nftables\":null,\"user\":true,\"vmnet\":false"))
    }
}
