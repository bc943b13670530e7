// SPDX-License-Identifier: Apache-2.0
import Timing
import Wire

// Leases: assigned, extended, declined and released (RFC 2131 sections 4.3.2 to 4.3.5).

extension DHCPServer {
    mutating func request(
        _ message: DHCPv4Message, from port: ClientPort, isUnicast: Bool, now: Instant, into outbox: inout Outbox
    ) {
        let applicant = applicant(of: message, at: port, now: now)
        let held = table.lease(of: applicant.client)
        if let server = message.address(.serverIdentifier) {
            // SELECTING: the client has selected an offer.
            guard server == configuration.server else {
                table.withdrawOffer(from: applicant.client)
                return
            }
            guard
                let requested = message.address(.requestedAddress)
                    ?? (message.clientAddress == .any ? nil : message.clientAddress)
            else {
                counters.ignored += 1
                return
            }
            guard holdsOrWasOffered(requested, applicant, now: now), mayHold(requested, applicant, now: now) else {
                refuse(message, "\(requested) was not offered to it", into: &outbox)
                return
            }
            grant(requested, to: applicant, message, now: now, into: &outbox)
        } else if message.clientAddress == .any {
            // INIT-REBOOT: the client verifies an address from before it restarted.
            guard let requested = message.address(.requestedAddress) else {
                counters.ignored += 1
                return
            }
            guard let held else {
                return reclaim(requested, message, applicant, isForThisServer: false, now: now, into: &outbox)
            }
            if held.address == requested && held.hardware == message.clientHardware
                && mayHold(requested, applicant, now: now)
            {
                grant(requested, to: applicant, message, now: now, into: &outbox)
            } else {
                refuse(message, "its address is \(held.address), not \(requested)", into: &outbox)
            }
        } else {
            // RENEWING (unicast) and REBINDING (broadcast).
            guard let held else {
                return reclaim(
                    message.clientAddress, message, applicant, isForThisServer: isUnicast, now: now, into: &outbox)
            }
            if held.address == message.clientAddress, held.hardware == message.clientHardware,
                table.suits(held.address, applicant, now: now)
            {
                grant(held.address, to: applicant, message, now: now, into: &outbox)
            } else {
                refuse(message, "\(message.clientAddress) is not leased to it", into: &outbox)
            }
        }
    }

    // MARK: Requests without a record

    /// A client without a record requests an address. Another server may have assigned it, so that only an
    /// authoritative server answers: with ACK if no other client holds or uses the address, else with NAK.
    /// - Parameter isForThisServer: the request was sent to this server by unicast.
    private mutating func reclaim(
        _ requested: IPv4Address, _ message: DHCPv4Message, _ applicant: Applicant, isForThisServer: Bool, now: Instant,
        into outbox: inout Outbox
    ) {
        guard configuration.isAuthoritative else {
            if isForThisServer {
                refuse(message, "\(requested) is not leased to it", into: &outbox)
            } else {
                counters.ignored += 1
            }
            return
        }
        let isOfferedToOther =
            table.isOffered(requested, now: now)
            && !table.isOffered(requested, to: applicant.client, hardware: applicant.hardware, now: now)
        guard mayHold(requested, applicant, evicting: false, now: now), !isOfferedToOther else {
            return refuse(
                message,
                configuration.network.contains(requested)
                    ? "\(requested) is not available" : "\(requested) belongs to another network", into: &outbox)
        }
        if addsToShare(requested, for: applicant, now: now) && !mayLeaseMore(applicant, now: now, into: &outbox) {
            return
        }
        let item = WaitingClient(
            request: message, applicant: applicant, address: requested, due: now, attempts: 0, purpose: .reclaim)
        if conflictDetector.user(of: requested, now: now) != nil || conflictDetector.isUnanswered(requested, now: now) {
            return finishReclaim(
                item, isUnanswered: conflictDetector.isUnanswered(requested, now: now), now: now, into: &outbox)
        }
        guard hasRoomToWait(applicant) else { return counters.ignored += 1 }
        table.offer(requested, to: applicant.client, hardware: applicant.hardware, now: now)
        waitForProbe(item, now: now, into: &outbox)
    }

    /// Answers a client that requested an address without a record, after the probe.
    mutating func finishReclaim(_ item: WaitingClient, isUnanswered: Bool, now: Instant, into outbox: inout Outbox) {
        let user = conflictDetector.user(of: item.address, now: now)
        // The client itself answered the probe, unless the answer came from another client identifier of its hardware
        // address.
        let isItsOwn =
            user?.hardware == item.applicant.hardware
            && !table.isLeasedToAnother(item.address, than: item.applicant.client, now: now)
        if (isUnanswered || isItsOwn) && mayHold(item.address, item.applicant, evicting: false, now: now) {
            grant(item.address, to: item.applicant, item.request, now: now, into: &outbox)
        } else {
            table.withdrawOffer(from: item.applicant.client)
            refuse(item.request, "\(item.address) is in use", into: &outbox)
        }
    }

