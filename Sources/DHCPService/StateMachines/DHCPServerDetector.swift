// SPDX-License-Identifier: Apache-2.0
import Timing
import Wire

/// Detects another DHCP server on the network: it broadcasts a DISCOVER and never requests the address that it is
/// offered.
///
/// Only an offer of an address in reply to that DISCOVER counts. Offers of a proxy, which have no address (PXE
/// specification 2.1, section 2.2.3), and offers to other clients do not. The same server must
/// also answer a second DISCOVER, which has another transaction id.
///
/// # Several servers of this program
///
/// They look for each other at the same time, and a server does not answer before it has looked. So each DISCOVER has
/// the claim of its server (`DHCPServerClaim`). A detector that receives a greater claim waits longer, once: the other
/// server then answers first, and counts by its offers like any other. A server's offers to a detector have its claim
/// too, and an offer with a smaller claim does not count: of two servers that serve, one ends, and not both.
///
/// A guest can forge a claim. That delays the result, and does not change it.
package struct DHCPServerDetector: Sendable {
    /// The result of the detection.
    package enum Verdict: Equatable, Sendable {
        case undecided
        /// No server answered twice.
        case alone
        /// The identifier of the server that answered twice.
        case served(by: IPv4Address)
    }

    /// How long a server has for its offer. dnsmasq, the slowest of the common servers, pings an address for three
    /// seconds before it offers it.
    private static let offerTime = TimeAmount.milliseconds(3500)
    private static let discoverInterval = TimeAmount.seconds(1)
    /// How long a detector waits from a greater claim on. The other server, which may have started right now, needs
    /// `offerTime`; the rest is for its offers.
    private static let precedenceTime = offerTime + .seconds(3)

    /// What was found out so far.
    package private(set) var verdict = Verdict.undecided
    private let hardware: MACAddress
    private let claim: DHCPServerClaim
    /// Another server has shown a greater claim.
    private var hasGivenPrecedence = false
    private var transactionID: UInt32
    /// Transaction of the second DISCOVER.
    private let secondID: UInt32
    /// The server that answered the first DISCOVER.
    private var suspect: IPv4Address?
    private var ends: Instant
    private var nextDiscover: Instant

    /// - Parameters:
    ///   - seed: random; the two transaction ids are its halves.
    ///   - hardware: source of the DISCOVERs. If it stays the same, it occupies one offer of a server only.
    ///   - claim: of the server that the detector works for.
    package init(seed: UInt64, hardware: MACAddress, claim: DHCPServerClaim, now: Instant) {
        self.hardware = hardware
        self.claim = claim
        transactionID = UInt32(truncatingIfNeeded: seed)
        secondID = UInt32(truncatingIfNeeded: seed >> 32)
        ends = now + DHCPServerDetector.offerTime
        nextDiscover = now
    }

    /// When `tick` must be called next; nil after the decision.
    package var nextDeadline: Instant? { verdict == .undecided ? min(nextDiscover, ends) : nil }

    /// Sends a DISCOVER if one is due, and decides when time is up.
    package mutating func tick(now: Instant, into outbox: inout Outbox) {
        guard verdict == .undecided else { return }
        if now >= ends {
            verdict = .alone
        } else if now >= nextDiscover {
            nextDiscover = now + DHCPServerDetector.discoverInterval
            var message = DHCPv4Message(isReply: false, transactionID: transactionID, clientHardware: hardware)
            message.hasBroadcastFlag = true
            message[.messageType] = [DHCPv4Message.Kind.discover.rawValue]
            message[.parameterRequestList] = [DHCPOption.subnetMask.rawValue, DHCPOption.router.rawValue]
            claim.write(to: &message)
            let frame = UDPFrame(from: (hardware, .any, DHCPPort.client), to: (.broadcast, .broadcast, DHCPPort.server))
            outbox.frames.append(frame.bytes(payload: message.bytes()))
        }
    }

    /// Examines a received frame. The second offer of one server decides.
    package mutating func receive(_ frame: RawSpan, now: Instant) {
        guard verdict == .undecided else { return }
        if !hasGivenPrecedence, let other = DHCPServerDetector.claim(in: frame), other > claim {
            hasGivenPrecedence = true
            ends = max(ends, now + DHCPServerDetector.precedenceTime)
        }
        guard let message = DHCPServerDetector.answer(in: frame), message.kind == .offer,
            message.transactionID == transactionID,
            message.clientHardware == hardware, let server = message.address(.serverIdentifier)
        else { return }
        if let other = DHCPServerClaim(in: message), other < claim { return }
        guard let suspect else {
            self.suspect = server
            transactionID = secondID
            nextDiscover = now
            ends = now + DHCPServerDetector.offerTime
            return
        }
        if server == suspect { verdict = .served(by: server) }
    }

    /// The offer or acknowledgement of an address in `frame`, if that has a server identifier.
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

    /// The claim of another server of this program, if `frame` is its detector's DISCOVER.
    package static func claim(in frame: RawSpan) -> DHCPServerClaim? {
        guard let message = message(toServerIn: frame), message.kind == .discover else { return nil }
        return DHCPServerClaim(in: message)
    }

    /// A client's message, if `frame` has one.
    private static func message(toServerIn frame: RawSpan) -> DHCPv4Message? {
        guard let ethernet = try? EthernetView(frame), ethernet.type == EtherType.ipv4,
            let ip = try? IPv4View(ethernet.payload),
            ip.protocolNumber == IPProtocol.udp, !ip.isFragment, let udp = try? UDPView(ip.payload),
            udp.destinationPort == DHCPPort.server,
            let message = try? DHCPv4Message(parsing: udp.payload), !message.isReply
        else { return nil }
        return message
    }

    /// True if `frame` is a client's request that selects another server than `own`, which must have made it an offer.
    package static func selectsOtherServer(_ frame: RawSpan, own: IPv4Address) -> Bool {
        guard let message = message(toServerIn: frame), message.kind == .request,
            let server = message.address(.serverIdentifier)
        else { return false }
        return server != own
    }
}
