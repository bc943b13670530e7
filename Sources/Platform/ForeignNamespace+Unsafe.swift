// SPDX-License-Identifier: Apache-2.0
import CPlatform
import Wire

/// A network namespace other than this process's (Linux, network_namespaces(7)).
package final class ForeignNamespace: Sendable {
    /// Why a namespace cannot be used.
    package enum Refusal: Error {
        /// It is this process's.
        case own
        /// The file is no network namespace.
        case different
        /// Its file cannot be opened.
        case closed(SystemError)
    }

    /// Whether this system has network namespaces.
    package static var isSupported: Bool { !OperatingSystem.isMacOS }

    /// The file of the namespace that a text stands for: of a process, by its number; of ip-netns(8), by a name; else a
    /// path.
    package static func path(of text: String) -> String {
        if text.contains("/") { return text }
        let isNumber = text.utf8.allSatisfy { UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0 }
        return isNumber ? "/proc/\(text)/ns/net" : "/run/netns/\(text)"
    }

    private let file: Descriptor
    /// The file's metadata, by which its path is compared later.
    package let status: FileStatus

    /// Opens the file of a namespace.
    package init(_ path: String) throws(Refusal) {
        do throws(SystemError) {
            file = Descriptor(adopting: try SystemError.check(unsafe platform_namespace_open(path), "open", path))
            status = try file.status()
        } catch {
            throw error.code == Errno.invalid ? .different : .closed(error)
        }
        guard platform_namespace_is_other(file.raw) == 1 else { throw .own }
    }

    /// A descriptor that is readable when a process has ended; nil if there is no such process.
    package static func handle(of process: Int32) -> Descriptor? {
        let raw = platform_process_handle(process)
        return raw < 0 ? nil : Descriptor(adopting: raw)
    }

    /// Creates a TAP in it, and brings it up. The kernel removes it with its descriptor.
    /// - Parameter mtu: in bytes.
    package func makeTAP(named name: String, hardware: MACAddress, mtu: Int) throws(SystemError) -> Descriptor {
        let bytes = hardware.bytes
        return Descriptor(
            adopting: try SystemError.check(
                unsafe bytes.withUnsafeBufferPointer {
                    unsafe platform_namespace_tap(file.raw, name, $0.baseAddress, UInt32(mtu))
                }, "create the TAP", name))
    }

    /// Gives an interface in it an address, and adds a default route if there is a gateway.
    package func configure(
        _ name: String, address: IPv4Address, prefixLength: Int, gateway: IPv4Address?
    ) throws(SystemError) {
        try SystemError.check(
            unsafe platform_namespace_configure(
                file.raw, name, address.value, UInt8(prefixLength), gateway?.value ?? 0), "configure", name)
    }
}
