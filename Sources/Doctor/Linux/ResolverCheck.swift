// SPDX-License-Identifier: Apache-2.0
import NameService
import Platform
import Timing
import Wire

/// The host's resolvers, to which a network passes guests' queries on.
struct ResolverCheck: HostCheck {
    static let name = "resolvers"
    private static let path = "/etc/resolv.conf"

    /// What a resolver does with a query.
    enum Answer: Equatable, Sendable {
        /// It has answered, whatever the answer.
        case answered
        /// Nothing listens at its port.
        case refused
        case unreachable
        case silent
    }

    /// Whether guests' queries reach the host's resolvers, or would after a start.
    let isNeeded: Bool
    /// Whether the file exists.
    let hasFile: Bool
    /// In the order of the file.
    let servers: [(address: SocketAddress, answer: Answer)]
    /// The resolvers of the running network; nil if there is none, or this user may not read them.
    let used: [String]?
    /// The running network's process.
    let process: Int32
    /// The gateway of the default route, which is a resolver in most small networks.
    let router: IPv4Address?
    let hasSystemdResolved: Bool

    static func gathered(_ scene: Scene) -> ResolverCheck {
        let servers = Resolvers(path: path).servers
        let isNeeded = scene.network?.answersDNS ?? true
        return ResolverCheck(
            isNeeded: isNeeded, hasFile: Files.exists(path), servers: isNeeded ? probe(servers) : [],
            used: scene.network.flatMap { $0.hasOwnResolvers ? nil : $0.resolvers },
            process: scene.network?.process ?? 0, router: scene.defaultRoutes.first?.gateway,
            hasSystemdResolved: Files.exists("/run/systemd/resolve/stub-resolv.conf"))
    }

    /// Sends each server a query for `localhost`, which it answers without others. All at a time.
    private static func probe(_ servers: [SocketAddress]) -> [(address: SocketAddress, answer: Answer)] {
        // As resolv.conf(5) limits them.
        let servers = Array(servers.prefix(3))
        let deadline = BootClock.now + .seconds(3)
        let id: UInt16 = Random.value()
        let query = DNSMessage.query(id: id, DNSQuestion(name: DNSName("localhost")!, type: DNSType.a))
        var sockets: [Int32: Answer] = [:]
        var order: [(SocketAddress, Int32)] = []
        for server in servers {
            do throws(SystemError) {
                let socket = try Socket.udp(ipv6: !server.isIPv4)
                try socket.connect(to: server)
                _ = try socket.send(query)
                order.append((server, socket.release()))
            } catch {
                order.append((server, -1 - Int32(order.count)))
                sockets[order.last!.1] = answer(error)
            }
        }
        return order.map { server, raw in
            if let failed = sockets[raw] { return (server, failed) }
            return (server, wait(Descriptor(adopting: raw), id, deadline))
        }
    }

    private static func wait(_ socket: consuming Descriptor, _ id: UInt16, _ deadline: Instant) -> Answer {
        while !socket.wait(for: .readable, until: deadline).isEmpty {
            do throws(SystemError) {
                let bytes = try socket.receive(limit: 4096)
                if let view = try? DNSView(bytes.rawSpan), view.isResponse, view.id == id { return .answered }
            } catch {
                if error.code != Errno.again { return answer(error) }
            }
        }
        return .silent
    }

    private static func answer(_ error: SystemError) -> Answer {
        error.code == Errno.refused ? .refused : .unreachable
    }

    private var remedyForEmpty: String {
        if hasSystemdResolved {
            return Remedy.sudo("ln", "-sf", "/run/systemd/resolve/stub-resolv.conf", Self.path)
        }
        let server = router.map { "\($0)" } ?? "9.9.9.9"
        return "echo nameserver \(server) | sudo tee \(Self.path)"
    }

    var diagnoses: [Diagnosis] {
        guard isNeeded else { return Self.ok("not needed: this network answers no queries for names") }
        guard hasFile else {
            return [
                Self.failed(.resolvConfMissing, "\(Self.path) does not exist: guests resolve no names", remedyForEmpty)
            ]
        }
        guard !servers.isEmpty else {
            return [
                Self.failed(.noResolver, "\(Self.path) names no resolver: guests resolve no names", remedyForEmpty)
            ]
        }
        var found = servers.filter { $0.answer != .answered }.map { diagnosis($0.address, $0.answer) }
        if let used, !Set(used).isSuperset(of: servers.map { "\($0.address)" }) {
            found.append(
                Self.warning(
                    .resolversDiffer,
                    """
                    the network uses the resolvers \(used.isEmpty ? "none" : used.joined(separator: ", ")), and this \
                    shell others: it runs in another place, such as a container
                    """, Remedy.sudo("nsenter", "-t", "\(process)", "-m", "-n", "vde_vmnet", "doctor")))
        }
        return found.isEmpty
            ? Self.ok(servers.map { "\($0.address)" }.joined(separator: ", ") + " answers") : found
    }

    /// A resolver without an answer fails the host if no other one answers.
    private func diagnosis(_ address: SocketAddress, _ answer: Answer) -> Diagnosis {
        let hasOther = servers.contains { $0.answer == .answered }
        let isLocal = address.ipv4.map { $0.bytes[0] == 127 } ?? false
        let remove = Remedy.sudo("sed", "-i", "/^nameserver \(address.hostText)$/d", Self.path)
        let isStub = isLocal && address.ipv4 == IPv4Address("127.0.0.53")
        let command =
            isStub ? Remedy.sudo("systemctl", "restart", "systemd-resolved") : hasOther ? remove : remedyForEmpty
        let cause: Cause, detail: String
        switch answer {
        case _ where isLocal && answer != .answered:
            cause = .localResolverDead
            detail = "the resolver \(address) is to run on this host, and does not answer"
        case .refused, .unreachable:
            cause = .resolverUnreachable
            detail =
                answer == .refused
                ? "the resolver \(address) refuses queries: nothing listens there"
                : "the resolver \(address) is unreachable: this host has no route to it"
        default:
            cause = .resolverSilent
            detail = "the resolver \(address) does not answer within three seconds"
        }
        return hasOther ? Self.warning(cause, detail, command) : Self.failed(cause, detail, command)
    }
}

extension SocketAddress {
    /// The address without its port.
    fileprivate var hostText: String { ipv4.map { "\($0)" } ?? ipv6.map { "\($0)" } ?? "" }
}
