// SPDX-License-Identifier: Apache-2.0
import Timing
import Wire

// Offers (RFC 2131 section 4.3.1).

extension DHCPServer {
    /// The first lease of a new client while many new clients arrive at once, in seconds. A client that stays renews it
    /// for the whole lease time.
    private static let firstLeaseTime: UInt32 = 120

    mutating func discover(
        _ message: DHCPv4Message, from port: ClientPort, attempts: Int, now: Instant, into outbox: inout Outbox
    ) {
        var applicant = applicant(of: message, at: port, now: now)
        var attempts = attempts
        // Addresses that others were seen to use.
        var excluded: [IPv4Address] = []
        while attempts < DHCPServer.maximumAttempts {
            var candidate = table.knownAddress(for: applicant, excluding: excluded, now: now)
            if candidate == nil {
                // Before what costs most.
                guard hasRoomToWait(applicant) else { return counters.ignored += 1 }
                candidate = table.newAddress(
                    for: applicant, asking: message.address(.requestedAddress),
                    fromEnd: message[.vendorClass] == DHCPVendorClass.check, excluding: excluded, now: now)
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
                // The client has not let go of the address. Where another client identifier of its hardware address
                // holds it, both may be there.
                if user.hardware == applicant.hardware
                    && !table.isLeasedToAnother(address, than: applicant.client, now: now)
                {
                    return sendOffer(address, to: applicant, for: message, now: now, into: &outbox)
                }
                attempts += 1
                counters.conflicts += 1
                if let held, held.client == applicant.client, held.hardware == user.hardware {
                    // Two machines with one client identifier: the holder keeps the address, this one gets an identity
                    // of its own.
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
            // Two clients must not wait for the same address.
            table.offer(address, to: applicant.client, hardware: message.clientHardware, now: now)
            return waitForProbe(
                WaitingClient(request: message, applicant: applicant, address: address, due: now, attempts: attempts),
                now: now, into: &outbox)
        }
        counters.ignored += 1
    }

    /// Whether one more client of this port may wait for a probe: none takes more places than it leaves for others.
    func hasRoomToWait(_ applicant: Applicant) -> Bool {
        if pending[WaitingKey(port: applicant.port, hardware: applicant.hardware)] != nil { return true }
        let free = DHCPServer.maximumPending - pending.count
        return free > 0
            && (applicant.port.kind == .network || pending.count < free
                || pending.keys.count { $0.port == applicant.port } < free)
    }

    /// Lets a client wait until a probe for an address has been silent for long enough, and sends that probe if need
    /// be.
    mutating func waitForProbe(_ item: WaitingClient, now: Instant, into outbox: inout Outbox) {
        if conflictDetector.probeEnds(item.address, now: now) == nil {
            conflictDetector.noteProbe(item.address, now: now)
            outbox.frames.append(
                ARPPacket.probe(for: item.address, from: configuration.serverHardware).frame(to: .broadcast))
        }
        var item = item
        item.due = conflictDetector.probeEnds(item.address, now: now) ?? now
        pending[WaitingKey(port: item.applicant.port, hardware: item.applicant.hardware)] = item
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
            seconds: leaseTime(for: message, applicant, isNew: addsToShare(address, for: applicant, now: now), now: now))
        outbox.frames.append(reply.frame())
    }

    /// Seconds: what the client asks for, at most the configured time, and less of it when addresses become scarce or
    /// new clients come in crowds.
    func leaseTime(for message: DHCPv4Message, _ applicant: Applicant, isNew: Bool, now: Instant) -> UInt32 {
        let used = table.running(at: now) * 100 / table.size
        var most =
            used < 50 ? configuration.leaseTime : used < 80 ? configuration.leaseTime / 3 : configuration.leaseTime / 6
        if isNew, rates[applicant.port]?.isBusy(now) == true { most = min(most, DHCPServer.firstLeaseTime) }
        return max(60, min(most, message.seconds(.leaseTime) ?? .max))
    }
}
