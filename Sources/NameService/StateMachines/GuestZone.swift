// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Wire

/// The names that guests hold, and their addresses, at the time of the call.
package protocol GuestDirectory: AnyObject {
    /// The address of the guest that has this name.
    func address(of name: GuestName) -> IPv4Address?
    /// The name of the guest that has this address.
    func name(of address: IPv4Address) -> GuestName?
    /// The IPv6 addresses of the guest that has this name, the most stable ones first.
    func addresses6(of name: GuestName, in network: IPv6Network) -> [IPv6Address]
    /// The name of the guest that this IPv6 address is reserved for.
    func name(of address: IPv6Address, in network: IPv6Network) -> GuestName?
    /// The guest that uses this IPv6 address: its hardware address, and its name if it has one and the address is of
    /// this network. Nil if no guest does.
    func user(of address: IPv6Address, in network: IPv6Network?) -> (hardware: MACAddress, name: GuestName?)?
    /// The name of the guest that has this hardware address.
    func name(of hardware: MACAddress) -> GuestName?
}

/// What the proxy answers by itself.
package enum LocalAnswer: Equatable, Sendable {
    /// The name exists and has these records; none if it has none of the type.
    case records([DNSRecord])
    /// There is no such name.
    case noSuchName
    /// The query is of a class that has no names here.
    case refused
}

/// The names of guests and of the gateway, as a zone of DNS.
///
///     name                                   answer
///     NAME.DOMAIN, gateway too               A, and AAAA with IPv6 addresses within the guests' IPv6 network
///     host.DOMAIN                            A with the gateway's address
///     DOMAIN                                 no record
///     another name within DOMAIN             no such name
///     NAME                                   the same; other types than A and AAAA are not the zone's
///     reverse name of an address of the      PTR with NAME.DOMAIN, or no such name
///     network, or of its links
///     reverse zone of the network            no record
///
/// A guest has AAAA records of the address that is reserved for it, and of those that it uses. The reverse name of an
/// IPv6 address leads to the guest that it is reserved for, else to the guest whose hardware address it is made from
/// (RFC 4291 appendix A), unless another guest uses it, else to the guest that uses it. A bare name is the zone's for
/// addresses only: a guest that calls itself `org` must not hide the keys and servers of that domain from the others.
package struct GuestZone: Sendable {
    /// Labels of the gateway, the first of which is its name in PTR records, and has its IPv6 address.
    private static let gatewayLabels = [Array("gateway".utf8), Array("host".utf8)]

    /// Of the gateway's networks.
    private static let prefixLength6 = 64

    /// The domain of the names.
    package let domain: GuestDomain
    private let guests: GuestNetwork
    /// The gateway's IPv6 addresses, as far as they are known. The zone has the names of addresses in their networks,
    /// which have prefixes of 64 bits.
    package var gatewayIPv6: [IPv6Address] = []
    /// The guests' IPv6 network, in which DHCPv6 assigns reserved addresses; nil for none.
    package var network6: IPv6Network?

    /// - Parameter guests: the network that has the zone's addresses.
    package init(_ domain: GuestDomain, _ guests: GuestNetwork) {
        self.domain = domain
        self.guests = guests
    }

    /// The answer to a question; nil if it is not about a name of the zone.
    /// - Parameter directory: the guests; nil if there is none, as without a DHCP server.
    package func answer(_ question: DNSQuestion, _ directory: (any GuestDirectory)?) -> LocalAnswer? {
        let labels = question.name.labels
        if question.name.isWithin(domain.name) {
            guard question.recordClass == DNSQuestion.internet else { return .refused }
            switch labels.count - domain.name.labels.count {
            case 0: return .records([])
            case 1:
                guard let found = addresses(of: labels[0], directory) else { return .noSuchName }
                return records(found, of: question)
            default: return .noSuchName
            }
        }
        guard question.recordClass == DNSQuestion.internet else {
            return hasAll(below: question.name) ? .refused : nil
        }
        if labels.count == 1, question.type == DNSType.a || question.type == DNSType.aaaa {
            return addresses(of: labels[0], directory).map { records($0, of: question) }
        }
        guard let reverse = DNSReverseName(question.name), isOwn(reverse.address) else {
            // The host's resolvers have none of these (RFC 6303).
            return hasAll(below: question.name) ? .records([]) : nil
        }
        guard reverse.isExact, let label = label(of: reverse.address, directory),
            let name = DNSName("\(label).\(domain)")
        else { return .noSuchName }
        return records([DNSRecord(pointer: name)], of: question)
    }

    private func records(_ records: [DNSRecord], of question: DNSQuestion) -> LocalAnswer {
        .records(records.filter { question.type == $0.type || question.type == DNSType.any })
    }

    /// The records of addresses; nil if no guest has the name.
    private func addresses(of label: [UInt8], _ directory: (any GuestDirectory)?) -> [DNSRecord]? {
        if isGateway(label) {
            // Some clients try the first address only, and servers of the host often listen at IPv4 addresses only.
            let address6 = label == GuestZone.gatewayLabels[0] ? network6?.gateway : nil
            return [DNSRecord(guests.gateway)] + (address6.map { [DNSRecord($0)] } ?? [])
        }
        // A label that is no UTF-8 becomes a text that is no name.
        guard let name = GuestName(String(decoding: label, as: UTF8.self)), let address = directory?.address(of: name)
        else { return nil }
        return [DNSRecord(address)]
            + (network6.flatMap { directory?.addresses6(of: name, in: $0) } ?? []).map { DNSRecord($0) }
    }

    /// Whether every name at and below `name` is the zone's.
    package func hasAll(below name: DNSName) -> Bool {
        if name.isWithin(domain.name) { return true }
        return switch DNSReverseZone(name)?.addresses {
        case .ipv4(let network)?:
            network.prefixLength >= guests.network.prefixLength && guests.network.contains(network.base)
        case .ipv6(let network)?: network.prefixLength >= GuestZone.prefixLength6 && isOwn(.ipv6(network.base))
        case nil: false
        }
    }

    /// Whether a label is a name of the gateway.
    func isGateway(_ label: [UInt8]) -> Bool { GuestZone.gatewayLabels.contains(label) }

    private func isOwn(_ address: DNSReverseName.Address) -> Bool {
        switch address {
        case .ipv4(let address): guests.network.contains(address)
        case .ipv6(let address): address.isLinkLocal || gatewayIPv6.contains { $0.high == address.high }
        }
    }

    private func label(of address: DNSReverseName.Address, _ directory: (any GuestDirectory)?) -> String? {
        let name: GuestName?
        switch address {
        case .ipv4(guests.gateway): return String(decoding: GuestZone.gatewayLabels[0], as: UTF8.self)
        case .ipv4(let address): name = directory?.name(of: address)
        case .ipv6(let address):
            if gatewayIPv6.contains(address) { return String(decoding: GuestZone.gatewayLabels[0], as: UTF8.self) }
            let user = directory?.user(of: address, in: network6), maker = address.embeddedHardware
            let isMakers = user == nil || user?.hardware == maker
            name =
                network6.flatMap { directory?.name(of: address, in: $0) }
                ?? (isMakers ? maker.flatMap { directory?.name(of: $0) } : nil) ?? user?.name
        }
        return name?.description
    }
}
