// SPDX-License-Identifier: Apache-2.0
import RouterService
import TestSupport
import Testing
import Wire

@Suite struct DHCPv6ServerTests {
    private static let hardware = MACAddress("52:54:00:00:00:01")!
    private static let network = IPv6Network(containing: IPv6Address("fd12:3456:789a::")!, prefixLength: 64)
    private static let reserved = IPv6Address("fd12:3456:789a::10")!
    private static let client: [UInt8] = [0, 3, 0, 1, 0x52, 0x54, 0, 0, 0, 1]
    private let server = DHCPv6Server(hardware: MACAddress("52:54:00:00:00:ff")!)
    private let identifier: [UInt8] = [0, 3, 0, 1, 0x52, 0x54, 0, 0, 0, 0xff]

    private var contents: DHCPv6Server.Contents {
        var contents = DHCPv6Server.Contents(Self.network)
        contents.reservations = [Self.hardware: Self.reserved]
        contents.nameServers = [Self.network.base]
        contents.searchDomains = [DNSName("vm.internal")!]
        return contents
    }

    private func message(
        _ kind: DHCPv6Message.Kind, toServer: Bool = false, _ addresses: [IPv6Address]? = []
    ) -> DHCPv6Message {
        var message = DHCPv6Message(kind, transaction: 0x12_3456)
        message.options = [.init(DHCPv6Message.Code.clientIdentifier, Self.client)]
        if toServer { message.options.append(.init(DHCPv6Message.Code.serverIdentifier, identifier)) }
        if let addresses {
            var association = DHCPv6Association(7)
            association.addresses = addresses.map { .init($0, preferredLifetime: 0, validLifetime: 0) }
            message.options.append(association.option)
        }
        return message
    }

    private func answer(_ message: DHCPv6Message, from hardware: MACAddress = Self.hardware) throws -> DHCPv6Message? {
        let parsed = try DHCPv6Message(parsing: message.bytes.rawSpan)
        #expect(parsed == message)
        guard let answer = server.answer(to: parsed, from: hardware, contents) else { return nil }
        #expect(answer.transaction == message.transaction)
        #expect(answer.contents(DHCPv6Message.Code.serverIdentifier) == identifier)
        #expect(try DHCPv6Message(parsing: answer.bytes.rawSpan) == answer)
        return answer
    }

    private func association(_ message: DHCPv6Message?) throws -> DHCPv6Association {
        let contents = try #require(message?.contents(DHCPv6Message.Code.association))
        return try DHCPv6Association(parsing: contents.rawSpan)
    }

    @Test func reservedAddressIsAssigned() throws {
        let offer = try answer(message(.solicit))
        #expect(offer?.kind == .advertise)
        #expect(try association(offer).addresses.map(\.address) == [Self.reserved])
        for kind in [DHCPv6Message.Kind.request, .renew] {
            let reply = try answer(message(kind, toServer: true, [Self.reserved]))
            #expect(reply?.kind == .reply)
            let given = try association(reply)
            #expect(given.identifier == 7 && given.status == nil)
            #expect(given.addresses == [.init(Self.reserved, preferredLifetime: 2700, validLifetime: 5400)])
            #expect(given.renewal < given.rebinding && given.rebinding < 2700)
        }
        #expect(try association(answer(message(.rebind, [Self.reserved]))).addresses.count == 1)
    }

    @Test func rapidCommitIsAnsweredByReply() throws {
        var solicit = message(.solicit)
        solicit.options.append(.init(DHCPv6Message.Code.rapidCommit))
        let reply = try answer(solicit)
        #expect(reply?.kind == .reply && reply?.contents(DHCPv6Message.Code.rapidCommit) != nil)
    }

    @Test func otherAddressIsTakenAway() throws {
        let other = IPv6Address("fd12:3456:789a::99")!
        let given = try association(answer(message(.renew, toServer: true, [other])))
        #expect(given.addresses.last == .init(other, preferredLifetime: 0, validLifetime: 0))
    }

