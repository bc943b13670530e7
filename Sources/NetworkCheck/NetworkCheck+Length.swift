// SPDX-License-Identifier: Apache-2.0
import Wire

// The longest packets that pass: to the router, and to the destination that the user gives.

extension NetworkCheck {
    /// Whether packets of the guest's MTU pass to the gateway and back.
    func checkMTU(_ lease: Guest.Lease, _ gateway: IPv4Address, isGatewayThere: Bool) -> Finding {
        guard isGatewayThere else { return .skipped("the gateway does not answer pings") }
        return NetworkCheck.mtuFinding(linkMTU(lease), to: .ipv4(gateway)) {
            guest.ping(gateway, length: $0, attempts: $1)
        }
    }

    /// The same over IPv6.
    func checkMTU6(_ found: Guest.Advertisement?, _ lease: Guest.Lease, isRouterThere: Bool) -> Finding {
        guard let found else { return .skipped("no IPv6") }
        guard isRouterThere else { return .skipped("the router does not answer pings") }
        return NetworkCheck.mtuFinding(linkMTU(found, lease), to: .ipv6(found.router)) {
            guest.ping(found.router, from: guest.linkLocal, by: found.hardware, length: $0, attempts: $1)
        }
    }

    /// The longest packet that passes to the destination of the TCP connection and back.
    func checkPath(_ lease: Guest.Lease) -> Finding {
        guard let (address, _) = options.connect else { return .skipped("no address given (--tcp ADDRESS:PORT)") }
        if let obstacle = obstacle(to: address, lease) { return .skipped(obstacle.cause) }
        return NetworkCheck.pathFinding(linkMTU(lease), to: .ipv4(address)) {
            guest.ping(address, length: $0, attempts: $1)
        }
    }

    /// The same over IPv6.
    func checkPath6(_ found: Guest.Advertisement?, _ lease: Guest.Lease) -> Finding {
        guard let (target, _) = options.connect6 else { return .skipped("no address given (--tcp6 [ADDRESS]:PORT)") }
        guard let found else { return .skipped("no IPv6") }
        let address: IPv6Address, hop: MACAddress
        do throws(Obstacle) { (address, hop) = try way(to: target, found) } catch { return .skipped(error.cause) }
        return NetworkCheck.pathFinding(linkMTU(found, lease), to: .ipv6(target)) {
            guest.ping(target, from: address, by: hop, length: $0, attempts: $1)
        }
    }

    private func linkMTU(_ lease: Guest.Lease) -> Int { Int(lease.mtu ?? 1500) }

    /// The MTU of the guest's link: the router's, or else that of the lease.
    private func linkMTU(_ found: Guest.Advertisement, _ lease: Guest.Lease) -> Int { found.mtu ?? linkMTU(lease) }

    /// Sends a ping of so many bytes, header included, so often until one is answered.
    private typealias Ping = (_ length: Int, _ attempts: Int) -> Guest.LengthAnswer

    /// Bytes of a ping without data.
    private static func shortPing(_ target: IPAddress) -> Int {
        (target.isIPv6 ? IPv6Header.length : IPv4Header.length) + ICMPHeader.length
    }

    private static func mtuFinding(_ mtu: Int, to router: IPAddress, _ ping: Ping) -> Finding {
        if ping(mtu, 2) == .answered { return .ok("packets of \(mtu) bytes pass to \(router) and back") }
        let longest = Guest.longestAnswered(between: shortPing(router), and: mtu) { ping($0, 1) }
        return .failed(
            "of \(mtu) bytes, packets of \(longest) pass to \(router) and back",
            remedy: router.isIPv6 && longest < IPv6Header.minimumMTU
                ? "IPv6 needs an MTU of \(IPv6Header.minimumMTU) bytes: raise that of every part of the network"
                : "give every part of the network the same MTU, such as --vmnet-mtu \(longest)")
    }

    private static func pathFinding(_ mtu: Int, to target: IPAddress, _ ping: Ping) -> Finding {
        guard ping(shortPing(target), 2) == .answered else { return .skipped("\(target) does not answer pings") }
        switch ping(mtu, 2) {
        case .answered: return .ok("packets of \(mtu) bytes pass to \(target) and back")
        case .tooLong(let next, let reporter):
            return .ok("\(reporter) reports a path MTU of \(next) bytes to \(target)")
        case .unreachable(let report):
            return .failed(
                "\(target) is unreachable for packets of \(mtu) bytes: \(describe(report))",
                remedy: remedy(report, for: target))
        case .silent:
            let longest = Guest.longestAnswered(between: shortPing(target), and: mtu) { ping($0, 1) }
            let (messages, report) = target.isIPv6 ? ("ICMPv6", "packet too big") : ("ICMP", "fragmentation needed")
            return .failed(
                "packets above \(longest) bytes vanish on the way to \(target), and no router reports it",
                remedy: "a firewall drops \(messages): let \"\(report)\" through, or use --vmnet-mtu \(longest)")
        }
    }
}
