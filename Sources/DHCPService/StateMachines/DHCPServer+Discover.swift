// SPDX-License-Identifier: Apache-2.0
import Timing
import Wire

// Offers (RFC 2131 section 4.3.1).

extension DHCPServer {
    /// The first lease of a new client while many new clients arrive at once, in seconds. A client that stays renews it
    /// for the whole lease time.
    private static let firstLeaseTime: UInt32 = 120
    /// Seconds.
    private static let minimumLeaseTime: UInt32 = 60

    mutating func discover(
        _ message: DHCPv4Message, from port: ClientPort, attempts: Int, now: Instant, into outbox: inout Outbox
    ) {
        var applicant = applicant(of: message, at: port, now: now)
        var attempts = attempts
        // Addresses that other hosts use.
        var excluded: [IPv4Address] = []
        while attempts < DHCPServer.maximumAttempts {
            var candidate = table.knownAddress(for: applicant, excluding: excluded, now: now)
            if candidate == nil {
                // Checked before the search, which costs most.
                guard hasRoomToWait(applicant) else { return counters.ignored += 1 }
                candidate = table.newAddress(
                    for: applicant, requested: message.address(.requestedAddress),
                    fromEnd: DHCPVendorClass.borrowers.contains(message[.vendorClass] ?? []), excluding: excluded,
                    now: now)
            }
            guard let address = candidate else {
                return noteExhaustion(message.clientHardware, now: now, into: &outbox)
            }
            if addsToShare(address, for: applicant, now: now) && !mayLeaseMore(applicant, now: now, into: &outbox) {
                return
            }
            let held = table.lease(on: address)
            if held?.client == applicant.client && held?.hardware == applicant.hardware {
                return sendOffer(address, to: applicant, for: message, now: now, into: &outbox)
            }
            if let user = conflictDetector.user(of: address, now: now) {
                // The client still uses the address itself; but if the lease belongs to another client identifier of
                // its hardware address, both clients may be running.
                if user.hardware == applicant.hardware
                    && !table.isLeasedToAnother(address, than: applicant.client, now: now)
                {
                    return sendOffer(address, to: applicant, for: message, now: now, into: &outbox)
                }
                attempts += 1
                counters.conflicts += 1
                if let held, held.client == applicant.client, held.hardware == user.hardware {
                    // Two clients with one client identifier: the holder keeps the address, this one gets a
                    // separate identity.
                    applicant.client = applicant.client.distinguished(by: message.clientHardware)
                } else if held?.hardware != user.hardware {
                    quarantine(address, by: user.port, now: now, into: &outbox)
                }
                excluded.append(address)
                continue
            }
            if conflictDetector.isUnanswered(address, now: now) {
                return sendOffer(address, to: applicant, for: message, now: now, into: &outbox)
            }
            guard hasRoomToWait(applicant) else { return counters.ignored += 1 }
            // The offer keeps a second client from waiting for the same address.
            table.offer(address, to: applicant.client, hardware: message.clientHardware, now: now)
            return waitForProbe(
                WaitingClient(request: message, applicant: applicant, address: address, due: now, attempts: attempts),
                now: now, into: &outbox)
        }
        counters.ignored += 1
    }

    /// Whether one more client of this port may wait for a probe: a port takes at most as many slots as it leaves free.
    func hasRoomToWait(_ applicant: Applicant) -> Bool {
        if waiting[WaitingKey(port: applicant.port, hardware: applicant.hardware)] != nil { return true }
        let free = DHCPServer.maximumPending - waiting.count
        return free > 0
            && (applicant.port.kind == .network || waiting.count < free
                || waiting.keys.count { $0.port == applicant.port } < free)
    }

    /// Makes a client wait for the result of a probe, and sends the probe unless one was sent recently.
    mutating func waitForProbe(_ item: WaitingClient, now: Instant, into outbox: inout Outbox) {
        if conflictDetector.probeEnds(item.address, now: now) == nil {
            conflictDetector.noteProbe(item.address, now: now)
            outbox.frames.append(
                ARPPacket.probe(for: item.address, from: configuration.serverHardware).frame(to: .broadcast))
        }
        var item = item
        item.due = conflictDetector.probeEnds(item.address, now: now) ?? now
        waiting[WaitingKey(port: item.applicant.port, hardware: item.applicant.hardware)] = item
    }

    mutating func sendOffer(
        _ address: IPv4Address, to applicant: Applicant, for message: DHCPv4Message, now: Instant,
        into outbox: inout Outbox
    ) {
        guard mayHold(address, applicant, now: now) else { return }
        table.offer(address, to: applicant.client, hardware: message.clientHardware, now: now)
        var reply = DHCPReply(.offer, to: message, configuration)
        reply.grant(
            address,
            seconds: leaseTime(for: message, applicant, isNew: addsToShare(address, for: applicant, now: now), now: now)
        )
        send(reply, into: &outbox)
    }

    /// The lease time in seconds: what the client requests, at most the configured time, and less when addresses become
    /// scarce or many new clients arrive at once.
    func leaseTime(for message: DHCPv4Message, _ applicant: Applicant, isNew: Bool, now: Instant) -> UInt32 {
        let used = table.running(at: now) * 100 / table.size
        var limit =
            used < 50 ? configuration.leaseTime : used < 80 ? configuration.leaseTime / 3 : configuration.leaseTime / 6
        if isNew, rates[applicant.port]?.isBusy(now) == true { limit = min(limit, DHCPServer.firstLeaseTime) }
        return max(DHCPServer.minimumLeaseTime, min(limit, message.seconds(.leaseTime) ?? .max))
    }
}
