// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Timing
import Wire

/// A DHCP server for one network (RFC 2131, options of RFC 2132): it takes frames and the time, and returns effects in
/// an `Outbox`. It has no clock and no file.
///
/// # Theory of operation
///
/// The state of a client is not stored; a message shows it (RFC 2131 section 4.3.2, table 4):
///
///     client state  message                                       reply
///     INIT          DISCOVER                                      OFFER, after a probe of the address
///     SELECTING     REQUEST, server identifier, requested addr.   ACK if that was offered to it, else NAK; for another
///                                                                 server: the offer is withdrawn
///     INIT-REBOOT   REQUEST, requested address, no ciaddr         ACK for its lease, NAK for another address
///     RENEWING      REQUEST, ciaddr, unicast                      ACK for its lease, else NAK
///     REBINDING     REQUEST, ciaddr, broadcast                    ACK for its lease, else NAK
///     BOUND         DECLINE                                       none; the address is quarantined for 10 min
///     BOUND         RELEASE                                       none; the lease ends
///     any           INFORM                                        ACK without an address
///
/// A server that may not be the only one (`isAuthoritative` is false) ignores a client without a record in INIT-REBOOT
/// and REBINDING. The only server answers it after a probe: ACK if the address is free or the client itself answers for
/// it, else NAK (`reclaim`).
///
/// # Choosing an address
///
/// In this order: the client's reserved address, its lease, its offer, the lease of another client identifier of its
/// hardware address, the address that it requests, one that was never used, and the one that was unused for longest
/// (`LeaseTable`). Before an address is offered that the client does not hold, an ARP probe looks for it
/// (`AddressConflictDetector`); the client waits in `waiting` for 50 ms. A host that answers without a lease puts the
/// address into quarantine, and the next address is tried.
///
/// # Several servers
///
/// An offer binds for 30 s and only for its client; a REQUEST for another server withdraws it. The runner decides
/// whether the server answers at all (`DHCPServerRunner`).
///
/// # Quotas
///
/// A guest can make up clients. An address counts for the switch port of its client, and a port may hold as many as are
/// free (`LeaseTable.hasRoom`), a trunk four times as many. A port with many clients may add 64 at once and then one a
/// second (`NewClientRate`). At most 256 clients wait for probes, and no port takes more than it leaves
/// (`hasRoomToWait`).
package struct DHCPServer: Sendable {
    /// Counters for the operator.
    package struct Counters: Equatable, Sendable {
        /// Frames that could not be parsed.
        package var malformed = 0
        /// Messages that the server does not answer.
        package var ignored = 0
        /// Clients for which no address was left.
        package var exhausted = 0
        /// Addresses that a host used without a lease.
        package var conflicts = 0
        /// New clients at a port that has its share, or that adds clients too fast.
        package var limited = 0
    }

    /// A client whose request waits for the result of a probe.
    struct WaitingClient: Sendable {
        enum Purpose: Sendable {
            /// It sent a DISCOVER.
            case offer
            /// It sent a REQUEST for an address of which the server has no record.
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

    /// Clients that can wait for a probe at a time: the memory that a flood of DISCOVERs can take.
    static let maximumPending = 256
    /// Addresses that are tried for one DISCOVER.
    static let maximumAttempts = 16
    /// Minimum time between two notes of one kind.
    private static let noteInterval = TimeAmount.minutes(1)

    /// Options and addresses. The runner updates options that depend on the host.
    package var configuration: DHCPConfiguration
    /// Leases and offers.
    package internal(set) var table: LeaseTable
    /// Counted since the start.
    package internal(set) var counters = Counters()
    /// From the reservations.
    private(set) var fixedNames: FixedNames
    var conflictDetector = AddressConflictDetector()
    var waiting: [WaitingKey: WaitingClient] = [:]
    /// Rates of ports with several clients.
    var rates: [ClientPort: NewClientRate] = [:]
    private var lastExhaustionNote: Instant?
    private var lastShareNote: Instant?
    private var lastNameNote: Instant?
    /// What the log has named once.
    var notedOmissions = NotedOmissions()

    /// - Parameter leases: from before a restart.
    package init(_ configuration: DHCPConfiguration, leases: [Lease] = []) {
        self.configuration = configuration
        table = LeaseTable(
            first: configuration.first, last: configuration.last, reservations: configuration.reservations)
        fixedNames = FixedNames(configuration.reservations)
        for lease in leases {
            table.commit(
                restored(lease), presence: configuration.hasKnownPorts ? .gone(since: .distantFuture) : .at(.network))
        }
    }

    /// When `tick` must be called next; nil while no client waits.
    package var nextDeadline: Instant? { waiting.values.map(\.due).min() }

    // MARK: Input

    /// Handles a frame of a guest: DHCP or ARP; others are ignored.
    /// - Parameters:
    ///   - port: from which it was received.
    ///   - isAttached: whether that port still exists. Clients of a detached port can release addresses only.
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
                // The network has no relay agents, and a client sends for its own hardware address only.
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

    /// Ends the lease on an address. Its client keeps using the address until it renews the lease.
    /// - Returns: whether there was an active lease.
    package mutating func release(_ address: IPv4Address, now: Instant, into outbox: inout Outbox) -> Bool {
        guard let lease = table.lease(on: address), lease.expires > now else { return false }
        table.end(address, now: now)
        if let ended = table.lease(on: address) { outbox.changes.append(ended) }
        return true
    }

    /// Reserves an address for a client, instead of another one that was. The name and the IPv6 address that are
    /// reserved for it stay.
    package mutating func reserve(_ address: IPv4Address, for hardware: MACAddress) {
        let before = configuration.reservations.first { $0.hardware == hardware }
        let reservation = AddressReservation(
            hardware: hardware, address: address, address6: before?.address6, name: before?.name)
        configuration.reservations.removeAll { $0.hardware == hardware }
        configuration.reservations.append(reservation)
        table.reserve(reservation)
        fixedNames = FixedNames(configuration.reservations)
    }

    /// Reserves an address for a client that will not request one. Nil if all are taken.
    package mutating func reserveFreeAddress(for hardware: MACAddress, now: Instant) -> IPv4Address? {
        guard let address = table.freeAddress(for: hardware, now: now) else { return nil }
        if !table.isReserved(address, for: hardware) {
            reserve(address, for: hardware)
        }
        return address
    }

    /// Removes the reservation of a client, with the name that it fixes: its lease keeps a name that the client itself
    /// sends. Returns whether there was one.
    package mutating func removeReservation(of hardware: MACAddress, into outbox: inout Outbox) -> Bool {
        guard let reservation = configuration.reservations.first(where: { $0.hardware == hardware }) else {
            return false
        }
        configuration.reservations.removeAll { $0.hardware == hardware }
        table.removeReservation(of: hardware)
        fixedNames = FixedNames(configuration.reservations)
        if let name = reservation.name { outbox.changes += table.forget(name, of: hardware) }
        return true
    }

    /// A port was detached from the switch, and its clients with it.
    package mutating func portDetached(_ number: UInt16, now: Instant) {
        table.portDetached(number, now: now)
        for key in waiting.keys where key.port.number == number && key.port.kind != .network { waiting[key] = nil }
        rates = rates.filter { $0.key.number != number || $0.key.kind == .network }
    }

    /// Handles the deadlines that have passed.
    package mutating func tick(now: Instant, into outbox: inout Outbox) {
        for (key, item) in waiting where item.due <= now {
            waiting[key] = nil
            let isUnanswered =
                conflictDetector.isUnanswered(item.address, now: now) && mayHold(item.address, item.applicant, now: now)
            switch item.purpose {
            case .offer:
                if isUnanswered {
                    sendOffer(item.address, to: item.applicant, for: item.request, now: now, into: &outbox)
                } else {
                    // The client itself has answered, or another client has the address meanwhile.
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
        // A port that has its share cannot claim further addresses.
        if !isHolder || isGone { guard table.hasRoom(for: port, now: now) else { return } }
        if isHolder { table.noteClient(of: address, at: port) }
        conflictDetector.noteUse(hardware, at: port, using: address, now: now)
        for (key, item) in waiting where item.address == address && key.hardware != hardware {
            counters.conflicts += 1
            outbox.note(
                .info, "\(address) is in use by \(hardware)\(isHolder ? "" : " without a lease"); not given out")
            waiting[key] = nil
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

    /// The client that sent `message`. A clone that was given a separate identity keeps it.
    func applicant(of message: DHCPv4Message, at port: ClientPort, now: Instant) -> Applicant {
        let plain = ClientIdentity(message)
        let distinguished = plain.distinguished(by: message.clientHardware)
        let isClone = table.lease(of: distinguished) != nil || table.offer(to: distinguished, now: now) != nil
        return Applicant(client: isClone ? distinguished : plain, hardware: message.clientHardware, port: port)
    }

    // MARK: Permissions and quotas

    /// Whether no other client holds `address` and it is not reserved for another.
    /// - Parameter evicting: leases of clients whose port is detached do not count.
    func mayHold(_ address: IPv4Address, _ applicant: Applicant, evicting: Bool = true, now: Instant) -> Bool {
        table.isFree(address, for: applicant, evicting: evicting, now: now) && table.suits(address, applicant, now: now)
    }

    /// Whether the client holds `address` or was offered it. The hardware address must match as well, because any
    /// client can send the identifier of another.
    func holdsOrWasOffered(_ address: IPv4Address, _ applicant: Applicant, now: Instant) -> Bool {
        if let held = table.lease(of: applicant.client), held.address == address, held.hardware == applicant.hardware {
            return true
        }
        return table.isOffered(address, to: applicant.client, hardware: applicant.hardware, now: now)
    }

    /// Whether a lease of `address` would add to the share of the client's port.
    func addsToShare(_ address: IPv4Address, for applicant: Applicant, now: Instant) -> Bool {
        !table.isHeld(address, by: applicant, now: now) && !table.isReserved(address, for: applicant.hardware)
    }

    /// Whether the client's port may hold one more address. Counts and reports a refusal.
    mutating func mayLeaseMore(_ applicant: Applicant, now: Instant, into outbox: inout Outbox) -> Bool {
        let port = applicant.port
        if port.kind != .guest && rates[port, default: NewClientRate()].isExhausted(now) {
            counters.limited += 1
            return false
        }
        if table.hasRoom(for: port, now: now) { return true }
        counters.limited += 1
        let (held, free) = table.usage(of: port, now: now)
        // A port without addresses is refused because the pool is empty.
        if held == 0 {
            noteExhaustion(applicant.hardware, now: now, into: &outbox)
        } else if isNoteDue(&lastShareNote, now) {
            let remedy = port.kind == .guest ? "; if it has several guests behind it, name it with --trunk" : ""
            outbox.note(
                .warning,
                "no address for \(applicant.hardware): its port has \(held), and \(free) are left for the other "
                    + "ports\(remedy)",
                at: port)
        }
        return false
    }

    mutating func noteExhaustion(_ hardware: MACAddress, now: Instant, into outbox: inout Outbox) {
        counters.exhausted += 1
        guard isNoteDue(&lastExhaustionNote, now) else { return }
        outbox.note(
            .warning,
            "no address left for \(hardware): all \(table.size) are leased; give a larger range with "
                + "--vmnet-dhcp-end and --vmnet-mask"
        )
    }

    /// Reports a client that sends the name of another, once a minute at most.
    mutating func noteNameConflict(
        _ name: GuestName, of holder: MACAddress, with hardware: MACAddress, at port: ClientPort, now: Instant,
        into outbox: inout Outbox
    ) {
        guard isNoteDue(&lastNameNote, now) else { return }
        outbox.note(
            .info,
            "\(hardware) calls itself \(name) as well, which is the name of \(holder) "
                + (fixedNames.reservation(name) == nil ? "until its lease ends" : "by --dhcp-host"),
            at: port)
    }

    private func isNoteDue(_ last: inout Instant?, _ now: Instant) -> Bool {
        if let before = last, now - before <= DHCPServer.noteInterval { return false }
        last = now
        return true
    }
}
