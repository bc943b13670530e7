// SPDX-License-Identifier: Apache-2.0
import Platform
import Wire

/// One thing that was tried.
package struct Hop: Equatable {
    package enum Outcome: String {
        case ok
        case failed
        /// The network does not offer it, or it was not asked for.
        case skipped
    }

    package let name: String
    package let outcome: Outcome
    /// Nanoseconds it took.
    package let duration: UInt64
    /// What was found; for a failure the likely cause.
    package let detail: String
    /// One thing to try; for failures only.
    package let remedy: String?

    package init(name: String, outcome: Outcome, duration: UInt64, detail: String, remedy: String? = nil) {
        self.name = name
        self.outcome = outcome
        self.duration = duration
        self.detail = detail
        self.remedy = remedy
    }
}

/// Walks from a guest's first frame to the outside, one hop after the other, and says where it ends.
package final class NetworkCheck {
    package struct Questions {
        /// A name for the network's resolver.
        package var name: DNSName
        /// Where to open a TCP connection.
        package var connect: (address: IPv4Address, port: UInt16)?

        package init(name: DNSName, connect: (address: IPv4Address, port: UInt16)? = nil) {
            self.name = name
            self.connect = connect
        }
    }

    private static let localhost = DNSName("localhost")!

    private let guest: Guest
    private let questions: Questions
    private let onHop: (Hop) -> Void
    private var hasFailed = false

    /// - Parameter onHop: called for each hop as it is done.
    package init(_ guest: Guest, _ questions: Questions, onHop: @escaping (Hop) -> Void) {
        self.guest = guest
        self.questions = questions
        self.onHop = onHop
    }

    /// What a hop comes to.
    private enum Finding {
        case ok(String)
        case failed(String, remedy: String)
        case skipped(String)
    }

    private func hop(_ name: String, _ body: () -> Finding) {
        let start = MonotonicClock.now
        let finding = body()
        let duration = MonotonicClock.now - start
        switch finding {
        case .ok(let detail): onHop(Hop(name: name, outcome: .ok, duration: duration, detail: detail))
        case .skipped(let reason): onHop(Hop(name: name, outcome: .skipped, duration: 0, detail: reason))
        case .failed(let cause, let remedy):
            hasFailed = true
            onHop(Hop(name: name, outcome: .failed, duration: duration, detail: cause, remedy: remedy))
        }
    }

    /// Returns true if everything that the network offers holds.
    package func run() -> Bool {
        var grant: Guest.Grant?
        hop("lease") {
            do throws(Guest.LeaseFailure) {
                let lease = try guest.lease()
                grant = lease
                return .ok(NetworkCheck.describe(lease))
            } catch {
                return NetworkCheck.explain(error)
            }
        }
        guard let grant else { return false }
        defer { guest.release() }
        let gateway = grant.router ?? grant.server
        var isGatewayThere = false
        hop("arp") {
            guard let hardware = guest.neighbour(gateway) else {
                return .failed(
                    "\(gateway) does not answer ARP, though it gave the lease",
                    remedy: "look whether its interface is up: ip addr | grep \(gateway)")
            }
            isGatewayThere = true
            return .ok("\(gateway) is at \(hardware)")
        }
        hop("ping") {
            guard isGatewayThere else { return .skipped("no gateway to ping") }
            guard guest.ping(gateway) else {
                return .failed(
                    "\(gateway) does not answer ping",
                    remedy: "a firewall on the host may drop it: nft list ruleset | grep -A9 'hook input'")
            }
            return .ok("\(gateway) answers")
        }
        hop("name") { checkName(grant) }
        hop("tcp") { checkConnection(grant) }
        return !hasFailed
    }

    private static func describe(_ lease: Guest.Grant) -> String {
        var text = "\(lease.address)/\(lease.network.prefixLength) from \(lease.server) for \(lease.seconds) s"
        if let router = lease.router, router != lease.server { text += ", router \(router)" }
        if lease.router == nil { text += ", no way out" }
        if let mtu = lease.mtu, mtu != 1500 { text += ", MTU \(mtu)" }
        return text
    }

    private static func explain(_ failure: Guest.LeaseFailure) -> Finding {
        switch failure {
        case .noOffer:
            .failed(
                "no DHCP server answered",
                remedy:
                    "is vde_vmnet running on this network, with --dhcp auto or builtin? It says on standard error who serves addresses"
            )
        case .noAcknowledgement(let server):
            .failed("\(server) offered an address and then fell silent", remedy: "look at that server's log")
        case .refused(let server):
            .failed(
                "\(server) offered an address and then refused it",
                remedy: "two servers on one network do this: stop one of them")
        case .nonsense(let server):
            .failed(
                "\(server) granted a lease without an address or a mask", remedy: "look at that server's configuration")
        }
    }

    private func checkName(_ grant: Guest.Grant) -> Finding {
        guard let server = grant.nameServers.first else { return .skipped("the network offers no name server") }
        switch guest.resolve(questions.name, at: server) {
        case .addresses(let addresses):
            return .ok(
                "\(questions.name) is \(addresses.isEmpty ? "known, without an IPv4 address" : addresses.joined(separator: ", ")), says \(server)"
            )
        case .failure(let code) where (code == 3 || code == 5) && questions.name == NetworkCheck.localhost:
            // A resolver need not know it (RFC 6761 section 6.3 lets it say so); that it answers is what was to be
            // seen.
            return .ok("\(server) answers, though it knows no \(questions.name)")
        case .failure(3):
            return .failed("\(server) knows no \(questions.name)", remedy: "ask for a name that exists: --name NAME")
        case .failure(let code):
            return .failed(
                "\(server) could not resolve \(questions.name) (\(NetworkCheck.responseName(code)))",
                remedy: "look whether the host itself can: getent ahosts \(questions.name)")
        case .unreachable(let obstacle):
            return .failed(
                "the name server \(server) is unreachable: \(NetworkCheck.describe(obstacle))",
                remedy: NetworkCheck.remedy(obstacle, for: server))
        case .silence:
            return .failed(
                "the name server \(server) does not answer",
                remedy: "a firewall on the host may drop port 53 from guests: nft list ruleset | grep -A9 'hook input'")
        }
    }

    /// The names of RFC 1035 section 4.1.1 as tools print them, each with what it means.
    private static func responseName(_ code: UInt8) -> String {
        switch code {
        case 1: "FORMERR: it did not understand the query"
        case 2: "SERVFAIL: it failed, or reached no server that knows"
        case 3: "NXDOMAIN: the name does not exist"
        case 4: "NOTIMP: it does not offer such queries"
        case 5: "REFUSED: it does not answer this client"
        default: "response code \(code)"
        }
    }

    private static func describe(_ obstacle: Guest.Obstacle) -> String {
        let reason =
            switch obstacle.code {
            case 0: "network unreachable"
            case 1: "host unreachable"
            case 2: "protocol unreachable"
            case 3: "port unreachable"
            case 9, 10, 13: "administratively prohibited"
            default: "code \(obstacle.code)"
            }
        return "\(obstacle.reporter) answers by ICMP: \(reason)"
    }

    private static func remedy(_ obstacle: Guest.Obstacle, for address: IPv4Address) -> String {
        switch obstacle.code {
        case 0: "the host is offline, or has no route there: look at ip route get \(address)"
        case 1: "nothing has that address, or the router to it is away: ping \(address) from the host"
        case 3: "nothing listens there: start the server, or try another port"
        case 9, 10, 13:
            "a policy forbids it: --egress deny of vde_vmnet without an --allow for it, --vmnet-mode host, or a reject rule of a firewall"
        default: "look at the log and the firewall of \(obstacle.reporter)"
        }
    }

    private func checkConnection(_ grant: Guest.Grant) -> Finding {
        guard let (address, port) = questions.connect else { return .skipped("no address given (--tcp ADDRESS:PORT)") }
        if !grant.network.contains(address) && grant.router == nil { return .skipped("the network has no way out") }
        switch guest.connect(to: address, port: port) {
        case .accepted: return .ok("\(address) port \(port) accepts connections")
        case .refused:
            return .failed(
                "\(address) refuses connections to port \(port)",
                remedy: "nothing listens there: start the server, or try another port")
        case .unreachable(let obstacle):
            return .failed(
                "\(address) port \(port) is unreachable: \(NetworkCheck.describe(obstacle))",
                remedy: NetworkCheck.remedy(obstacle, for: address))
        case .silence:
            return .failed(
                "\(address) port \(port) does not answer",
                remedy:
                    "if the host itself reaches it, a firewall drops what is forwarded: vde_vmnet says so on standard error when it starts"
            )
        }
    }
}
