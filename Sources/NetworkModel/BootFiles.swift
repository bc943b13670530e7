// SPDX-License-Identifier: Apache-2.0

/// A kind of firmware or boot program that requests a boot file by DHCP.
package enum BootClient: String, CaseIterable, Sendable {
    /// PXE of a BIOS.
    case bios
    /// UEFI on 32-bit x86.
    case efiIA32 = "efi-ia32"
    /// UEFI on 64-bit x86.
    case efiX64 = "efi-x64"
    /// UEFI on 32-bit Arm.
    case efiARM = "efi-arm"
    /// UEFI on 64-bit Arm.
    case efiARM64 = "efi-arm64"
    /// UEFI on 64-bit RISC-V.
    case efiRISCV64 = "efi-riscv64"
    /// iPXE, on any of the others. It is often loaded by them.
    case ipxe

    /// The firmware with this architecture type (RFC 4578 section 2.1, RFC 5970 section 3.3; IANA's registry
    /// "Processor Architecture Types"). Nil for all others.
    package init?(architecture: UInt16) {
        switch architecture {
        case 0: self = .bios
        case 6: self = .efiIA32
        // Firmware for x86 with 64 bits sends the type of EFI byte code, too.
        case 7, 9: self = .efiX64
        case 10: self = .efiARM
        case 11: self = .efiARM64
        case 27: self = .efiRISCV64
        default: return nil
        }
    }
}

/// The files that guests without a disk boot from (`--boot`), by the kind of client.
package struct BootFiles: Equatable, Sendable {
    /// Names of files below the served directory, or URLs.
    package var names: [BootClient: String] = [:]
    /// For clients that are not in `names`.
    package var standard: String?
    /// The path of the directory that the gateway serves by TFTP; nil if all files are URLs.
    package var directory: String?

    /// No files.
    package init() {}

    /// The names of files below the directory.
    package var servedNames: [String] {
        (names.values + [standard].compactMap(\.self)).filter { !BootFiles.isURL($0) }.sorted()
    }

    /// The file for a client: iPXE's own, that of the first of its architectures with a file, or the standard one.
    package func name(architectures: [UInt16], isIPXE: Bool) -> String? {
        if isIPXE, let name = names[.ipxe] { return name }
        for one in architectures {
            if let client = BootClient(architecture: one), let name = names[client] { return name }
        }
        return standard
    }

    /// Whether a URL names a host. One of iPXE's files on its own disk needs none.
    package static func hasHost(_ url: some StringProtocol) -> Bool {
        guard let colon = url.firstIndex(of: ":") else { return false }
        if url[..<colon].lowercased() == "file" { return true }
        let authority = url[colon...].dropFirst(3).prefix { !"/?#".contains($0) }
        let host = authority.lastIndex(of: "@").map { authority[authority.index(after: $0)...] } ?? authority
        return !host.isEmpty && host.first != ":"
    }

    /// Whether a name is a URL, which the client resolves itself.
    package static func isURL(_ name: some StringProtocol) -> Bool {
        guard let colon = name.firstIndex(of: ":") else { return false }
        return name[colon...].hasPrefix("://")
    }
}
