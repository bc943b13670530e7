// SPDX-License-Identifier: Apache-2.0
import Wire

/// Knows which addresses of a pool are in use by somebody, from ARP: probes of our own (RFC 5227), and whatever guests say by themselves.
///
/// An address that was probed in vain is free as long as nobody is heard using it: a host must send ARP to speak to anybody, and we hear it.
struct ConflictWatch: Sendable {
    /// How long an owner has to answer a probe, in nanoseconds.
    static let patience: UInt64 = 100_000_000
    /// How long silence after a probe counts, in nanoseconds.
    private static let memory: UInt64 = 300_000_000_000
    /// How long it counts that somebody was seen, in nanoseconds: no longer than a probe takes, for a machine may have been restarted with
    /// another hardware address.
    private static let recency: UInt64 = 2_000_000_000
    private static let maximumSightings = 4096

    private var silentSince: [IPv4Address: UInt64] = [:]
    private var sightings: [IPv4Address: (hardware: MACAddress, at: UInt64)] = [:]

    /// Who was seen using `address` of late.
    func user(of address: IPv4Address, now: UInt64) -> MACAddress? {
        guard let sighting = sightings[address], sighting.at + ConflictWatch.recency > now else { return nil }
        return sighting.hardware
    }

    /// True if a probe for `address` has gone unanswered for long enough, not too long ago.
    func isKnownSilent(_ address: IPv4Address, now: UInt64) -> Bool {
        guard let since = silentSince[address] else { return false }
        return since + ConflictWatch.patience <= now && now < since + ConflictWatch.memory
    }

    /// When a probe that was sent will have been silent for long enough; nil if none is under way or fresh enough.
    func silenceEnds(_ address: IPv4Address, now: UInt64) -> UInt64? {
        guard let since = silentSince[address], now < since + ConflictWatch.memory else { return nil }
        return since + ConflictWatch.patience
    }

    mutating func probed(_ address: IPv4Address, now: UInt64) {
        if silentSince.count >= ConflictWatch.maximumSightings { silentSince.removeAll() }
        silentSince[address] = now
    }

    mutating func saw(_ hardware: MACAddress, using address: IPv4Address, now: UInt64) {
        silentSince[address] = nil
        if sightings.count >= ConflictWatch.maximumSightings && sightings[address] == nil {
            sightings = sightings.filter { $0.value.at + ConflictWatch.recency > now }
            if sightings.count >= ConflictWatch.maximumSightings { sightings.removeAll() }
        }
        sightings[address] = (hardware, now)
    }

    /// From now on somebody may use `address` by right: what silence there was means nothing any more.
    mutating func granted(_ address: IPv4Address) { silentSince[address] = nil }
}
