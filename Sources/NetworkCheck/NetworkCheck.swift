// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing
import Wire

/// Checks a network step by step, from a guest's first frame to the outside, and reports each step.
package final class NetworkCheck {
    /// What to probe beyond the guest's own network.
    package struct Options {
        /// A name for the network's resolver.
        package var name: DNSName
        /// The destination of a TCP connection; nil: do not open one.
        package var connect: (address: IPv4Address, port: UInt16)?
        /// The same over IPv6.
        package var connect6: (address: IPv6Address, port: UInt16)?
        /// A TCP server that discards what it reads, and for how long it gets data; nil: do not measure.
        package var throughput: (sink: (address: IPAddress, port: UInt16), duration: TimeAmount)?

        package init(
            name: DNSName, connect: (address: IPv4Address, port: UInt16)? = nil,
            connect6: (address: IPv6Address, port: UInt16)? = nil,
            throughput: (sink: (address: IPAddress, port: UInt16), duration: TimeAmount)? = nil
        ) {
            self.name = name
            self.connect = connect
            self.connect6 = connect6
            self.throughput = throughput
        }
    }

    private static let localhost = DNSName("localhost")!

    let guest: Guest
    let options: Options
    private let onStep: (CheckStep) -> Void
    private var hasFailed = false
    /// Why guests have no IPv6; nil if they have it.
    var lackOfIPv6: String?

    /// - Parameter onStep: called after each step.
    package init(_ guest: Guest, _ options: Options, onStep: @escaping (CheckStep) -> Void) {
        self.guest = guest
        self.options = options
        self.onStep = onStep
    }

    /// The result of a step.
    enum Finding {
        case ok(String)
        case failed(String, remedy: String)
        case skipped(String)
    }

    func step(_ name: String, _ body: () -> Finding) {
        let start = BootClock.now
        let finding = body()
        let duration = BootClock.now - start
        switch finding {
        case .ok(let detail): onStep(CheckStep(name: name, outcome: .ok, duration: duration, detail: detail))
        case .skipped(let reason): onStep(CheckStep(name: name, outcome: .skipped, duration: .zero, detail: reason))
        case .failed(let cause, let remedy):
            hasFailed = true
            onStep(CheckStep(name: name, outcome: .failed, duration: duration, detail: cause, remedy: remedy))
        }
    }

    /// Runs all steps. Returns true if none has failed.
    package func run() -> Bool {
        var lease: Guest.Lease?
        step("lease") {
            do throws(Guest.LeaseFailure) {
                let obtained = try guest.obtainLease()
                lease = obtained
                return .ok(NetworkCheck.describe(obtained))
            } catch {
                return NetworkCheck.explain(error)
            }
        }
        guard let lease else { return false }
        defer { guest.release() }
        let gateway = lease.router ?? lease.server
        var isGatewayThere = false
        step("arp") {
            guard let hardware = guest.neighbour(gateway) else {
                return .failed(
                    "\(gateway) does not answer ARP, though it gave the lease",
                    remedy: "check whether its interface is up: ip addr | grep \(gateway)")
            }
            isGatewayThere = true
            return .ok("\(gateway) is at \(hardware)")
        }
        var answersPing = false
        step("ping") {
            guard isGatewayThere else { return .skipped("no gateway to ping") }
            answersPing = guest.ping(gateway)
            guard answersPing else {
                return .failed(
                    "\(gateway) does not answer ping",
                    remedy: "a firewall on the host may drop it: nft list ruleset | grep -A9 'hook input'")
            }
            return .ok("\(gateway) answers")
        }
        step("mtu") { checkMTU(lease, gateway, isGatewayThere: answersPing) }
        step("name") { checkName(lease) }
        step("dns-tcp") { checkNameByTCP(lease) }
        step("tcp") { checkConnection(lease) }
        step("path") { checkPath(lease) }
        let advertisement = checkIPv6(lease)
        step("rate") { checkThroughput(lease, advertisement) }
        return !hasFailed
    }

    private static func describe(_ lease: Guest.Lease) -> String {
        var text = "\(lease.address)/\(lease.network.prefixLength) from \(lease.server) for \(lease.seconds) s"
        if let router = lease.router, router != lease.server { text += ", router \(router)" }
        if lease.router == nil { text += ", no router" }
        if let mtu = lease.mtu, mtu != 1500 { text += ", MTU \(mtu)" }
        return text
    }

    private static func explain(_ failure: Guest.LeaseFailure) -> Finding {
        switch failure {
        case .noOffer:
            .failed(
                "no DHCP server answered",
                remedy:
                    """
                    start vde_vmnet on this network with --dhcp auto or builtin; its standard error names the DHCP \
                    server
                    """
            )
        case .noAcknowledgement(let server):
            .failed(
                "\(server) offered an address, but did not acknowledge the request", remedy: "check that server's log")
        case .refused(let server):
            .failed(
                "\(server) offered an address, but refused the request",
                remedy: "there may be two DHCP servers on the network: stop one of them")
        case .malformed(let server):
            .failed(
                "\(server) acknowledged a lease without an address or a mask",
                remedy: "check that server's configuration")
        }
    }

    private func checkName(_ lease: Guest.Lease) -> Finding {
        guard let server = lease.nameServers.first else {
            return options.name == NetworkCheck.localhost
                ? .skipped("the network offers no name server")
                : .failed(
                    "the network offers no name server, so that no guest can resolve \(options.name)",
                    remedy: "give guests one: start the network with --dhcp-option dns-server=ADDRESS")
        }
        switch guest.resolve(options.name, at: server) {
        case .addresses(let addresses):
            let text = addresses.isEmpty ? "known, without an IPv4 address" : addresses.joined(separator: ", ")
            return .ok("\(options.name) is \(text) according to \(server)")
        case .failure(let code) where (code == 3 || code == 5) && options.name == NetworkCheck.localhost:
            // A resolver may deny this name (RFC 6761 section 6.3). The step only checks that it answers.
            return .ok("\(server) answers, though it found no \(options.name)")
        case .failure(3):
            return .failed("\(server) has no \(options.name)", remedy: "use a name that exists: --name NAME")
        case .failure(let code):
            return .failed(
                "\(server) could not resolve \(options.name) (\(NetworkCheck.responseName(code)))",
                remedy: "check whether the host can resolve it: getent ahosts \(options.name)")
        case .unreachable(let report):
            return .failed(
                "the name server \(server) is unreachable: \(NetworkCheck.describe(report))",
                remedy: NetworkCheck.remedy(report, for: server))
        case .timedOut:
            return .failed(
                "the name server \(server) does not answer",
                remedy: "a firewall on the host may drop port 53 from guests: nft list ruleset | grep -A9 'hook input'")
        }
    }

    /// The response codes of RFC 1035 section 4.1.1 by their usual names, each with its meaning.
    private static func responseName(_ code: UInt8) -> String {
        switch code {
        case 1: "FORMERR: it did not understand the query"
        case 2: "SERVFAIL: it failed, or reached no server that has it"
        case 3: "NXDOMAIN: the name does not exist"
        case 4: "NOTIMP: it does not offer such queries"
        case 5: "REFUSED: it does not answer this client"
        default: "response code \(code)"
        }
    }

    static func describe(_ report: Guest.UnreachableReport) -> String {
        let reason =
            switch report.code {
            case 0: "network unreachable"
            case 1: "host unreachable"
            case 2: "protocol unreachable"
            case 3: "port unreachable"
            case 9, 10, 13: "administratively prohibited"
            default: "code \(report.code)"
            }
        return "\(report.reporter) answers by ICMP: \(reason)"
    }

    static func remedy(_ report: Guest.UnreachableReport, for address: IPv4Address) -> String {
        remedy(report, for: .ipv4(address))
    }

    static func remedy(_ report: Guest.UnreachableReport, for address: IPAddress) -> String {
        switch report.code {
        case 0:
            "the host is offline, or has no route there: check ip \(address.isIPv6 ? "-6 " : "")route get \(address)"
        case 1: "no host has that address, or its router is down: ping \(address) from the host"
        case 3: "nothing listens there: start the server, or try another port"
        case 9, 10, 13:
            """
            a policy forbids it: --egress deny of vde_vmnet without an --allow for it, --vmnet-mode host, or a \
            reject rule of a firewall
            """
        default: "check the log and the firewall of \(report.reporter)"
        }
    }
}
