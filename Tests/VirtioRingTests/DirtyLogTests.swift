// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

@testable import VirtioRing

/// The map of pages that the device has written.
@Suite struct DirtyLogTests {
    private static let all = VirtioFeatures.offered
    /// Bytes of a map for all of the guest's memory, which begins at 4 GiB.
    private static let length = (Int(VhostGuest.guestBase) + VhostGuest.memoryLength) / 4096 / 8

    /// Bytes of the map before those for the memory.
    private static let gap = Int(VhostGuest.guestBase) / 4096 / 8

    /// The pages whose bits are set, by their place in the memory.
    private func markedPages(_ file: borrowing Descriptor, from offset: Int = 0) throws -> [Int] {
        let bits = Array(try Files.read("/proc/self/fd/\(file.raw)")[(offset + Self.gap)...])
        return (0..<8 * bits.count).filter { bits[$0 / 8] >> UInt8($0 % 8) & 1 != 0 }
    }

    /// Every page that the device changes is marked, and none outside the memory.
    @Test(arguments: [all, all.subtracting(.packedRings)], [0, 4096])
    func everyWrittenPageIsMarked(features: VirtioFeatures, offset: Int) throws {
        let file = try VhostGuest.sharedFile(of: offset + Self.length)
        let fixture = try RingFixture(features)
        let guest = fixture.guest
        try fixture.device.setLog(DirtyLog(file, length: UInt64(Self.length), offset: UInt64(offset)))
        guest.fillReceiveRing()
        for round in 0..<40 {
            guest.send(numbered(500, from: round))
            let before = guest.contents
            #expect(fixture.receive().frames.count == 1)
            #expect(fixture.receive().frames.isEmpty)
            #expect(fixture.send([numbered(60 + 300 * round)]).sent == 1)
            let changed = Set(guest.changedPages(since: before))
            let marked = Set(try markedPages(file, from: offset))
            #expect(!changed.isEmpty && changed.isSubset(of: marked), "\(changed.subtracting(marked))")
            #expect(guest.takeUsed(ring: 1) != nil)
            #expect(guest.receive() != nil)
        }
        let others = try Files.read("/proc/self/fd/\(file.raw)").prefix(offset + Self.gap)
        #expect(others.allSatisfy { $0 == 0 })
    }

    /// Without the feature, nothing is marked: the migration has ended, or has not begun.
    @Test func nothingIsMarkedWithoutTheFeature() throws {
        let file = try VhostGuest.sharedFile(of: Self.length)
        let fixture = try RingFixture(Self.all.subtracting(.logAll))
        try fixture.device.setLog(DirtyLog(file, length: UInt64(Self.length), offset: 0))
        fixture.guest.fillReceiveRing()
        #expect(fixture.send([numbered(100)]).sent == 1)
        #expect(try markedPages(file).isEmpty)
        try fixture.device.setFeatures(Self.all)
        #expect(fixture.send([numbered(100)]).sent == 1)
        #expect(try !markedPages(file).isEmpty)
    }

    @Test func impossibleLogIsRefused() throws {
        let file = try VhostGuest.sharedFile(of: Self.length)
        for (length, offset) in [(0, 0), (Self.length + 1, 0), (Self.length, 1), (.max, 4096), (1 << 40, 0)] {
            #expect(throws: VhostFault.self) {
                _ = try DirtyLog(file, length: UInt64(length), offset: UInt64(offset))
            }
        }
        let disk = try Files.open(#filePath, .readOnly)
        #expect(throws: VhostFault.self) { _ = try DirtyLog(disk, length: 8, offset: 0) }
        let fixture = try RingFixture(Self.all)
        #expect(throws: VhostFault.self) {
            try fixture.device.setLog(DirtyLog(file, length: UInt64(Self.length) - 1, offset: 0))
        }
    }

    /// As with the memory: what was marked is lost, so the guest could not be migrated without errors.
    @Test func logThatIsShortenedEndsTheDevice() throws {
        let file = try VhostGuest.sharedFile(of: Self.length)
        let fixture = try RingFixture(Self.all)
        fixture.guest.fillReceiveRing()
        try fixture.device.setLog(DirtyLog(file, length: UInt64(Self.length), offset: 0))
        #expect(fixture.send([numbered(100)]).sent == 1)
        // A seal forbids it, where the file takes seals.
        if (try? file.truncate(to: 0)) == nil { return }
        _ = fixture.send([numbered(100)])
        #expect(fixture.receive().error == Errno.badMessage)
        #expect(fixture.device.fault == "it has shortened its memory")
    }
}
