// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import NetworkConfiguration
import NetworkModel
import Platform

/// The options of `join` about the contents of DHCP leases, and about booting.
struct LeaseOptions: ParsableArguments {
    /// A small number, because no reply has room for many.
    private static let mostOptions = 64
    private static let mostBootFiles = 16

    @Option(
        help: ArgumentHelp(
            """
            Give guests this DHCP option, such as ntp-server=192.0.2.1, domain-search=example.org,lab.example.org, \
            classless-static-route=10.0.0.0/8,192.168.105.2, or by code 224=hex:0a0b or 224=text:abc. It replaces the \
            value that guests would get otherwise. A guest that requests certain options gets it only if it requests \
            it, except router and dns-server. May be repeated.
            """,
            valueName: "name|code=value"))
    var dhcpOption: [String] = []

    @Option(
        help: ArgumentHelp(
            """
            Longest lease of an address, such as 90s, 30m, 12h or 7d. Leases are shorter while addresses are scarce. \
            (default: 30m)
            """,
            valueName: "time"))
    var leaseTime: String?

    @Flag(
        help:
            """
            Give guests no default route, by DHCP or IPv6, because they have one on another network (tap and user \
            only).
            """
    )
    var noRouter = false

    @Option(
        help: ArgumentHelp(
            """
            Let guests boot from this file by PXE or iPXE. Its directory is served to guests by TFTP, read-only; in \
            DIR/./SUB/FILE that is DIR. With CLIENT before it, only for bios, efi-ia32, efi-x64, efi-arm, efi-arm64, \
            efi-riscv64 or ipxe; ipxe may have a URL. May be repeated for files below one directory.
            """,
            valueName: "[client=]file"),
        completion: .file())
    var boot: [String] = []

    func note(in given: inout GivenOptions) {
        given.note(.dhcpOption, !dhcpOption.isEmpty)
        given.note(.leaseTime, leaseTime != nil)
        given.note(.noRouter, noRouter)
        given.note(.boot, !boot.isEmpty)
    }

    /// Stores them in `configuration`.
    func apply(to configuration: inout Configuration) throws {
        guard dhcpOption.count <= LeaseOptions.mostOptions else {
            throw ValidationError("--dhcp-option can be given \(LeaseOptions.mostOptions) times at most")
        }
        for text in dhcpOption {
            do throws(GuestOption.Refusal) {
                let option = try GuestOption(text)
                if configuration.guestOptions.contains(where: { $0.code == option.code }) {
                    throw GuestOption.Refusal(
                        "option \(option.code) is given twice; write all values in one, with commas between them")
                }
                configuration.guestOptions.append(option)
            } catch {
                throw ValidationError("--dhcp-option: \(error)")
            }
        }
        configuration.leaseTime = try leaseTime.map { try DurationArgument($0, option: "--lease-time").seconds }
        configuration.withholdsRouter = noRouter
        if noRouter, configuration.guestOptions.contains(where: { $0.code == 3 }) {
            throw ValidationError("--dhcp-option router does not go with --no-router: leave one of them out")
        }
        configuration.boot = try makeBootFiles()
        if configuration.boot != nil, configuration.guestOptions.contains(where: { [66, 67].contains($0.code) }) {
            throw ValidationError(
                "--dhcp-option tftp-server and bootfile do not go with --boot, which sets them: leave one of them out")
        }
    }

    // MARK: Boot files

    private func makeBootFiles() throws -> BootFiles? {
        guard !boot.isEmpty else { return nil }
        guard boot.count <= LeaseOptions.mostBootFiles else {
            throw ValidationError("--boot can be given \(LeaseOptions.mostBootFiles) times at most")
        }
        var files = BootFiles()
        for text in boot {
            let (client, path) = try LeaseOptions.client(in: text)
            guard !path.isEmpty else { throw ValidationError("--boot: '\(text)' has no file; write [CLIENT=]FILE") }
            guard client.map({ files.names[$0] == nil }) ?? (files.standard == nil) else {
                throw ValidationError(
                    "--boot is given twice for \(client?.rawValue ?? "all clients"); write CLIENT=FILE for each")
            }
            let name = BootFiles.isURL(path) ? path : try LeaseOptions.name(path, in: &files.directory)
            guard client == .ipxe || !BootFiles.isURL(path) else {
                throw ValidationError("--boot: only iPXE loads files from a URL; write ipxe=\(path)")
            }
            guard !BootFiles.isURL(path) || BootFiles.hasHost(path) else {
                throw ValidationError(
                    "--boot: '\(path)' has no host; write one, such as ipxe=http://192.0.2.1/boot.ipxe")
            }
            guard (1...255).contains(name.utf8.count), !name.utf8.contains(where: { $0 < 0x20 || $0 == 0x7f }) else {
                throw ValidationError("--boot: the name '\(name)' is longer than 255 bytes or has a control character")
            }
            if let client { files.names[client] = name } else { files.standard = name }
        }
        return files
    }

    /// Splits `CLIENT=FILE`. A first part with a slash belongs to the path.
    private static func client(in text: String) throws -> (BootClient?, String) {
        guard let equals = text.firstIndex(of: "="), !text[..<equals].contains("/") else { return (nil, text) }
        guard let client = BootClient(rawValue: String(text[..<equals])) else {
            throw ValidationError(
                """
                --boot: '\(text[..<equals])' is no kind of client; write \
                \(BootClient.allCases.map(\.rawValue).joined(separator: ", ")), or ./\(text) for a file
                """
            )
        }
        return (client, String(text[text.index(after: equals)...]))
    }

    /// The name of the file below the served directory, which all files share.
    private static func name(_ path: String, in directory: inout String?) throws -> String {
        let place: String, name: String
        if let mark = DirectoryMark.find(in: path) {
            place = mark.lowerBound == path.startIndex ? "/" : Files.absolute(String(path[..<mark.lowerBound]))
            name = String(path[mark.upperBound...])
        } else {
            let whole = Files.absolute(path)
            let prefix = directory.map { $0 == "/" ? "/" : $0 + "/" }
            if let directory, let prefix, whole.hasPrefix(prefix) {
                place = directory
                name = String(whole.dropFirst(prefix.count))
            } else {
                place = Files.parent(whole)
                name = String(path.split(separator: "/").last ?? "")
            }
        }
        guard directory == nil || directory == place else {
            throw ValidationError(
                """
                --boot: '\(path)' is not below \(directory ?? ""), which the first file's directory is; mark the \
                directory of all files, as in DIR/./SUB/FILE
                """
            )
        }
        guard !path.hasSuffix("/"), !name.isEmpty, !name.split(separator: "/").contains("..") else {
            throw ValidationError("--boot: '\(path)' is not the path of a file; write DIR/FILE without .. after DIR")
        }
        directory = place
        return name
    }

    /// `/./`, which marks the served directory in a path.
    private enum DirectoryMark {
        static func find(in path: String) -> Range<String.Index>? {
            var start = path.startIndex
            while let slash = path[start...].firstIndex(of: "/") {
                if path[slash...].hasPrefix("/./") { return slash..<path.index(slash, offsetBy: 3) }
                start = path.index(after: slash)
            }
            return nil
        }
    }
}
