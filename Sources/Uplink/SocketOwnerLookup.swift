// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Platform

/// Finds the process that has a port of this host, from Linux's lists of sockets (proc(5)).
package enum SocketOwnerLookup {
    /// The name and process of the owner, such as `nginx (process 4711)`; nil if it cannot be found.
    package static func find(_ transport: PublishedPort.Transport, _ port: UInt16) -> String? {
        let sockets = Set(
            ["", "6"].flatMap {
                inodes(in: Files.text("/proc/net/\(transport.rawValue)\($0)") ?? "", port: port, transport)
            })
        return owner(of: sockets).map { "\($0.program) (process \($0.process))" }
    }

    /// The process that has `port` of every address of this host; nil if there is none, or it is hidden from this user.
    /// - Returns: the process, and how it calls itself, which may be any text.
    package static func wildcardOwner(
        _ transport: PublishedPort.Transport, _ port: UInt16
    ) -> (process: Int32, program: String)? {
        let sockets = Set(
            ["", "6"].flatMap {
                inodes(
                    in: Files.text("/proc/net/\(transport.rawValue)\($0)") ?? "", port: port, transport,
                    isWildcard: true)
            })
        return owner(of: sockets)
    }

    private static func owner(of sockets: Set<String>) -> (process: Int32, program: String)? {
        guard !sockets.isEmpty else { return nil }
        for name in (try? Files.entries("/proc")) ?? [] {
            guard let process = Int32(name) else { continue }
            for descriptor in (try? Files.entries("/proc/\(name)/fd")) ?? [] {
                guard let target = Files.linkTarget("/proc/\(name)/fd/\(descriptor)"), target.hasPrefix("socket:["),
                    sockets.contains(String(target.dropFirst(8).dropLast()))
                else { continue }
                return (process, Files.text("/proc/\(name)/comm") ?? "a program")
            }
        }
        return nil
    }

    /// The inodes of the sockets with the local port `port` in a listing of /proc/net; for TCP, of listening ones only.
    /// - Parameter isWildcard: only sockets that are bound to no address.
    package static func inodes(
        in listing: String, port: UInt16, _ transport: PublishedPort.Transport, isWildcard: Bool = false
    ) -> [String] {
        listing.split(separator: "\n").dropFirst().compactMap { line in
            let fields = line.split(separator: " ")
            guard fields.count > 9, let local = fields[1].split(separator: ":").last, UInt16(local, radix: 16) == port
            else { return nil }
            guard !isWildcard || fields[1].prefix(while: { $0 != ":" }).allSatisfy({ $0 == "0" }) else { return nil }
            // 0A: TCP_LISTEN.
            guard transport == .udp || fields[3] == "0A" else { return nil }
            return String(fields[9])
        }
    }
}
