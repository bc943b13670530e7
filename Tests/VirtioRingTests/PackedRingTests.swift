// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Timing
import Wire

@testable import VirtioRing

/// What is different with packed rings (virtio 1.2 section 2.8); what both kinds have in common is in
/// `VhostDeviceTests`.
@Suite struct PackedRingTests {
    private static let all = VirtioFeatures.offered
    private static let plain: VirtioFeatures = [.version1, .mergeableBuffers, .packedRings]
    private static let entries = VhostGuest.entries

    /// Sends a frame each way.
    private func exchange(_ fixture: RingFixture, _ round: Int) throws {
        let guest = fixture.guest, frame = numbered(60 + round, from: round)
        guest.send(frame, pieces: 1 + round % 3)
        #expect(fixture.receive().frames.map(\.bytes) == [frame])
        #expect(guest.takeUsed(ring: 1) != nil)
        #expect(fixture.send([frame]).sent == 1)
        #expect(try #require(guest.receive()).dropFirst(12) == frame[...])
    }

    @Test func ringGoesOnWhereItWasStopped() throws {
        var fixture = try RingFixture(Self.plain)
        fixture.guest.fillReceiveRing()
        for round in 0..<100 {
            try exchange(fixture, round)
            let bases = (0..<2).map { fixture.device.stop($0) }
            #expect(bases[1] >> 16 == bases[1] & 0xffff)
            fixture = try RingFixture(Self.plain, guest: fixture.guest, bases: [], starts: true)
            for ring in 0..<2 { try fixture.start(ring, base: bases[ring]) }
        }
    }

