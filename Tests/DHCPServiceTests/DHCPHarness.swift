// SPDX-License-Identifier: Apache-2.0
import DHCPService
import NetworkModel
import TestSupport
import Timing
import Wire

private let second = TimeAmount.seconds(1)
let serverHardware = MACAddress("02:00:00:00:00:01")!

func ip(_ last: Int) -> IPv4Address { IPv4Address("192.168.105.\(last)")! }
/// Short for `Frames.mac`.
func mac(_ number: Int) -> MACAddress { Frames.mac(number) }

/// A server and a clock, and the clients' side of the conversation.
struct DHCPHarness {
    var server: DHCPServer
    var now = Instant.distantPast + .seconds(1000)
    /// Everything that was sent, journalled and noted.
    var outbox = Outbox()

    init(
        last: Int = 254, leases: [Lease] = [], reservations: [AddressReservation] = [],
        _ change: (inout DHCPConfiguration) -> Void = { _ in }
    ) {
        let network = IPv4Network(containing: ip(1), prefixLength: 24)
        var configuration = DHCPConfiguration(
            network: network, server: ip(1), serverHardware: serverHardware, first: ip(2), last: ip(last))
        configuration.router = ip(1)
        configuration.nameServers = [ip(1)]
        configuration.domain = "example.org"
        configuration.reservations = reservations
        change(&configuration)
        server = DHCPServer(configuration, leases: leases)
    }

    func message(
        _ kind: DHCPv4Message.Kind, _ client: MACAddress, _ change: (inout DHCPv4Message) -> Void = { _ in }
    ) -> DHCPv4Message {
        var message = DHCPv4Message(
            isReply: false, transactionID: UInt32(truncatingIfNeeded: client.value), clientHardware: client)
        message[.messageType] = [kind.rawValue]
        change(&message)
        return message
    }

    /// Sends a message as its client would, and returns the answers to it.
    mutating func send(
        _ message: DHCPv4Message, from source: IPv4Address = .any, to destination: IPv4Address = .broadcast,
        at port: ClientPort = .network, isAttached: Bool = true
    ) -> [DHCPv4Message] {
        let frame = Frames.udp(
            from: Endpoint(message.clientHardware, source, port: DHCPPort.client),
            to: Endpoint(
                destination == .broadcast ? .broadcast : serverHardware, destination, port: DHCPPort.server),
            message.bytes())
        server.receive(frame.rawSpan, from: port, isAttached: isAttached, now: now, into: &outbox)
        return takeReplies()
    }

    /// The DHCP messages among the frames sent since the last call.
    mutating func takeReplies() -> [DHCPv4Message] {
        defer { outbox.frames = [] }
        return outbox.frames.compactMap { Frames.dhcpMessage(in: $0) }
    }

    /// Lets time pass, and what is due happen.
    mutating func wait(_ time: TimeAmount) -> [DHCPv4Message] {
        let end = now + time
        while let due = server.nextDeadline, due <= end {
            now = max(now, due)
            server.tick(now: now, into: &outbox)
        }
        now = end
        return takeReplies()
    }

    /// The whole conversation of a client that takes what it is offered. Returns its address.
    /// - Parameter naming: sets options in both messages of the client.
    @discardableResult
    mutating func lease(
        _ client: MACAddress, asking: IPv4Address? = nil, identifier: [UInt8]? = nil, at port: ClientPort = .network,
        naming: (inout DHCPv4Message) -> Void = { _ in }
    ) -> IPv4Address? {
        var discover = message(.discover, client) { $0[.clientIdentifier] = identifier }
        naming(&discover)
        if let asking { discover.set(.requestedAddress, [asking]) }
        guard let offer = (send(discover, at: port) + wait(second)).last, offer.kind == .offer else { return nil }
        var request = selecting(offer, identifier: identifier)
        naming(&request)
        let answer = send(request, at: port).last
        return answer?.kind == .ack ? answer?.yourAddress : nil
    }

    func selecting(_ offer: DHCPv4Message, identifier: [UInt8]? = nil) -> DHCPv4Message {
        message(.request, offer.clientHardware) {
            $0.set(.requestedAddress, [offer.yourAddress])
            $0.set(.serverIdentifier, [offer.address(.serverIdentifier)!])
            $0[.clientIdentifier] = identifier
        }
    }

    mutating func arp(
        _ operation: ARPPacket.Operation, from hardware: MACAddress, _ address: IPv4Address,
        at port: ClientPort = .network
    ) {
        let packet = ARPPacket(
            operation: operation, senderHardware: hardware, senderAddress: address, targetHardware: serverHardware,
            targetAddress: ip(1))
        server.receive(packet.frame(to: serverHardware).rawSpan, from: port, now: now, into: &outbox)
    }
}
