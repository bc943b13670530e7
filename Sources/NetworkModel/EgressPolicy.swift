// SPDX-License-Identifier: Apache-2.0
import Wire

/// Destinations that guests may reach beyond their own network.
package struct EgressPolicy: Equatable, Sendable {
    /// Connections to the gateway's address reach services on the host's loopback address (user mode).
    package var opensHostLoopback = false
    /// No destination: the network has no uplink (`--vmnet-mode host`).
    package var isClosed = false
    /// No destination but `allowed`.
    package var isDenying = false
    /// Exceptions from `isDenying`.
    package var allowed: [AllowedDestination] = [] {
        didSet { if allowed.contains(where: { $0.name != nil }) { checksNames = true } }
    }
    /// Guests resolve only the names in `allowed`. Set by the first name, and kept when the last one is removed: a
    /// shorter list never lets guests resolve more names.
    package private(set) var checksNames = false

    /// Guests may resolve only the names in `allowed`, and connect to their addresses: none if no destination is
    /// allowed.
    package var restrictsNames: Bool { isDenying && (checksNames || allowed.isEmpty) }

    /// The names in guests' TLS and HTTP are compared with `allowed` (`--check-names`, user mode).
    package var inspectsNames = false

    /// Neither private addresses nor those of the host and its networks: the Internet only (`--deny private`).
    package var deniesPrivate = false
    /// The networks of the host's interfaces, its own addresses among them, for `deniesPrivate`.
    package var localNetworks: [AllowedDestination.Network] = []
    /// The NAT64s that the host is behind, for `deniesPrivate` and for answers to allowed names: an address that one of
    /// them leads to a private IPv4 address is private.
    package var translators: [NAT64Prefix] = []

    /// Allows everything but what no guest may reach.
    package init() {}

    /// Refuses all destinations but `allowed`, or none, which ends the check of names. `allowed` is kept in both cases.
    package mutating func setDenying(_ isOn: Bool) {
        isDenying = isOn
        checksNames = isOn && (checksNames || allowed.contains { $0.name != nil })
    }

    /// Whether every destination that this policy allows is allowed by `other` too.
    package func isWithin(_ other: EgressPolicy) -> Bool {
        if other.inspectsNames && !inspectsNames { return false }
        if other.deniesPrivate, !deniesPrivate || !Set(other.localNetworks).isSubset(of: localNetworks) { return false }
        if other.deniesPrivate, !Set(other.translators).isSubset(of: translators) { return false }
        return !other.isDenying || (isDenying && Set(allowed).isSubset(of: other.allowed))
    }

    /// What guests may connect to at the addresses of a name: nothing if the name is not allowed, or is allowed
    /// because names are not checked.
    ///
    /// A rule with port 443 is for TCP: QUIC and DNS over HTTPS/3 are at the same port of UDP, and are not checked.
    package func scopes(of name: DNSName) -> [EgressPin.Scope] {
        guard isDenying, !isClosed else { return [] }
        var scopes: [EgressPin.Scope] = []
        for rule in allowed where rule.name?.matches(name) == true {
            let added: [EgressPin.Scope] =
                rule.port.map { isTCPOnly($0) ? [.tcp($0)] : [.tcp($0), .udp($0)] } ?? [.everyPort]
            scopes += added.filter { !scopes.contains($0) }
        }
        return scopes
    }

    /// Ports of rules that are for HTTP.
    private func isTCPOnly(_ port: UInt16) -> Bool { port == 443 || port == 80 && inspectsNames }

    /// Whether a connection to this port may name a server so.
    package func allowsTCP(named name: DNSName, _ port: UInt16) -> Bool {
        scopes(of: name).contains { $0 == .tcp(port) || $0 == .everyPort }
    }

    /// What a guest may do with an address in an answer to a query for an allowed name.
    package enum AnswerVerdict: Equatable, Sendable {
        /// The address may be pinned.
        case pin
        /// An exception by address allows it, for the ports of that exception.
        case allowed
        /// No name may lead there.
        case refused
    }

    /// Judges an address to which a name leads: names do not open private networks, so that the owner of an allowed
    /// name cannot point it at the host, the LAN or the metadata server of a cloud (DNS rebinding).
    package func verdict(onAnswer address: IPAddress) -> AnswerVerdict {
        switch address {
        case .ipv4(let address):
            return verdict(isGlobal: address.isGlobal) { $0.contains(address, port: $0.port) }
        case .ipv6(let address):
            let behind = translators.lazy.compactMap { $0.destination(of: address) }
            return verdict(isGlobal: address.isGlobal && behind.allSatisfy(\.isGlobal)) {
                $0.contains(address, port: $0.port)
            }
        }
    }

    /// An exception for single ports does not stand for the ports of the name.
    private func verdict(isGlobal: Bool, _ contains: (AllowedDestination) -> Bool) -> AnswerVerdict {
        var isAllowed = false
        for rule in allowed where contains(rule) {
            if rule.port == nil { return .allowed }
            isAllowed = true
        }
        return isGlobal ? .pin : isAllowed ? .allowed : .refused
    }

    /// Whether guests may reach an address beyond their network: by default all but loopback, link-local (with the
    /// metadata servers of clouds, 169.254.169.254), unspecified, multicast and reserved addresses.
    /// - Parameter port: of TCP or UDP; nil for ICMP.
    package func allows(_ address: IPv4Address, port: UInt16?) -> Bool {
        guard !isClosed, address.value >> 24 != 0, !address.isLoopback, !address.isLinkLocal,
            address.value < 0xe000_0000
        else { return false }
        if deniesPrivate, !address.isGlobal || localNetworks.contains(where: { $0.contains(address) }) { return false }
        return !isDenying || allowed.contains { $0.contains(address, port: port) }
    }

    /// The same for IPv6, and IPv4 addresses embedded in it.
    package func allows(_ address: IPv6Address, port: UInt16?) -> Bool {
        guard !isClosed, !address.isLinkLocal, !address.isMulticast, address != .unspecified, !address.isLoopback,
            address.embeddedIPv4 == nil, address != EgressPolicy.metadata6
        else { return false }
        if deniesPrivate, !address.isGlobal || localNetworks.contains(where: { $0.contains(address) }) { return false }
        if deniesPrivate, translators.contains(where: { leadsToPrivate($0, address) }) { return false }
        return !isDenying || allowed.contains { $0.contains(address, port: port) }
    }

    private func leadsToPrivate(_ translator: NAT64Prefix, _ address: IPv6Address) -> Bool {
        guard let destination = translator.destination(of: address) else { return false }
        // As the rules for a TAP have it.
        if translator.hasReservedByte && address.low >> 56 != 0 { return true }
        return !destination.isGlobal || localNetworks.contains { $0.contains(destination) }
    }

    /// `fd00:ec2::254`, the IPv6 metadata server of a cloud.
    private static let metadata6 = IPv6Address(0xfd00_0ec2_0000_0000, 0x254)
}