    /// QEMU gives the position of the last orderly stop, because no index of the device's is in the guest's memory.
    @Test func ringGoesOnAfterDeviceWasKilled() throws {
        var fixture = try RingFixture(Self.plain)
        fixture.guest.fillReceiveRing()
        for round in 0..<3 * Self.entries {
            try exchange(fixture, round)
            // Some of the ring waits, and some was returned and not seen yet.
            if round % 2 == 0 { #expect(fixture.send([numbered(100)]).sent == 1) }
            if round % 3 == 0 { fixture.guest.send(numbered(90), pieces: 2) }
            fixture = try RingFixture(Self.plain, guest: fixture.guest)
            if round % 2 == 0 { #expect(fixture.guest.receive() != nil) }
            if round % 3 == 0 {
                #expect(fixture.receive().frames.map(\.bytes) == [numbered(90)])
                #expect(fixture.guest.takeUsed(ring: 1) != nil)
            }
        }
    }

    /// The ring of the guest's buffers is full, or all of it was returned, or it waits from any entry on.
    @Test(arguments: [false, true]) func everyPositionIsFound(wrap: Bool) throws {
        for index in 0..<Self.entries {
            let guest = try VhostGuest(isPacked: true)
            for ring in 0..<2 { guest.setPackedRing(to: index, wrap: wrap, ring: ring) }
            if index % 2 == 0 { guest.fillReceiveRing() }
            // A wrong position, and an impossible one.
            let fixture = try RingFixture(Self.plain, guest: guest, bases: [])
            for ring in 0..<2 { try fixture.start(ring, base: index % 3 == 0 ? 0xffff_ffff : 0x8005_8005) }
            if index % 2 == 1 { guest.fillReceiveRing() }
            for round in 0..<5 { try exchange(fixture, round) }
        }
    }

    @Test func indirectDescriptorsAreRead() throws {
        let fixture = try RingFixture(Self.all)
        let guest = fixture.guest, frame = numbered(300), at = VhostGuest.Place.transmitBuffers[0]
        guest.write([UInt8](repeating: 0, count: 12) + frame, at: at)
        let base = VhostGuest.guestBase
        guest.describe(0, table: VhostGuest.Place.indirect, address: base + UInt64(at), length: 12)
        guest.describe(1, table: VhostGuest.Place.indirect, address: base + UInt64(at) + 12, length: 300)
        // Of the last word, the identifier comes first here.
        guest.describe(
            0, table: VhostGuest.Place.descriptors[1], address: base + UInt64(VhostGuest.Place.indirect), length: 32,
            flags: 5, next: 4 | 1 << 7)
        #expect(fixture.receive().frames.map(\.bytes) == [frame])
        #expect(try #require(guest.takeUsed(ring: 1)).head == 5)
    }

    /// A table with more entries than the ring would occupy the device for long.
    @Test func longTableEndsTheDevice() throws {
        let fixture = try RingFixture(Self.all)
        fixture.guest.describe(
            0, table: VhostGuest.Place.descriptors[1], address: VhostGuest.guestBase, length: 16 * (Self.entries + 1),
            next: 4 | 1 << 7)
        #expect(fixture.receive().error == Errno.badMessage)
        #expect(fixture.device.fault == "its ring has an impossible chain")
    }

    @Test func chainWithoutEndEndsTheDevice() throws {
        let fixture = try RingFixture(Self.plain)
        for index in 0..<Self.entries {
            fixture.guest.describe(
                index, table: VhostGuest.Place.descriptors[1], address: VhostGuest.guestBase, length: 16,
                next: 1 | 1 << 7)
        }
        #expect(fixture.receive().error == Errno.badMessage)
        #expect(fixture.device.fault == "its ring has an impossible index")
    }

    private func isCalled(_ guest: VhostGuest, ring: Int) -> Bool {
        let ready = guest.calls[ring].value.descriptor.wait(for: .readable, until: .distantPast)
        guest.calls[ring].value.drain()
        return !ready.isEmpty
    }

    /// The flags of the driver's event suppression structure: enable, disable, and the position that is to be reached.
    @Test func guestIsInterruptedAsItAsks() throws {
        let fixture = try RingFixture(Self.all)
        let guest = fixture.guest, area = VhostGuest.Place.available[0]
        guest.fillReceiveRing()
        _ = isCalled(guest, ring: 0)
        func isCalledByFrame() -> Bool {
            #expect(fixture.send([numbered(100)]).sent == 1)
            #expect(guest.receive() != nil)
            return isCalled(guest, ring: 0)
        }
        #expect(isCalledByFrame())
        guest.store(1, at: area + 2)
        #expect(!isCalledByFrame())
        // After entry 70, which is entry 6 of the second round, with a wrap counter of 0.
        guest.store(6, at: area)
        guest.store(2, at: area + 2)
        for _ in 2..<70 { #expect(!isCalledByFrame()) }
        #expect(isCalledByFrame())
        #expect(!isCalledByFrame())
    }

    /// The device requests the next entry once it has taken all.
    @Test(arguments: [all, plain]) func deviceAsksForEntries(features: VirtioFeatures) throws {
        let fixture = try RingFixture(features)
        let guest = fixture.guest, area = VhostGuest.Place.used[1]
        guest.send(numbered(100))
        #expect(fixture.receive().frames.count == 1)
        #expect(fixture.receive().frames.isEmpty)
        let hasEvents = features.contains(.eventIndex)
        #expect(guest.load(at: area + 2) == (hasEvents ? 2 : 0))
        if hasEvents { #expect(guest.load(at: area) == 2 | 1 << 15, "a chain of two entries was taken") }
        #expect(fixture.send([numbered(100)]) == (0, Errno.again))
        #expect(guest.load(at: VhostGuest.Place.used[0] + 2) == (hasEvents ? 2 : 0))
        guest.fillReceiveRing()
        #expect(fixture.send([numbered(100)]).sent == 1)
        #expect(guest.load(at: VhostGuest.Place.used[0] + 2) == 1)
    }

    /// Rings with random contents: the device goes on or ends, and reads nothing but the guest's memory.
    @Test func hostileRingsHarmNothing() throws {
        var random = SeededGenerator(seed: 29)
        var ended = 0
        for round in 0..<Rounds.of(200) {
            let fixture = try RingFixture(round % 2 == 0 ? Self.all : Self.plain)
            let guest = fixture.guest
            if round % 3 > 0 { guest.fillReceiveRing() }
            for _ in 0..<30 {
                let table = [0, 0x3000, 0x6000].randomElement(using: &random)!
                switch Int.random(in: 0..<4, using: &random) {
                case 0: guest.write(random.bytes(1), at: Int.random(in: 0..<0x7000, using: &random))
                case 1:
                    let address = [
                        VhostGuest.guestBase, VhostGuest.guestBase + UInt64(VhostGuest.memoryLength) - 1, 0, .max,
                        VhostGuest.guestBase + 0x6000,
                    ].randomElement(using: &random)!
                    let marks = [0, 1 << 7, 1 << 15, 1 << 7 | 1 << 15].randomElement(using: &random)!
                    guest.describe(
                        Int.random(in: 0..<Self.entries, using: &random), table: table, address: address,
                        length: [0, 1, 12, 16, 64, 1024, 70_000, 0xffff_ffff].randomElement(using: &random)!,
                        flags: UInt16.random(in: 0..<70, using: &random),
                        next: UInt16.random(in: 0..<8, using: &random) | UInt16(marks))
                case 2:
                    // Long chains, and all entries available at once.
                    for index in 0..<Self.entries {
                        guest.store(
                            UInt16.random(in: 0..<4, using: &random) | (Bool.random(using: &random) ? 1 << 7 : 1 << 15),
                            at: table + 16 * index + 14)
                    }
                default: guest.send(numbered(Int.random(in: 1..<9000, using: &random)))
                }
                _ = fixture.send([numbered(1514), numbered(9000)])
                _ = fixture.receive()
            }
            if fixture.device.fault != nil { ended += 1 }
            fixture.device.close()
        }
        #expect(ended > 0, "some of this is impossible")
    }
}