    @Test func guestWithoutReservationGetsNoAddress() throws {
        let stranger = MACAddress("52:54:00:00:00:09")!
        let offer = try answer(message(.solicit), from: stranger)
        #expect(try association(offer).status == .noAddresses)
        #expect(offer?.contents(DHCPv6Message.Code.status) == [0, 2])
        #expect(try association(answer(message(.renew, toServer: true), from: stranger)).status == .noBinding)
        #expect(try answer(message(.rebind), from: stranger) == nil)
    }

    /// Temporary addresses, and prefixes for a router behind the guest.
    @Test func otherAssociationsAreRefused() throws {
        var solicit = message(.solicit)
        let number: [UInt8] = [0, 0, 0, 9], times: [UInt8] = [0, 0, 1, 0, 0, 0, 2, 0]
        solicit.options += [
            .init(DHCPv6Message.Code.temporaryAssociation, number),
            .init(DHCPv6Message.Code.prefixAssociation, number + times),
            // Too short to be one.
            .init(DHCPv6Message.Code.prefixAssociation, number),
        ]
        let offer = try #require(try answer(solicit))
        #expect(try association(offer).addresses.map(\.address) == [Self.reserved])
        let refused = offer.options.filter {
            [DHCPv6Message.Code.temporaryAssociation, DHCPv6Message.Code.prefixAssociation].contains($0.code)
        }
        #expect(
            refused == [
                .init(DHCPv6Message.Code.temporaryAssociation, number + [0, 13, 0, 2, 0, 2]),
                .init(
                    DHCPv6Message.Code.prefixAssociation,
                    number + [UInt8](repeating: 0, count: 8) + [0, 13, 0, 2, 0, 6]),
            ])
    }

    @Test func informationHasNamesOnly() throws {
        let reply = try #require(try answer(message(.informationRequest, nil)))
        #expect(reply.kind == .reply && reply.contents(DHCPv6Message.Code.association) == nil)
        #expect(reply.contents(DHCPv6Message.Code.nameServers) == Self.network.base.bytes)
        #expect(reply.contents(DHCPv6Message.Code.searchDomains) == DNSName("vm.internal")!.bytes)
        #expect(reply.contents(DHCPv6Message.Code.refreshTime)?.count == 4)
    }

    @Test func confirmationIsOfTheLink() throws {
        #expect(try answer(message(.confirm, [Self.reserved]))?.contents(DHCPv6Message.Code.status) == [0, 0])
        let foreign = IPv6Address("2001:db8::1")!
        #expect(try answer(message(.confirm, [foreign]))?.contents(DHCPv6Message.Code.status) == [0, 4])
        #expect(try answer(message(.confirm)) == nil)
    }

    /// RFC 8415 section 16.
    @Test func invalidMessagesAreNotAnswered() throws {
        for kind in [DHCPv6Message.Kind.solicit, .confirm, .rebind] {
            #expect(try answer(message(kind, toServer: true, [Self.reserved])) == nil)
        }
        for kind in [DHCPv6Message.Kind.request, .renew, .release, .decline] {
            #expect(try answer(message(kind)) == nil)
        }
        for kind in [DHCPv6Message.Kind.advertise, .reply, .reconfigure] { #expect(try answer(message(kind)) == nil) }
        var anonymous = message(.solicit)
        anonymous.options.removeFirst()
        #expect(try answer(anonymous) == nil)
        anonymous.options.insert(.init(DHCPv6Message.Code.clientIdentifier, [UInt8](repeating: 1, count: 131)), at: 0)
        #expect(try answer(anonymous) == nil)
    }

    @Test func truncatedMessageIsRefused() {
        let whole = message(.request, toServer: true, [Self.reserved]).bytes
        for length in 0..<whole.count {
            let part = Array(whole[..<length])
            let parsed = try? DHCPv6Message(parsing: part.rawSpan)
            #expect(parsed == nil || parsed?.bytes == part)
        }
    }

    @Test func fuzzedMessagesAreAnsweredOrNot() {
        fuzz(message(.solicit, [Self.reserved]).bytes) { bytes in
            guard let parsed = try? DHCPv6Message(parsing: bytes.rawSpan) else { return }
            let answer = server.answer(to: parsed, from: Self.hardware, contents)
            #expect((answer?.bytes.count ?? 0) < 1400)
        }
    }
}
