// SPDX-License-Identifier: Apache-2.0
import Timing
import Wire

/// Knows which addresses of a pool are in use, from the answers to probes of our own (RFC 5227).
///
/// A claim of an address that was not probed is not kept, so that made-up claims leave no trace.
struct AddressConflictDetector: Sendable {
    /// How long the user of an address has to answer a probe, in nanoseconds. A machine on this host answers in one
    /// millisecond, one in software emulation in ten.
    static let answerTime = TimeAmount.milliseconds(50)
    /// How long silence after a probe, or a sighting, counts, in nanoseconds: hardly longer than it takes to lease the
    /// address.
    private static let memory = TimeAmount.seconds(2)
    /// More than the probes of `memory`: the server waits for 256 at a time, each for `answerTime`.
    private static let capacity = 16_384

    /// A client that was seen using an address.
    struct User: Sendable {
        let hardware: MACAddress
        let port: ClientPort
        fileprivate let at: Instant
    }

    private var probes: [IPv4Address: Instant] = [:]
    private var sightings: [IPv4Address: User] = [:]

    /// The client that was seen using `address` after a recent probe.
    func user(of address: IPv4Address, now: Instant) -> User? {
        guard let user = sightings[address], user.at + AddressConflictDetector.memory > now else { return nil }
        return user
    }

    /// When a probe for `address` will have been silent for long enough, or has been; nil without a recent one.
    func silenceEnds(_ address: IPv4Address, now: Instant) -> Instant? {
        guard let since = probes[address], now < since + AddressConflictDetector.memory else { return nil }
        return since + AddressConflictDetector.answerTime
    }

    /// True if a recent probe for `address` has gone unanswered for long enough.
    func isSilent(_ address: IPv4Address, now: Instant) -> Bool {
        silenceEnds(address, now: now).map { $0 <= now } ?? false
    }

    mutating func probed(_ address: IPv4Address, now: Instant) {
        if probes.count + sightings.count >= AddressConflictDetector.capacity {
            probes = probes.filter { $0.value + AddressConflictDetector.memory > now }
            sightings = sightings.filter { $0.value.at + AddressConflictDetector.memory > now }
        }
        guard probes.count + sightings.count < AddressConflictDetector.capacity else { return }
        probes[address] = now
    }

    /// Whether `address` was probed a moment ago.
    func isWatched(_ address: IPv4Address, now: Instant) -> Bool {
        silenceEnds(address, now: now) != nil || user(of: address, now: now) != nil
    }

    mutating func saw(_ hardware: MACAddress, at port: ClientPort, using address: IPv4Address, now: Instant) {
        guard isWatched(address, now: now) else { return }
        probes[address] = nil
        sightings[address] = User(hardware: hardware, port: port, at: now)
    }

    /// From now on somebody uses `address` by right: what silence there was means nothing any more.
    mutating func granted(_ address: IPv4Address) { probes[address] = nil }
}
