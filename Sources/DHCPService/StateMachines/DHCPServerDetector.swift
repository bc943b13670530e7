// SPDX-License-Identifier: Apache-2.0
import Timing
import Wire

/// Finds out whether somebody else serves DHCP on a network, by asking for an address that is never taken.
///
/// Only a full offer that answers the question counts: not a proxy's, which gives no address (PXE specification 2.1,
/// section 2.2.3), nor what was sent to others. The server that made it is asked once more, with another transaction,
/// and must offer again.
package struct DHCPServerDetector: Sendable {
    package enum Verdict: Equatable, Sendable {
        case undecided
        /// Nobody answered, or not twice.
        case alone
        /// The identifier of the server that did.
        case served(by: IPv4Address)
    }

    /// dnsmasq, the slowest of the usual servers, pings an address for three seconds before it offers it.
    private static let offerTime = TimeAmount.milliseconds(3500)
    private static let discoverInterval = TimeAmount.seconds(1)

    package private(set) var verdict = Verdict.undecided
    private let hardware: MACAddress
    private var transactionID: UInt32
    /// Of the second question.
    private let secondID: UInt32
    /// The server that has answered the first one.
    private var suspect: IPv4Address?
    private var ends: Instant
    private var nextDiscover: Instant

    /// - Parameters:
    ///   - seed: random; the transactions are made of it.
    ///   - hardware: from which the questions come. One that stays the same occupies one offer of a server.
    package init(seed: UInt64, hardware: MACAddress, now: Instant) {
        self.hardware = hardware
        transactionID = UInt32(truncatingIfNeeded: seed)
        secondID = UInt32(truncatingIfNeeded: seed >> 32)
        ends = now + DHCPServerDetector.offerTime
        nextDiscover = now
    }

    package var nextDeadline: Instant? { verdict == .undecided ? min(nextDiscover, ends) : nil }

    package mutating func tick(now: Instant, into outbox: inout Outbox) {
        guard verdict == .undecided else { return }
        if now >= ends {
            verdict = .alone
        } else if now >= nextDiscover {
            nextDiscover = now + DHCPServerDetector.discoverInterval
            var message = DHCPv4Message(isReply: false, transactionID: transactionID, clientHardware: hardware)
            message.wantsBroadcast = true
            message[.messageType] = [DHCPv4Message.Kind.discover.rawValue]
            message[.parameterRequestList] = [DHCPOption.subnetMask.rawValue, DHCPOption.router.rawValue]
            let frame = UDPFrame(from: (hardware, .any, DHCPPort.client), to: (.broadcast, .broadcast, DHCPPort.server))
            outbox.frames.append(frame.bytes(payload: message.bytes()))
        }
    }

    /// Takes a frame; an offer that answers the question settles it, the second time.
    package mutating func receive(_ frame: RawSpan, now: Instant) {
        guard verdict == .undecided, let message = DHCPServerDetector.answer(in: frame), message.kind == .offer,
            message.transactionID == transactionID,
            message.clientHardware == hardware, let server = message.address(.serverIdentifier)
        else { return }
        guard let suspect else {
            self.suspect = server
            transactionID = secondID
            nextDiscover = now
            ends = now + DHCPServerDetector.offerTime
            return
        }
        if server == suspect { verdict = .served(by: server) }
    }

    /// The offer or acknowledgement of an address that `frame` carries, with the server's name.
    private static func answer(in frame: RawSpan) -> DHCPv4Message? {
        guard let ethernet = try? EthernetView(frame), ethernet.type == EtherType.ipv4,
            let ip = try? IPv4View(ethernet.payload),
            ip.protocolNumber == IPProtocol.udp, !ip.isFragment, let udp = try? UDPView(ip.payload),
            udp.destinationPort == DHCPPort.client,
            udp.sourcePort == DHCPPort.server, let message = try? DHCPv4Message(parsing: udp.payload), message.isReply,
            message.kind == .offer || message.kind == .ack, message.yourAddress != .any,
            let server = message.address(.serverIdentifier), server != .any
        else { return nil }
        return message
    }

    /// True if `frame` is a server's offer or acknowledgement of an address, for any client.
    package static func isAnswer(_ frame: RawSpan) -> Bool { answer(in: frame) != nil }

    /// True if `frame` is a client's request that names another server than `own`: it must have had an offer from
    /// there.
    package static func selectsOtherServer(_ frame: RawSpan, own: IPv4Address) -> Bool {
        guard let ethernet = try? EthernetView(frame), ethernet.type == EtherType.ipv4,
            let ip = try? IPv4View(ethernet.payload),
            ip.protocolNumber == IPProtocol.udp, !ip.isFragment, let udp = try? UDPView(ip.payload),
            udp.destinationPort == DHCPPort.server,
            let message = try? DHCPv4Message(parsing: udp.payload), !message.isReply, message.kind == .request,
            let server = message.address(.serverIdentifier)
        else { return false }
        return server != own
    }
}
