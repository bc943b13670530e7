// SPDX-License-Identifier: Apache-2.0
import Platform
import Wire

/// The program's signature and entitlement, which take the place of root from macOS 26 on.
struct SignatureCheck: HostCheck {
    static let name = "signature"
    private static let entitlement = "com.apple.security.virtualization"

    /// What `codesign -d --entitlements - --xml` prints.
    let listing: String
    /// The program's path.
    let program: String
    /// The major version of macOS.
    let system: Int
    let isRoot: Bool

    static func gathered(_ scene: Scene) -> SignatureCheck {
        let lines = ToolOutput.of("ps", "-o", "comm=", "-p", "\(CurrentProcess.identifier)") ?? ""
        let program = lines.split(separator: "\n").first.map(String.init) ?? "vde_vmnet"
        return SignatureCheck(
            listing: ToolOutput.of("codesign", "-d", "--entitlements", "-", "--xml", program) ?? "",
            program: program, system: ToolOutput.majorVersion(ToolOutput.of("sw_vers", "-productVersion") ?? ""),
            isRoot: scene.user == 0)
    }

    private var sign: String {
        ShellText.command(
            "codesign", "--force", "--sign", "-", "--entitlements", "/opt/vde_vmnet/share/vde_vmnet.entitlements",
            program)
    }

    var diagnoses: [Diagnosis] {
        if system < 26 {
            if isRoot { return Self.ok("not needed: root may use vmnet") }
            return [
                Self.failed(
                    .notRoot, "vmnet requires root on macOS 15 and earlier",
                    Remedy.sudo("vde_vmnet", "--switch", "/tmp/vde"))
            ]
        }
        if listing.contains(text: "not signed at all") {
            return [Self.failed(.notSigned, "\(program) is not signed, and vmnet requires it without root", sign)]
        }
        guard let key = listing.firstRange(ofText: Self.entitlement),
            listing[key.upperBound...].prefix(80).contains(text: "true")
        else {
            return [Self.failed(.entitlementMissing, "the signature of \(program) lacks \(Self.entitlement)", sign)]
        }
        return Self.ok("signed, with \(Self.entitlement)")
    }
}
