// SPDX-License-Identifier: Apache-2.0
import Wire

/// What the DHCP server tells its clients.
package struct DHCPConfiguration: Equatable, Sendable {
    package var network: IPv4Network
    /// Our address on the network: the server identifier, and the source of replies.
    package var server: IPv4Address
    package var serverHardware: MACAddress
    /// First and last address that is given out.
    package var first: IPv4Address
    package var last: IPv4Address
    /// nil where there is no way out.
    package var router: IPv4Address?
    package var nameServers: [IPv4Address] = []
    package var domain: String?
    package var mtu: UInt16 = 1500
    /// Addresses that belong to machines, in the range or outside.
    package var reservations: [AddressReservation] = []
    /// Seconds, at most.
    package var leaseTime: UInt32 = 1800

    package init(network: IPv4Network, server: IPv4Address, serverHardware: MACAddress, first: IPv4Address, last: IPv4Address) {
        self.network = network
        self.server = server
        self.serverHardware = serverHardware
        self.first = first
        self.last = last
    }
}

/// A DHCP server for one network (RFC 2131, options of RFC 2132): frames in, frames out; time is handed in.
package struct DHCPServer: Sendable {
    /// Counts of what was refused, for the operator.
    package struct Counters: Equatable, Sendable {
        package var malformed = 0
        package var ignored = 0
        package var exhausted = 0
        package var conflicts = 0
    }

    /// A client whose offer waits for the silence after a probe.
    private struct Pending: Sendable {
        var request: DHCPv4Message
        var client: ClientIdentity
        var address: IPv4Address
        var due: UInt64
        var attempts: Int
    }

    /// Offers that can wait for a probe at a time; a flood of discovers does not get more memory than this.
    private static let maximumPending = 256
    /// Addresses tried for one client before it has to ask again.
    private static let maximumAttempts = 16

    package var configuration: DHCPConfiguration
    package private(set) var table: LeaseTable
    package private(set) var counters = Counters()
    private var watch = ConflictWatch()
    private var pending: [MACAddress: Pending] = [:]
    private var lastExhaustionNote: UInt64?

    package init(_ configuration: DHCPConfiguration, leases: [Lease] = []) {
        self.configuration = configuration
        table = LeaseTable(first: configuration.first, last: configuration.last, reservations: configuration.reservations)
        for lease in leases { table.commit(lease) }
    }

    /// When `tick` wants to be called next, in nanoseconds.
    package var nextDeadline: UInt64? { pending.values.map(\.due).min() }

    // MARK: Input

    /// Takes a guest's frame: DHCP or ARP, anything else is ignored.
    package mutating func receive(_ frame: RawSpan, now: UInt64, into outbox: inout Outbox) {
        do throws(WireError) {
            let ethernet = try EthernetView(frame)
            switch ethernet.type {
            case EtherType.arp:
                heard(try ARPPacket(parsing: ethernet.payload), now: now, into: &outbox)
            case EtherType.ipv4:
                let ip = try IPv4View(ethernet.payload)
                guard ip.protocolNumber == IPProtocol.udp, !ip.isFragment else { return }
                guard ip.hasValidChecksum else { throw .badChecksum }
                let udp = try UDPView(ip.payload)
                guard udp.destinationPort == DHCPPort.server else { return }
                guard udp.hasValidChecksum(source: ip.source, destination: ip.destination) else { throw .badChecksum }
                let message = try DHCPv4Message(parsing: udp.payload)
                // Relays do not exist on this network, and a client that speaks for another's hardware is not one of ours.
                guard !message.isReply, message.relay == .any, message.clientHardware == ethernet.source, !ethernet.source.isGroup else {
                    counters.ignored += 1
                    return
                }
                handle(message, destination: ip.destination, now: now, into: &outbox)
            default:
                return
            }
        } catch {
            counters.malformed += 1
        }
    }

    /// Does what has become due.
    package mutating func tick(now: UInt64, into outbox: inout Outbox) {
        for (hardware, item) in pending where item.due <= now {
            if item.address != .any, watch.isSilent(item.address, now: now) {
                pending[hardware] = nil
                sendOffer(item.address, to: item.client, for: item.request, now: now, into: &outbox)
            } else {
                // The probe's answer was heard, or the address went elsewhere meanwhile: another one.
                pending[hardware] = nil
                discover(item.request, attempts: item.attempts, now: now, into: &outbox)
            }
        }
    }

    private mutating func heard(_ packet: ARPPacket, now: UInt64, into outbox: inout Outbox) {
        let address = packet.senderAddress
        guard table.contains(address), packet.senderHardware != configuration.serverHardware else { return }
        watch.saw(packet.senderHardware, using: address, now: now)
        for (hardware, item) in pending where item.address == address && hardware != packet.senderHardware {
            counters.conflicts += 1
            outbox.note(.info, "\(address) is in use by \(packet.senderHardware) without a lease; not given out")
            pending[hardware] = nil
            if table.lease(on: address).map({ $0.hardware != packet.senderHardware }) ?? true { table.quarantine(address, now: now) }
            discover(item.request, attempts: item.attempts + 1, now: now, into: &outbox)
        }
    }

    private mutating func handle(_ message: DHCPv4Message, destination: IPv4Address, now: UInt64, into outbox: inout Outbox) {
        switch message.kind {
        case .discover:
            discover(message, attempts: 0, now: now, into: &outbox)
        case .request:
            request(message, isUnicast: destination == configuration.server, now: now, into: &outbox)
        case .decline:
            decline(message, now: now, into: &outbox)
        case .release:
            release(message, now: now, into: &outbox)
        case .inform:
            inform(message, into: &outbox)
        case .offer, .ack, .nak, nil:
            counters.ignored += 1
        }
    }

    /// Who sends `message`: a clone that was told apart keeps its own identity.
    private func identity(of message: DHCPv4Message, now: UInt64) -> ClientIdentity {
        let plain = ClientIdentity(message)
        let distinguished = plain.distinguished(by: message.clientHardware)
        return table.lease(of: distinguished) != nil || table.offer(to: distinguished, now: now) != nil ? distinguished : plain
    }

    // MARK: Discover (RFC 2131 section 4.3.1)

    private mutating func discover(_ message: DHCPv4Message, attempts: Int, now: UInt64, into outbox: inout Outbox) {
        var client = identity(of: message, now: now)
        var attempts = attempts
        while attempts < DHCPServer.maximumAttempts {
            guard let address = table.candidate(for: client, hardware: message.clientHardware, asking: message.address(.requestedAddress), now: now) else {
                counters.exhausted += 1
                if lastExhaustionNote.map({ now - $0 > 60_000_000_000 }) ?? true {
                    lastExhaustionNote = now
                    outbox.note(.warning, "no address left for \(message.clientHardware): all \(table.size) are leased; give a larger range with --vmnet-dhcp-end and --vmnet-mask")
                }
                return
            }
            let held = table.lease(on: address)
            if held?.client == client && held?.hardware == message.clientHardware {
                sendOffer(address, to: client, for: message, now: now, into: &outbox)
                return
            }
            if let user = watch.user(of: address, now: now), user != message.clientHardware {
                attempts += 1
                counters.conflicts += 1
                if let held, held.client == client, held.hardware == user {
                    // Two machines with one client identifier: the holder keeps the address, this one gets an identity of its own.
                    client = client.distinguished(by: message.clientHardware)
                } else {
                    table.quarantine(address, now: now)
                }
                continue
            }
            if watch.isSilent(address, now: now) {
                sendOffer(address, to: client, for: message, now: now, into: &outbox)
                return
            }
            guard pending[message.clientHardware] != nil || pending.count < DHCPServer.maximumPending else {
                counters.ignored += 1
                return
            }
            if watch.silenceEnds(address, now: now) == nil { probe(address, now: now, into: &outbox) }
            // Two clients must not wait for the same address.
            table.offer(address, to: client, hardware: message.clientHardware, now: now)
            pending[message.clientHardware] = Pending(
                request: message, client: client, address: address, due: watch.silenceEnds(address, now: now) ?? now, attempts: attempts)
            return
        }
        counters.ignored += 1
    }

    private mutating func probe(_ address: IPv4Address, now: UInt64, into outbox: inout Outbox) {
        watch.probed(address, now: now)
        outbox.frames.append(ARPPacket.probe(for: address, from: configuration.serverHardware).frame(to: .broadcast))
    }

    private mutating func sendOffer(_ address: IPv4Address, to client: ClientIdentity, for message: DHCPv4Message, now: UInt64, into outbox: inout Outbox) {
        guard mayHold(address, client, message.clientHardware, now: now) else { return }
        table.offer(address, to: client, hardware: message.clientHardware, now: now)
        var reply = DHCPReply(.offer, to: message, configuration)
        reply.grant(address, seconds: leaseTime(for: message, now: now))
        outbox.frames.append(reply.frame())
    }

    /// Seconds: what the client asks for, at most the configured time, and less of it when addresses become scarce.
    private func leaseTime(for message: DHCPv4Message, now: UInt64) -> UInt32 {
        let used = table.running(at: now) * 100 / table.size
        let most = used < 50 ? configuration.leaseTime : used < 80 ? configuration.leaseTime / 3 : configuration.leaseTime / 6
        return max(60, min(most, message.seconds(.leaseTime) ?? .max))
    }

    // MARK: Request (RFC 2131 section 4.3.2)

    private mutating func request(_ message: DHCPv4Message, isUnicast: Bool, now: UInt64, into outbox: inout Outbox) {
        let client = identity(of: message, now: now)
        let held = table.lease(of: client)
        if let server = message.address(.serverIdentifier) {
            // SELECTING: the client has chosen among offers.
            guard server == configuration.server else {
                table.withdrawOffer(from: client)
                return
            }
            guard let wanted = message.address(.requestedAddress) ?? (message.clientAddress == .any ? nil : message.clientAddress) else {
                counters.ignored += 1
                return
            }
            guard mayTake(wanted, client, message.clientHardware, now: now), mayHold(wanted, client, message.clientHardware, now: now) else {
                refuse(message, "\(wanted) was not offered to it", into: &outbox)
                return
            }
            grant(wanted, to: client, message, now: now, into: &outbox)
        } else if message.clientAddress == .any {
            // INIT-REBOOT: the client asks for what it believes to be its own. One that is unknown here may be another server's.
            guard let wanted = message.address(.requestedAddress), let held else {
                counters.ignored += 1
                return
            }
            if held.address == wanted && held.hardware == message.clientHardware && mayHold(wanted, client, message.clientHardware, now: now) {
                grant(wanted, to: client, message, now: now, into: &outbox)
            } else {
                refuse(message, "its address is \(held.address), not \(wanted)", into: &outbox)
            }
        } else {
            // RENEWING (sent to us alone) and REBINDING (sent to all).
            if let held, held.address == message.clientAddress, held.hardware == message.clientHardware, table.suits(held.address, client, hardware: held.hardware, now: now) {
                grant(held.address, to: client, message, now: now, into: &outbox)
            } else if isUnicast || held != nil {
                refuse(message, "\(message.clientAddress) is not leased to it", into: &outbox)
            } else {
                counters.ignored += 1
            }
        }
    }

    /// True if nobody else holds `address` and it belongs to no other machine.
    private func mayHold(_ address: IPv4Address, _ client: ClientIdentity, _ hardware: MACAddress, now: UInt64) -> Bool {
        table.isFree(address, for: client, now: now) && table.suits(address, client, hardware: hardware, now: now)
    }

    /// True if the client holds `address`, or was offered it. An identifier alone proves nothing: anybody can send another's.
    private func mayTake(_ address: IPv4Address, _ client: ClientIdentity, _ hardware: MACAddress, now: UInt64) -> Bool {
        if let held = table.lease(of: client), held.address == address, held.hardware == hardware { return true }
        return table.isOffered(address, to: client, hardware: hardware, now: now)
    }

    private mutating func grant(_ address: IPv4Address, to client: ClientIdentity, _ message: DHCPv4Message, now: UInt64, into outbox: inout Outbox) {
        let seconds = leaseTime(for: message, now: now)
        let isNew = table.lease(on: address)?.client != client
        let name = message[.hostName].map { String(decoding: $0.prefix(63).filter { (0x21...0x7e).contains($0) }, as: UTF8.self) } ?? ""
        let lease = Lease(
            address: address, client: client, hardware: message.clientHardware, hostName: name, expires: now + UInt64(seconds) * 1_000_000_000)
        table.commit(lease)
        watch.granted(address)
        outbox.changes.append(lease)
        if isNew { outbox.note(.info, "lease \(address) to \(message.clientHardware)\(name.isEmpty ? "" : " (\(name))")") }
        var reply = DHCPReply(.ack, to: message, configuration)
        reply.grant(address, seconds: seconds)
        outbox.frames.append(reply.frame())
    }

    private mutating func refuse(_ message: DHCPv4Message, _ reason: String, into outbox: inout Outbox) {
        outbox.note(.debug, "refused \(message.clientHardware): \(reason)")
        outbox.frames.append(DHCPReply(.nak, to: message, configuration).frame())
    }

    // MARK: Decline, release, inform (RFC 2131 sections 4.3.3 to 4.3.5)

    private mutating func decline(_ message: DHCPv4Message, now: UInt64, into outbox: inout Outbox) {
        let client = identity(of: message, now: now)
        guard message.address(.serverIdentifier) == configuration.server, let address = message.address(.requestedAddress),
            mayTake(address, client, message.clientHardware, now: now)
        else {
            counters.ignored += 1
            return
        }
        counters.conflicts += 1
        outbox.note(.warning, "\(message.clientHardware) found \(address) in use by somebody else; not given out for \(LeaseTable.quarantineTime / 60_000_000_000) minutes")
        if var lease = table.lease(on: address) {
            lease.expires = now
            outbox.changes.append(lease)
        }
        table.quarantine(address, now: now)
    }

    private mutating func release(_ message: DHCPv4Message, now: UInt64, into outbox: inout Outbox) {
        let client = identity(of: message, now: now)
        guard message.address(.serverIdentifier).map({ $0 == configuration.server }) ?? true, var lease = table.lease(of: client),
            lease.address == message.clientAddress, lease.hardware == message.clientHardware
        else {
            counters.ignored += 1
            return
        }
        table.end(lease.address, now: now)
        lease.expires = min(lease.expires, now)
        outbox.changes.append(lease)
        outbox.note(.debug, "\(message.clientHardware) released \(lease.address)")
    }

    private mutating func inform(_ message: DHCPv4Message, into outbox: inout Outbox) {
        guard configuration.network.contains(message.clientAddress) else {
            counters.ignored += 1
            return
        }
        outbox.frames.append(DHCPReply(.ack, to: message, configuration).frame())
    }
}
