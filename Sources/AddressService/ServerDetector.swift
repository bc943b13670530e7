// SPDX-License-Identifier: Apache-2.0
import Wire

/// Finds out whether somebody else serves DHCP on a network, by asking for an address that is never taken.
package struct ServerDetector: Sendable {
    package enum Verdict: Equatable, Sendable {
        case undecided
        /// Nobody answered.
        case alone
        /// The identifier of the server that did.
        case served(by: IPv4Address)
    }

    /// dnsmasq, the slowest of the usual servers, pings an address for three seconds before it offers it.
    private static let patience: UInt64 = 3_500_000_000
    private static let interval: UInt64 = 1_000_000_000

    package private(set) var verdict = Verdict.undecided
    private let hardware: MACAddress
    private let transactionID: UInt32
    private let ends: UInt64
    private var nextQuestion: UInt64

    /// - Parameter seed: random; the question comes from an address made of it, which is not seen again.
    package init(seed: UInt64, now: UInt64) {
        hardware = MACAddress((seed & 0xfcff_ffff_ffff) | 0x0200_0000_0000)
        transactionID = UInt32(truncatingIfNeeded: seed >> 16)
        ends = now + ServerDetector.patience
        nextQuestion = now
    }

    package var nextDeadline: UInt64? { verdict == .undecided ? min(nextQuestion, ends) : nil }

    package mutating func tick(now: UInt64, into outbox: inout Outbox) {
        guard verdict == .undecided else { return }
        if now >= ends {
            verdict = .alone
        } else if now >= nextQuestion {
            nextQuestion += ServerDetector.interval
            var message = DHCPv4Message(isReply: false, transactionID: transactionID, clientHardware: hardware)
            message.wantsBroadcast = true
            message[.messageType] = [DHCPv4Message.Kind.discover.rawValue]
            message[.parameterRequestList] = [DHCPOption.subnetMask.rawValue, DHCPOption.router.rawValue]
            let frame = UDPFrame(from: (hardware, .any, DHCPPort.client), to: (.broadcast, .broadcast, DHCPPort.server))
            outbox.frames.append(frame.bytes(payload: message.bytes()))
        }
    }

    /// Takes a frame; an offer or acknowledgement of any server, whoever it is for, settles the question.
    package mutating func receive(_ frame: RawSpan) {
        guard verdict == .undecided, let server = ServerDetector.server(answering: frame) else { return }
        verdict = .served(by: server)
    }

    /// The server that sent `frame`, if it is an offer or an acknowledgement.
    package static func server(answering frame: RawSpan) -> IPv4Address? {
        guard let ethernet = try? EthernetView(frame), ethernet.type == EtherType.ipv4, let ip = try? IPv4View(ethernet.payload),
            ip.protocolNumber == IPProtocol.udp, !ip.isFragment, let udp = try? UDPView(ip.payload), udp.destinationPort == DHCPPort.client,
            udp.sourcePort == DHCPPort.server, let message = try? DHCPv4Message(parsing: udp.payload), message.isReply,
            message.kind == .offer || message.kind == .ack
        else { return nil }
        return message.address(.serverIdentifier) ?? ip.source
    }

    /// True if `frame` is a client's request that names another server than `own`: it must have had an offer from there.
    package static func choosesAnother(_ frame: RawSpan, own: IPv4Address) -> Bool {
        guard let ethernet = try? EthernetView(frame), ethernet.type == EtherType.ipv4, let ip = try? IPv4View(ethernet.payload),
            ip.protocolNumber == IPProtocol.udp, !ip.isFragment, let udp = try? UDPView(ip.payload), udp.destinationPort == DHCPPort.server,
            let message = try? DHCPv4Message(parsing: udp.payload), !message.isReply, message.kind == .request,
            let server = message.address(.serverIdentifier)
        else { return false }
        return server != own
    }
}
