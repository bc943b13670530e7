// SPDX-License-Identifier: Apache-2.0
import Timing
import Wire

/// Detects which addresses of a pool are in use, from the ARP replies to the server's own probes (RFC 5227 section
/// 2.1).
///
/// A claim of an address that was not probed is not stored, so that forged claims use no memory.
struct AddressConflictDetector: Sendable {
    /// How long the user of an address has to answer a probe. RFC 5227 waits for seconds, because its link may be slow;
    /// a guest on this host answers within a millisecond, in software emulation within ten.
    static let answerTime = TimeAmount.milliseconds(50)
    /// How long the result of a probe counts: little longer than a client takes to request the address.
    private static let memory = TimeAmount.seconds(2)
    /// Entries. More than there are probes in `memory`: at most 256 clients wait at a time, each for `answerTime`.
    private static let capacity = 16_384

    /// A host that answered a probe.
    struct User: Sendable {
        let hardware: MACAddress
        let port: ClientPort
        fileprivate let seenAt: Instant
    }

    private var probes: [IPv4Address: Instant] = [:]
    private var sightings: [IPv4Address: User] = [:]

    /// The host that answered a recent probe for `address`; nil if none did.
    func user(of address: IPv4Address, now: Instant) -> User? {
        guard let user = sightings[address], user.seenAt + AddressConflictDetector.memory > now else { return nil }
        return user
    }

    /// When the answer time of the recent probe for `address` ends or ended; nil without a recent probe, and for one
    /// that was answered.
    func probeEnds(_ address: IPv4Address, now: Instant) -> Instant? {
        guard let since = probes[address], now < since + AddressConflictDetector.memory else { return nil }
        return since + AddressConflictDetector.answerTime
    }

    /// Whether a recent probe for `address` was not answered in time.
    func isUnanswered(_ address: IPv4Address, now: Instant) -> Bool {
        probeEnds(address, now: now).map { $0 <= now } ?? false
    }

    /// Notes that the server sends a probe for `address`.
    mutating func noteProbe(_ address: IPv4Address, now: Instant) {
        if probes.count + sightings.count >= AddressConflictDetector.capacity {
            probes = probes.filter { $0.value + AddressConflictDetector.memory > now }
            sightings = sightings.filter { $0.value.seenAt + AddressConflictDetector.memory > now }
        }
        guard probes.count + sightings.count < AddressConflictDetector.capacity else { return }
        probes[address] = now
    }

    /// Whether `address` was probed recently.
    func wasProbed(_ address: IPv4Address, now: Instant) -> Bool {
        probeEnds(address, now: now) != nil || user(of: address, now: now) != nil
    }

    /// Notes that a host claims `address`, if that was probed.
    mutating func noteUse(_ hardware: MACAddress, at port: ClientPort, using address: IPv4Address, now: Instant) {
        guard wasProbed(address, now: now) else { return }
        probes[address] = nil
        sightings[address] = User(hardware: hardware, port: port, seenAt: now)
    }

    /// The address is leased: the next client for it needs a new probe.
    mutating func noteLease(_ address: IPv4Address) { probes[address] = nil }
}
