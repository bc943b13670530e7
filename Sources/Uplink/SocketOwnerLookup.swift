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
        guard !sockets.isEmpty else { return nil }
        for name in (try? Files.entries("/proc")) ?? [] where Int32(name) != nil {
            for descriptor in (try? Files.entries("/proc/\(name)/fd")) ?? [] {
                guard let target = Files.linkTarget("/proc/\(name)/fd/\(descriptor)"), target.hasPrefix("socket:["),
                    sockets.contains(String(target.dropFirst(8).dropLast()))
                else { continue }
                return "\(Files.text("/proc/\(name)/comm") ?? "a program") (process \(name))"
            }
        }
        return nil
    }

    /// The inodes of the sockets with the local port `port` in a listing of /proc/net; for TCP, of listening ones only.
    package static func inodes(in listing: String, port: UInt16, _ transport: PublishedPort.Transport) -> [String] {
        listing.split(separator: "\n").dropFirst().compactMap { line in
            let fields = line.split(separator: " ")
            guard fields.count > 9, let local = fields[1].split(separator: ":").last, UInt16(local, radix: 16) == port
            else { return nil }
            // 0A: TCP_LISTEN.
            guard transport == .udp || fields[3] == "0A" else { return nil }
            return String(fields[9])
        }
    }
}
