// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Timing
import Wire

/// A DHCP server for one network (RFC 2131, options of RFC 2132): frames in, frames out; time is handed in.
package struct DHCPServer: Sendable {
    /// Counts of what was refused, for the operator.
    package struct Counters: Equatable, Sendable {
        package var malformed = 0
        package var ignored = 0
        package var exhausted = 0
        package var conflicts = 0
        /// New clients at a port that has its share, or at which too many came at once.
        package var limited = 0
    }

    /// A client that waits for the silence after a probe.
    struct WaitingClient: Sendable {
        enum Purpose: Sendable {
            /// It has sent a DISCOVER.
            case offer
            /// It has sent a REQUEST for an address that it believes to be its own, and of which nothing is known here.
            case reclaim
        }

        var request: DHCPv4Message
        var applicant: Applicant
        var address: IPv4Address
        var due: Instant
        var attempts: Int
        var purpose = Purpose.offer
    }

    struct WaitingKey: Hashable, Sendable {
        let port: ClientPort
        let hardware: MACAddress
    }

    /// Clients that can wait for a probe at a time; a flood of discovers does not get more memory than this.
    static let maximumPending = 256
    /// Addresses tried for one client before it has to ask again.
    static let maximumAttempts = 16
    /// Minimum time between two notes of one kind.
    private static let noteInterval = TimeAmount.minutes(1)

    package var configuration: DHCPConfiguration
    package internal(set) var table: LeaseTable
    package internal(set) var counters = Counters()
    var conflictDetector = AddressConflictDetector()
    var pending: [WaitingKey: WaitingClient] = [:]
    /// Of ports that lead to many clients.
    var rates: [ClientPort: NewClientRate] = [:]
    private var lastExhaustionNote: Instant?
    private var lastShareNote: Instant?
    private var lastNameNote: Instant?

    package init(_ configuration: DHCPConfiguration, leases: [Lease] = []) {
        self.configuration = configuration
        table = LeaseTable(
            first: configuration.first, last: configuration.last, reservations: configuration.reservations)
        for lease in leases {
            table.commit(lease, presence: configuration.knowsPorts ? .gone(since: .distantFuture) : .at(.network))
        }
    }

    /// When `tick` must be called next; nil while no client waits.
    package var nextDeadline: Instant? { pending.values.map(\.due).min() }

    // MARK: Input

    /// Takes a guest's frame: DHCP or ARP, anything else is ignored.
    /// - Parameters:
    ///   - port: by which it came in.
    ///   - isAttached: whether that port is still there. The clients of one that is gone give addresses back, and get
    ///     none.
    package mutating func receive(
        _ frame: RawSpan, from port: ClientPort = .network, isAttached: Bool = true, now: Instant,
        into outbox: inout Outbox
    ) {
        do throws(WireError) {
            let ethernet = try EthernetView(frame)
            switch ethernet.type {
            case EtherType.arp:
                let packet = try ARPPacket(parsing: ethernet.payload)
                if isAttached { receive(packet, from: port, now: now, into: &outbox) }
            case EtherType.ipv4:
                let ip = try IPv4View(ethernet.payload)
                guard ip.protocolNumber == IPProtocol.udp, !ip.isFragment else { return }
                guard ip.hasValidChecksum else { throw .badChecksum }
                let udp = try UDPView(ip.payload)
                guard udp.destinationPort == DHCPPort.server else { return }
                guard udp.hasValidChecksum(source: ip.source, destination: ip.destination) else { throw .badChecksum }
                let message = try DHCPv4Message(parsing: udp.payload)
                // Relays do not exist on this network, and a client that speaks for another's hardware is not one of
                // ours.
                guard !message.isReply, message.relay == .any, message.clientHardware == ethernet.source,
                    !ethernet.source.isGroup,
                    isAttached || message.kind == .release || message.kind == .decline
                else {
                    counters.ignored += 1
                    return
                }
                handle(message, from: port, destination: ip.destination, now: now, into: &outbox)
            default:
                return
            }
        } catch {
            counters.malformed += 1
        }
    }

    /// A port is gone, and its clients with it.
    package mutating func portDetached(_ number: UInt16, now: Instant) {
        table.portDetached(number, now: now)
        for key in pending.keys where key.port.number == number && key.port.kind != .network { pending[key] = nil }
        rates = rates.filter { $0.key.number != number || $0.key.kind == .network }
    }

    /// Does what has become due.
    package mutating func tick(now: Instant, into outbox: inout Outbox) {
        for (key, item) in pending where item.due <= now {
            pending[key] = nil
            let isUnanswered = conflictDetector.isUnanswered(item.address, now: now) && mayHold(item.address, item.applicant, now: now)
            switch item.purpose {
            case .offer:
                if isUnanswered {
                    sendOffer(item.address, to: item.applicant, for: item.request, now: now, into: &outbox)
                } else {
                    // The client itself has answered, or the address went elsewhere meanwhile.
                    discover(item.request, from: key.port, attempts: item.attempts + 1, now: now, into: &outbox)
                }
            case .reclaim:
                finishReclaim(item, isUnanswered: isUnanswered, now: now, into: &outbox)
            }
        }
    }

    private mutating func receive(_ packet: ARPPacket, from port: ClientPort, now: Instant, into outbox: inout Outbox) {
        let address = packet.senderAddress, hardware = packet.senderHardware
        guard table.contains(address), hardware != configuration.serverHardware else { return }
        let isHolder = table.lease(on: address)?.hardware == hardware
        let isGone = if case .gone? = table.presence(on: address) { true } else { false }
        guard conflictDetector.wasProbed(address, now: now) || (isHolder && isGone) else { return }
        // A port that has its share claims nothing more.
        if !isHolder || isGone { guard table.hasRoom(for: port, now: now) else { return } }
        if isHolder { table.noteClient(of: address, at: port) }
        conflictDetector.noteUse(hardware, at: port, using: address, now: now)
        for (key, item) in pending where item.address == address && key.hardware != hardware {
            counters.conflicts += 1
            outbox.note(
                .info, "\(address) is in use by \(hardware)\(isHolder ? "" : " without a lease"); not given out")
            pending[key] = nil
            if !isHolder { quarantine(address, by: port, now: now, into: &outbox) }
            switch item.purpose {
            case .offer: discover(item.request, from: key.port, attempts: item.attempts + 1, now: now, into: &outbox)
            case .reclaim: finishReclaim(item, isUnanswered: false, now: now, into: &outbox)
            }
        }
    }

    private mutating func handle(
        _ message: DHCPv4Message, from port: ClientPort, destination: IPv4Address, now: Instant,
        into outbox: inout Outbox
    ) {
        switch message.kind {
        case .discover:
            discover(message, from: port, attempts: 0, now: now, into: &outbox)
        case .request:
            request(message, from: port, isUnicast: destination == configuration.server, now: now, into: &outbox)
        case .decline:
            decline(message, from: port, now: now, into: &outbox)
        case .release:
            release(message, from: port, now: now, into: &outbox)
        case .inform:
            inform(message, into: &outbox)
        case .offer, .ack, .nak, nil:
            counters.ignored += 1
        }
    }

    /// The client that sends `message`: a clone that was told apart keeps its own identity.
    func applicant(of message: DHCPv4Message, at port: ClientPort, now: Instant) -> Applicant {
        let plain = ClientIdentity(message)
        let distinguished = plain.distinguished(by: message.clientHardware)
        let isClone = table.lease(of: distinguished) != nil || table.offer(to: distinguished, now: now) != nil
        return Applicant(client: isClone ? distinguished : plain, hardware: message.clientHardware, port: port)
    }

    // MARK: What clients may have

    /// True if nobody else holds `address` and it belongs to no other machine.
    func mayHold(_ address: IPv4Address, _ applicant: Applicant, evicting: Bool = true, now: Instant) -> Bool {
        table.isFree(address, for: applicant, evicting: evicting, now: now) && table.suits(address, applicant, now: now)
    }

    /// True if the client holds `address`, or was offered it. An identifier alone proves nothing: anybody can send
    /// another's.
    func holdsOrWasOffered(_ address: IPv4Address, _ applicant: Applicant, now: Instant) -> Bool {
        if let held = table.lease(of: applicant.client), held.address == address, held.hardware == applicant.hardware {
            return true
        }
        return table.isOffered(address, to: applicant.client, hardware: applicant.hardware, now: now)
    }

    /// Whether `address` would be one more for the client's port.
    func addsToShare(_ address: IPv4Address, for applicant: Applicant, now: Instant) -> Bool {
        !table.isHeld(address, by: applicant, now: now) && !table.isReserved(address, for: applicant.hardware)
    }

    /// Whether the client's port may have one more address.
    mutating func mayLeaseMore(_ applicant: Applicant, now: Instant, into outbox: inout Outbox) -> Bool {
        let port = applicant.port
        if port.kind != .guest && rates[port, default: NewClientRate()].isExhausted(now) {
            counters.limited += 1
            return false
        }
        if table.hasRoom(for: port, now: now) { return true }
        counters.limited += 1
        let (held, free) = table.usage(of: port, now: now)
        // Without any, it is no question of shares.
        if held == 0 {
            noteExhaustion(applicant.hardware, now: now, into: &outbox)
        } else if isNoteDue(&lastShareNote, now) {
            let remedy = port.kind == .guest ? "; if further machines are behind it, name it with --trunk" : ""
            outbox.note(
                .warning,
                "no address for \(applicant.hardware): its port has \(held), and \(free) are left for the others\(remedy)",
                at: port)
        }
        return false
    }

    mutating func noteExhaustion(_ hardware: MACAddress, now: Instant, into outbox: inout Outbox) {
        counters.exhausted += 1
        guard isNoteDue(&lastExhaustionNote, now) else { return }
        outbox.note(
            .warning,
            "no address left for \(hardware): all \(table.size) are leased; give a larger range with --vmnet-dhcp-end and --vmnet-mask"
        )
    }

    /// Reports a client that sends the name of another, once a minute at most.
    mutating func noteNameConflict(
        _ name: GuestName, of holder: MACAddress, with hardware: MACAddress, at port: ClientPort, now: Instant,
        into outbox: inout Outbox
    ) {
        guard isNoteDue(&lastNameNote, now) else { return }
        outbox.note(
            .info, "\(hardware) calls itself \(name) as well, which is the name of \(holder) until its lease ends",
            at: port)
    }

    private func isNoteDue(_ last: inout Instant?, _ now: Instant) -> Bool {
        if let before = last, now - before <= DHCPServer.noteInterval { return false }
        last = now
        return true
    }
}
