// SPDX-License-Identifier: Apache-2.0
import Lifecycle
import NetworkModel
import Platform
import Uplinks
import Wire

/// Ports of the host that are held for guests: whoever wants one too is told that it is taken, as we are when somebody
/// has it already. The kernel leads what comes there to the guest, so that these sockets themselves never hear
/// anything.
final class PortReservations {
    private final class Held {
        let socket: Descriptor

        init(_ socket: consuming Descriptor) { self.socket = socket }
    }

    private var held: [Held] = []

    /// - Throws: which port is not to be had, and why.
    init(_ published: [PublishedPort]) throws(ExitError) {
        for one in published {
            for port in one.ports {
                do throws(SystemError) {
                    held.append(Held(try PortReservations.hold(one.transport, SocketAddress(one.bind, port: port))))
                } catch {
                    throw PortReservations.failure(error.code, one, port: port)
                }
            }
        }
    }

    private static func hold(
        _ transport: PublishedPort.Transport, _ address: SocketAddress
    ) throws(SystemError) -> Descriptor {
        switch transport {
        case .tcp:
            let socket = try UnixSocket.internetStream()
            // So that connections of the past do not stand in the way; a listening socket does all the same.
            try socket.bind(to: address, reuse: true)
            try socket.listen(backlog: 1)
            return socket
        case .udp:
            let socket = try UnixSocket.internetDatagram()
            try socket.bind(to: address)
            return socket
        }
    }

    /// What a failure to take one port of the host means.
    /// - Parameter code: the positive errno.
    static func failure(_ code: Int32, _ published: PublishedPort, port: UInt16) -> ExitError {
        let name =
            "\(published.transport.rawValue) port \(port)" + (published.bind == .any ? "" : " of \(published.bind)")
        switch code {
        case Errno.addressInUse:
            let holder = PortHolder.find(published.transport, port).map { " by \($0)" } ?? ""
            return ExitError(
                .unavailable, "--publish \(published): \(name) is taken\(holder); stop that, or publish another port")
        case Errno.addressNotAvailable:
            return ExitError(
                .unavailable,
                "--publish \(published): \(published.bind) is not an address of this host; leave it out for all of them"
            )
        case Errno.accessDenied, Errno.notPermitted:
            return ExitError(
                .noPermission,
                "--publish \(published): \(name) needs privilege; publish one above 1023, or allow this with: sudo sysctl net.ipv4.ip_unprivileged_port_start=\(port)"
            )
        case Errno.tooManyFiles, Errno.tableFull:
            return ExitError(
                .unavailable,
                "--publish \(published): more ports than this process may have descriptors; publish fewer, or raise the limit (ulimit -n)"
            )
        default:
            return ExitError(.unavailable, "--publish \(published): \(name): \(SystemError(code: code, "take").reason)")
        }
    }
}

/// Who has a port of this host, from what Linux tells of its sockets (proc(5)).
enum PortHolder {
    /// `nginx (process 4711)`; nil where it cannot be told.
    static func find(_ transport: PublishedPort.Transport, _ port: UInt16) -> String? {
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

    /// The inodes of the sockets that have `port` as their own, in a listing of /proc/net: listening ones only for TCP.
    static func inodes(in listing: String, port: UInt16, _ transport: PublishedPort.Transport) -> [String] {
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
