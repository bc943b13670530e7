// SPDX-License-Identifier: Apache-2.0
import CPlatform

/// Network namespaces other than this process's (Linux, network_namespaces(7)).
package enum ForeignNamespace {
    /// Why a namespace cannot be used.
    package enum Refusal: Error {
        /// It is this process's.
        case own
        /// The file is no network namespace.
        case different
        /// Its file cannot be opened.
        case closed(SystemError)
        /// The interface cannot be created.
        case interface(SystemError)
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

    /// Creates a TAP in a namespace, and brings it up. The kernel removes it with its descriptor.
    /// - Parameters:
    ///   - path: the file of the namespace, which is opened with the rights of the user that called sudo.
    ///   - mtu: in bytes.
    package static func makeTAP(in path: String, named name: String, mtu: Int) throws(Refusal) -> Descriptor {
        let file: Descriptor
        do throws(SystemError) {
            file = try Files.openForCaller(path)
        } catch {
            throw .closed(error)
        }
        switch platform_namespace_is_other(file.raw) {
        case 1: break
        case 0: throw .own
        default: throw .different
        }
        do throws(SystemError) {
            let tap = Descriptor(
                adopting: try SystemError.check(
                    unsafe platform_namespace_tap(file.raw, name, UInt32(mtu)), "create the TAP", name))
            _ = try NetworkInterfaces.adoptTAP(tap)
            return tap
        } catch {
            throw .interface(error)
        }
    }
}