    // MARK: Answers

    private mutating func grant(
        _ address: IPv4Address, to applicant: Applicant, _ message: DHCPv4Message, now: Instant,
        into outbox: inout Outbox
    ) {
        let isMore = addsToShare(address, for: applicant, now: now)
        let seconds = leaseTime(for: message, applicant, isNew: isMore, now: now)
        if isMore {
            // The client repeats the request; its port may have room then.
            guard mayLeaseMore(applicant, now: now, into: &outbox) else { return }
            countNewClient(applicant.port, now)
        }
        let isNew = table.lease(on: address)?.client != applicant.client
        let sent = ClientName(message)
        var lease = Lease(
            address: address, client: applicant.client, hardware: message.clientHardware, hostName: sent?.text ?? "",
            expires: now + .seconds(Int64(seconds)))
        lease.name = heldName(of: message, with: lease, at: applicant.port, now: now, into: &outbox)
        table.commit(lease, presence: .at(applicant.port))
        conflictDetector.noteLease(address)
        outbox.changes.append(lease)
        if isNew {
            outbox.note(.info, "lease \(address) to \(message.clientHardware)\(naming(lease, sent))")
        }
        var reply = DHCPReply(.ack, to: message, configuration)
        reply.grant(address, seconds: seconds)
        reply.report(lease.name)
        send(reply, into: &outbox)
    }

    private mutating func countNewClient(_ port: ClientPort, _ now: Instant) {
        if port.kind != .guest { rates[port, default: NewClientRate()].take(now) }
    }

    private mutating func refuse(_ message: DHCPv4Message, _ reason: String, into outbox: inout Outbox) {
        outbox.note(.debug, "refused \(message.clientHardware): \(reason)")
        send(DHCPReply(.nak, to: message, configuration), into: &outbox)
    }

    // MARK: Decline, release, inform (RFC 2131 sections 4.3.3 to 4.3.5)

    mutating func decline(_ message: DHCPv4Message, from port: ClientPort, now: Instant, into outbox: inout Outbox) {
        let applicant = applicant(of: message, at: port, now: now)
        guard message.address(.serverIdentifier) == configuration.server,
            let address = message.address(.requestedAddress),
            holdsOrWasOffered(address, applicant, now: now), !table.isElsewhere(address, than: port)
        else {
            counters.ignored += 1
            return
        }
        counters.conflicts += 1
        end(address, now: now, into: &outbox)
        table.withdrawOffer(from: applicant.client)
        // A declined address counts for the port like a lease, or one client could decline the whole pool.
        guard mayLeaseMore(applicant, now: now, into: &outbox) else { return }
        countNewClient(port, now)
        outbox.note(
            .warning,
            "\(message.clientHardware) found \(address) in use by another host; it is not assigned for "
                + "\(LeaseTable.quarantineTime / .minutes(1)) minutes",
            at: port)
        quarantine(address, by: port, now: now, into: &outbox)
    }

    mutating func release(_ message: DHCPv4Message, from port: ClientPort, now: Instant, into outbox: inout Outbox) {
        let applicant = applicant(of: message, at: port, now: now)
        guard message.address(.serverIdentifier).map({ $0 == configuration.server }) ?? true,
            let lease = table.lease(of: applicant.client),
            lease.address == message.clientAddress, lease.hardware == message.clientHardware,
            !table.isElsewhere(lease.address, than: port)
        else {
            counters.ignored += 1
            return
        }
        end(lease.address, now: now, into: &outbox)
        outbox.note(.debug, "\(message.clientHardware) released \(lease.address)")
    }

    /// Ends the lease on an address.
    private mutating func end(_ address: IPv4Address, now: Instant, into outbox: inout Outbox) {
        guard var lease = table.lease(on: address) else { return }
        lease.expires = min(lease.expires, now)
        lease.name = nil
        table.end(address, now: now)
        outbox.changes.append(lease)
    }

    /// Quarantines an address that a host uses without a lease, and ends the lease on it.
    mutating func quarantine(_ address: IPv4Address, by port: ClientPort, now: Instant, into outbox: inout Outbox) {
        if let lease = table.lease(on: address), lease.expires > now { end(address, now: now, into: &outbox) }
        table.quarantine(address, by: port, now: now)
    }

    mutating func inform(_ message: DHCPv4Message, into outbox: inout Outbox) {
        guard configuration.network.contains(message.clientAddress) else {
            counters.ignored += 1
            return
        }
        send(DHCPReply(.ack, to: message, configuration), into: &outbox)
    }
}
