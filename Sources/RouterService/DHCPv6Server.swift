// SPDX-License-Identifier: Apache-2.0
import Wire

/// A DHCPv6 server (RFC 8415) for guests that make their addresses themselves, and for those with a reserved one. It
/// stores nothing of its clients: an address belongs to a hardware address, and never changes hands.
package struct DHCPv6Server: Sendable {
    /// What clients get.
    package struct Contents: Equatable, Sendable {
        /// The guests' network.
        package var network: IPv6Network
        /// The reserved addresses.
        package var reservations: [MACAddress: IPv6Address] = [:]
        /// DNS servers.
        package var nameServers: [IPv6Address] = []
        /// In the order of the search.
        package var searchDomains: [DNSName] = []
        /// Seconds of an address.
        package var preferredLifetime: UInt32 = 2700, validLifetime: UInt32 = 5400

        package init(_ network: IPv6Network) { self.network = network }
    }

    /// Associations of one client, and addresses in each, that are read.
    private static let mostAssociations = 4, mostAddresses = 8
    /// Bytes of the longest client identifier (RFC 8415 section 11.1).
    private static let longestIdentifier = 130
    /// Seconds after which a client requests information again.
    private static let refreshTime: UInt32 = 3600

    /// DUID-LL of an Ethernet address (RFC 8415 section 11.4).
    private let identifier: [UInt8]

    /// - Parameter hardware: the server's, from which its identifier is made.
    package init(hardware: MACAddress) { identifier = [0, 3, 0, 1] + hardware.bytes }

    /// Answers a message.
    /// - Parameter hardware: of the client.
    /// - Returns: nil if it gets no answer.
    package func answer(
        to message: DHCPv6Message, from hardware: MACAddress, _ contents: Contents
    ) -> DHCPv6Message? {
        guard isValid(message) else { return nil }
        let isCommitted = message.kind != .solicit || message.contents(DHCPv6Message.Code.rapidCommit) != nil
        var answer = DHCPv6Message(isCommitted ? .reply : .advertise, transaction: message.transaction)
        if let client = message.contents(DHCPv6Message.Code.clientIdentifier) {
            answer.options.append(DHCPv6Message.Option(DHCPv6Message.Code.clientIdentifier, client))
        }
        answer.options.append(DHCPv6Message.Option(DHCPv6Message.Code.serverIdentifier, identifier))
        let associations = message.options.lazy.filter { $0.code == DHCPv6Message.Code.association }
            .prefix(DHCPv6Server.mostAssociations).compactMap { try? DHCPv6Association(parsing: $0.contents.rawSpan) }
        let reserved = contents.reservations[hardware]
        switch message.kind {
        case .solicit, .request, .renew, .rebind:
            // On this link, another server may have a binding for a client that this one lacks (section 18.3.5).
            if message.kind == .rebind, reserved == nil { return nil }
            if message.kind == .solicit, isCommitted {
                answer.options.append(DHCPv6Message.Option(DHCPv6Message.Code.rapidCommit))
            }
            for association in associations {
                answer.options.append(assign(reserved, to: association, message.kind, contents).option)
            }
            answer.options += message.options.lazy.compactMap(DHCPv6Message.Option.init(refusing:))
                .prefix(DHCPv6Server.mostAssociations)
            if message.kind == .solicit, reserved == nil { answer.options.append(.init(.noAddresses)) }
        case .confirm:
            let addresses = associations.flatMap { $0.addresses.prefix(DHCPv6Server.mostAddresses) }
            if addresses.isEmpty { return nil }
            let isOnLink = addresses.allSatisfy { contents.network.contains($0.address) }
            answer.options.append(.init(isOnLink ? .success : .notOnLink))
        case .release, .decline: answer.options.append(.init(.success))
        case .informationRequest:
            var time = ByteWriter(capacity: 4)
            time.put32(DHCPv6Server.refreshTime)
            answer.options.append(.init(DHCPv6Message.Code.refreshTime, time.bytes))
        case .advertise, .reply, .reconfigure: return nil
        }
        addNames(contents, to: &answer)
        return answer
    }

    /// RFC 8415 section 16: which identifiers a message must and must not have.
    private func isValid(_ message: DHCPv6Message) -> Bool {
        let client = message.contents(DHCPv6Message.Code.clientIdentifier)
        let server = message.contents(DHCPv6Message.Code.serverIdentifier)
        guard client.map({ (1...DHCPv6Server.longestIdentifier).contains($0.count) }) ?? true else { return false }
        switch message.kind {
        case .solicit, .confirm, .rebind: return client != nil && server == nil
        case .request, .renew, .release, .decline: return client != nil && server == identifier
        case .informationRequest: return server == nil || server == identifier
        case .advertise, .reply, .reconfigure: return false
        }
    }

    private func assign(
        _ reserved: IPv6Address?, to requested: DHCPv6Association, _ kind: DHCPv6Message.Kind, _ contents: Contents
    ) -> DHCPv6Association {
        var answer = DHCPv6Association(requested.identifier)
        guard let reserved else {
            answer.status = kind == .renew ? .noBinding : .noAddresses
            return answer
        }
        answer.renewal = contents.preferredLifetime / 2
        answer.rebinding = contents.preferredLifetime / 5 * 4
        answer.addresses = [
            DHCPv6Association.Address(
                reserved, preferredLifetime: contents.preferredLifetime, validLifetime: contents.validLifetime)
        ]
        // The client is to give up what it may not have (section 18.3.4).
        for other in requested.addresses.prefix(DHCPv6Server.mostAddresses) where other.address != reserved {
            answer.addresses.append(
                DHCPv6Association.Address(other.address, preferredLifetime: 0, validLifetime: 0))
        }
        return answer
    }

    private func addNames(_ contents: Contents, to answer: inout DHCPv6Message) {
        if !contents.nameServers.isEmpty {
            answer.options.append(.init(DHCPv6Message.Code.nameServers, contents.nameServers.flatMap(\.bytes)))
        }
        if !contents.searchDomains.isEmpty {
            answer.options.append(.init(DHCPv6Message.Code.searchDomains, contents.searchDomains.flatMap(\.bytes)))
        }
    }
}
