// SPDX-License-Identifier: Apache-2.0
import Wire

/// Knows which addresses of a pool are in use by somebody, from the answers to probes of our own (RFC 5227) and from whatever guests say.
struct ConflictWatch: Sendable {
    /// How long the user of an address has to answer a probe, in nanoseconds. A machine on this host answers in one millisecond, one in
    /// software emulation in ten.
    static let patience: UInt64 = 50_000_000
    /// How long silence after a probe, or a sighting, counts, in nanoseconds: hardly longer than it takes to lease the address.
    private static let memory: UInt64 = 2_000_000_000
    private static let capacity = 4096

    private var probes: [IPv4Address: UInt64] = [:]
    private var sightings: [IPv4Address: (hardware: MACAddress, at: UInt64)] = [:]

    /// Who was seen using `address` just now.
    func user(of address: IPv4Address, now: UInt64) -> MACAddress? {
        guard let sighting = sightings[address], sighting.at + ConflictWatch.memory > now else { return nil }
        return sighting.hardware
    }

    /// When a probe for `address` will have been silent for long enough, or has been; nil without a recent one.
    func silenceEnds(_ address: IPv4Address, now: UInt64) -> UInt64? {
        guard let since = probes[address], now < since + ConflictWatch.memory else { return nil }
        return since + ConflictWatch.patience
    }

    /// True if a recent probe for `address` has gone unanswered for long enough.
    func isSilent(_ address: IPv4Address, now: UInt64) -> Bool { silenceEnds(address, now: now).map { $0 <= now } ?? false }

    mutating func probed(_ address: IPv4Address, now: UInt64) {
        if probes.count >= ConflictWatch.capacity { probes = probes.filter { $0.value + ConflictWatch.memory > now } }
        guard probes.count < ConflictWatch.capacity else { return }
        probes[address] = now
    }

    mutating func saw(_ hardware: MACAddress, using address: IPv4Address, now: UInt64) {
        probes[address] = nil
        if sightings.count >= ConflictWatch.capacity && sightings[address] == nil {
            sightings = sightings.filter { $0.value.at + ConflictWatch.memory > now }
            guard sightings.count < ConflictWatch.capacity else { return }
        }
        sightings[address] = (hardware, now)
    }

    /// From now on somebody uses `address` by right: what silence there was means nothing any more.
    mutating func granted(_ address: IPv4Address) { probes[address] = nil }
}
