// SPDX-License-Identifier: Apache-2.0
import Wire

// The TCP connections that the user requests. A connection that the network does not allow for has failed: only steps
// that the user did not request are skipped.

extension NetworkCheck {
    /// Why no packet can be sent to a destination, and the next step.
    struct Obstacle: Error {
        let cause: String
        let remedy: String

        /// For a step that the user has requested.
        var failure: Finding { .failed(cause, remedy: remedy) }

        /// No answer to ARP or to a solicitation.
        static func noStation(_ address: IPAddress) -> Obstacle {
            Obstacle(
                cause: "\(address) belongs to this network, and no station answers for it",
                remedy: "start the guest that has the address, or check the address: vde_vmnet lease list")
        }
    }

    /// What prevents packets to an IPv4 address; nil for nothing.
    func obstacle(to target: IPv4Address, _ lease: Guest.Lease) -> Obstacle? {
        if lease.network.contains(target) {
            return guest.neighbour(target) == nil ? .noStation(.ipv4(target)) : nil
        }
        guard lease.router == nil else { return nil }
        return Obstacle(
            cause: "the network has no router, and \(target) is beyond it",
            remedy: "start the network with --vmnet-mode shared and without --no-router")
    }

    /// The guest's address, and the hardware address of the next hop: the router's, or that of a station on the link.
    func way(
        to target: IPv6Address, _ found: Guest.Advertisement?
    ) throws(Obstacle) -> (source: IPv6Address, hop: MACAddress) {
        guard let found, let own = found.address else {
            throw Obstacle(
                cause: "the guest has no IPv6: \(lackOfIPv6 ?? "it has no address")",
                remedy: "start the network with --ipv6 auto, or give an IPv4 address")
        }
        if target.isLinkLocal || target.high == own.high {
            guard let hop = guest.resolve(target, from: own) else { throw .noStation(.ipv6(target)) }
            return (own, hop)
        }
        guard found.isDefaultRouter else {
            throw Obstacle(
                cause: "\(found.router) is no default router for IPv6, and \(target) is beyond the network",
                remedy: "check whether the host has IPv6: ip -6 route get \(target)")
        }
        return (own, found.hardware)
    }

    /// What an answer to a SYN means for the user; nil for an accepted connection.
    /// - Parameter server: the next step if nothing listens at the port.
    static func failure(
        _ answer: Guest.ConnectAnswer, at address: IPAddress, port: UInt16,
        server: String = "nothing listens there: start the server, or try another port"
    ) -> Finding? {
        switch answer {
        case .accepted: return nil
        case .refused: return .failed("\(address) refuses connections to port \(port)", remedy: server)
        case .unreachable(let report):
            return .failed(
                "\(address) port \(port) is unreachable: \(describe(report))", remedy: remedy(report, for: address))
        case .timedOut:
            return .failed(
                "\(address) port \(port) does not answer",
                remedy: address.isIPv6
                    ? "check whether the host has IPv6: ip -6 route get \(address)"
                    : """
                    if the host can reach it, a firewall drops forwarded packets: vde_vmnet reports such firewalls \
                    when it starts
                    """)
        }
    }

    func checkConnection(_ lease: Guest.Lease) -> Finding {
        guard let (address, port) = options.connect else { return .skipped("no address given (--tcp ADDRESS:PORT)") }
        if let obstacle = obstacle(to: address, lease) { return obstacle.failure }
        return NetworkCheck.failure(guest.connect(to: address, port: port), at: .ipv4(address), port: port)
            ?? .ok("\(address) port \(port) accepts connections")
    }

    func checkConnection6(_ found: Guest.Advertisement?) -> Finding {
        guard let (target, port) = options.connect6 else {
            return .skipped("no address given (--tcp6 [ADDRESS]:PORT)")
        }
        do throws(Obstacle) {
            let way = try way(to: target, found)
            let answer = guest.connect(to: target, port: port, from: way.source, by: way.hop)
            return NetworkCheck.failure(answer, at: .ipv6(target), port: port)
                ?? .ok("\(target) port \(port) accepts connections")
        } catch {
            return error.failure
        }
    }
}
