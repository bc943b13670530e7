// SPDX-License-Identifier: Apache-2.0
import CLibrary
import FrameIO
import Platform
import TestSupport
import Testing
import Timing
import Wire

@testable import VirtioRing

@Suite struct VhostDeviceTests {
    private static let packed = VirtioFeatures.offered
    private static let all = packed.subtracting(.packedRings)
    private static let plain: VirtioFeatures = [.version1, .mergeableBuffers]
    private static let plainPacked = plain.union(.packedRings)

    @Test(arguments: [all, plain, [.version1], [], packed, plainPacked])
    func framesPassBothWays(features: VirtioFeatures) throws {
        let fixture = try RingFixture(features)
        let guest = fixture.guest
        let hasShortHeader = features.isDisjoint(with: [.version1, .mergeableBuffers])
        let headerLength = hasShortHeader ? 10 : 12
        guest.fillReceiveRing()
        for round in 0..<200 {
            let frame = numbered(60 + round * 7, from: round)
            guest.send(frame, header: [UInt8](repeating: 0, count: headerLength), pieces: 1 + round % 3)
            #expect(fixture.receive().frames.map(\.bytes) == [frame])
            #expect(guest.takeUsed(ring: 1) != nil)
            #expect(fixture.send([frame]).sent == 1)
            if hasShortHeader {
                let used = try #require(guest.takeUsed(ring: 0))
                #expect(used.length == frame.count + 10)
                guest.offer(UInt16(used.head), ring: 0)
            } else {
                #expect(try #require(guest.receive()).dropFirst(12) == frame[...])
            }
        }
        #expect(fixture.receive().frames.isEmpty)
    }

    @Test(arguments: [plain, packed]) func longFrameIsSpreadOverBuffers(features: VirtioFeatures) throws {
        let fixture = try RingFixture(features)
        fixture.guest.fillReceiveRing()
        for length in [2036, 2037, 9014, 65_549] {
            let frame = numbered(length)
            #expect(fixture.send([frame]).sent == 1)
            let received = try #require(fixture.guest.receive())
            #expect(received.dropFirst(12) == frame[...])
        }
    }

    @Test(arguments: [[.version1], [.version1, .packedRings] as VirtioFeatures])
    func frameThatFitsNoBufferIsRefused(features: VirtioFeatures) throws {
        let fixture = try RingFixture(features)
        fixture.guest.fillReceiveRing()
        #expect(fixture.send([numbered(4000)]) == (0, Errno.messageTooLong))
        #expect(fixture.send([numbered(1514)]).sent == 1)
    }

    /// The rest waits until the guest offers buffers, and the device then requests a kick.
    @Test(arguments: [all, plain])
    func deviceWaitsForBuffers(features: VirtioFeatures) throws {
        let fixture = try RingFixture(features)
        let guest = fixture.guest
        #expect(fixture.send([numbered(100)]) == (0, Errno.again))
        guest.fillReceiveRing()
        for _ in 0..<VhostGuest.entries { #expect(fixture.send([numbered(100)]).sent == 1) }
        #expect(fixture.send([numbered(100)]) == (0, Errno.again))
        if features.contains(.eventIndex) {
            #expect(guest.load(at: VhostGuest.Place.used[0] + 4 + 8 * VhostGuest.entries) == guest.available[0])
        } else {
            #expect(guest.load(at: VhostGuest.Place.used[0]) == 0)
        }
        #expect(guest.receive() != nil)
        #expect(fixture.send([numbered(100)]).sent == 1)
    }

    @Test(arguments: [all, packed]) func manyFramesGoInOneCall(features: VirtioFeatures) throws {
        let fixture = try RingFixture(features)
        fixture.guest.fillReceiveRing()
        for count in 1...40 {
            let frames = (0..<count).map { numbered(100 + $0, from: count) }
            let outcome = fixture.send(frames)
            #expect(outcome == (count, 0))
            for frame in frames { #expect(try #require(fixture.guest.receive()).dropFirst(12) == frame[...]) }
        }
        // What does not fit is refused.
        let outcome = fixture.send((0..<60).map { _ in numbered(3000) })
        #expect(outcome == (VhostGuest.entries / 2, Errno.noBuffers))
    }

    /// GSO frames of one batch fit a port's queue.
    @Test func batchIsBounded() throws {
        let fixture = try RingFixture(Self.plain)
        for _ in 0..<6 { fixture.guest.send(numbered(60_000)) }
        #expect(fixture.receive().frames.count == 5)
        #expect(fixture.receive().frames.count == 1)
        #expect(fixture.receive().frames.isEmpty)
    }

    @Test func guestIsInterruptedAsItAsks() throws {
        let fixture = try RingFixture(Self.plain)
        let guest = fixture.guest
        guest.fillReceiveRing()
        func isCalled() -> Bool {
            let ready = guest.calls[0].value.descriptor.wait(for: .readable, until: .distantPast)
            guest.calls[0].value.drain()
            return !ready.isEmpty
        }
        _ = isCalled()
        _ = fixture.send([numbered(100)])
        #expect(isCalled())
        guest.store(1, at: VhostGuest.Place.available[0])
        _ = fixture.send([numbered(100)])
        #expect(!isCalled())
    }

    /// An eventfd that its other owner has made blocking and filled: a write to it would wait for that process.
    @Test func fullEventfdDelaysNothing() throws {
        let fixture = try RingFixture(Self.plain)
        fixture.guest.fillReceiveRing()
        try fixture.guest.fillCall(0)
        // A sender that waits goes on, so that the failure is reported.
        defer { fixture.guest.emptyCall(0) }
        let sender = Sender(fixture)
        try WorkerThread.start(named: "sender") {
            for _ in 0..<40 where sender.fixture.send([numbered(100)]).sent == 1 { sender.sent.withLock { $0 += 1 } }
        }
        try eventually("all frames are sent") { sender.sent.withLock { $0 } == 40 }
    }

    /// A guest for one other thread.
    private final class Sender: @unchecked Sendable {
        let fixture: RingFixture
        let sent = Mutex(0)

        init(_ fixture: RingFixture) { self.fixture = fixture }
    }

    @Test func indirectDescriptorsAreRead() throws {
        let fixture = try RingFixture(Self.all)
        let guest = fixture.guest, frame = numbered(300), at = VhostGuest.Place.transmitBuffers[0]
        guest.write([UInt8](repeating: 0, count: 12) + frame, at: at)
        let base = VhostGuest.guestBase
        guest.describe(0, table: VhostGuest.Place.indirect, address: base + UInt64(at), length: 12, flags: 1, next: 2)
        guest.describe(2, table: VhostGuest.Place.indirect, address: base + UInt64(at) + 12, length: 300)
        guest.describe(
            5, table: VhostGuest.Place.descriptors[1], address: base + UInt64(VhostGuest.Place.indirect), length: 48,
            flags: 4)
        guest.offer(5, ring: 1)
        #expect(fixture.receive().frames.map(\.bytes) == [frame])
    }

    @Test func ringGoesOnWhereItWas() throws {
        let fixture = try RingFixture(Self.plain, starts: false)
        let guest = fixture.guest
        guest.available[1] = 65_530
        guest.taken[1] = 65_530
        guest.store(65_530, at: VhostGuest.Place.used[1] + 2)
        guest.store(65_530, at: VhostGuest.Place.available[1] + 2)
        try fixture.start(1, base: 65_530)
        for round in 0..<20 {
            guest.send(numbered(80, from: round))
            #expect(fixture.receive().frames.map(\.bytes) == [numbered(80, from: round)])
            #expect(guest.takeUsed(ring: 1) != nil)
        }
        #expect(fixture.device.stop(1) == 14)
        #expect(fixture.receive().frames.isEmpty)
    }

    @Test func stoppedRingTakesNothing() throws {
        let fixture = try RingFixture(Self.plain)
        fixture.guest.fillReceiveRing()
        _ = fixture.device.stop(0)
        #expect(fixture.send([numbered(100)]) == (0, Errno.networkDown))
        #expect(fixture.guest.takeUsed(ring: 0) == nil)
    }

    /// The guest has the frames back, and no port gets them (vhost-user, "Ring states").
    @Test func disabledRingDiscardsFrames() throws {
        let fixture = try RingFixture(Self.plain)
        try fixture.device.setEnabled(1, false)
        fixture.guest.send(numbered(100))
        #expect(fixture.receive().frames.isEmpty)
        #expect(fixture.guest.takeUsed(ring: 1) != nil)
    }

    // MARK: Offloads

    private static let source = Endpoint.guest(1, port: 1000), destination = Endpoint.guest(2, port: 2000)

    /// A TCP frame with `payload` bytes whose checksum is unfinished, and its header.
    private static func gsoFrame(_ payload: Int) -> (frame: [UInt8], offload: VirtioNetHeader) {
        let frame = Frames.tcp(.ack, from: source, to: destination, sequence: 1, numbered(payload))
        var offload = VirtioNetHeader()
        offload.flags = .needsChecksum
        offload.segmentation = .tcp4
        offload.segmentSize = 1448
        offload.checksumStart = 34
        offload.checksumOffset = 16
        return (frame, offload)
    }

    @Test(arguments: [all, packed]) func gsoFramePassesWhole(features: VirtioFeatures) throws {
        let fixture = try RingFixture(features)
        fixture.guest.fillReceiveRing()
        let (frame, offload) = Self.gsoFrame(20_000)
        #expect(fixture.send([frame], offload: offload).sent == 1)
        let received = try #require(fixture.guest.receive())
        #expect(received.dropFirst(12) == frame[...])
        #expect(VirtioNetHeader(parsing: received.rawSpan) == offload)
        // And the other way.
        fixture.guest.send(frame, header: Array(received.prefix(12)))
        let taken = fixture.receive().frames
        #expect(taken.map(\.bytes) == [frame])
        #expect(taken.map(\.offload) == [offload])
    }

    /// A guest without TSO gets segments that are complete.
    @Test(arguments: [plain, [.version1], plainPacked])
    func gsoFrameIsSegmentedForGuestWithoutTSO(features: VirtioFeatures) throws {
        let fixture = try RingFixture(features)
        fixture.guest.fillReceiveRing()
        let (frame, offload) = Self.gsoFrame(20_000)
        #expect(fixture.send([frame], offload: offload).sent == 1)
        var payload: [UInt8] = []
        while let received = fixture.guest.receive() {
            #expect(received.prefix(10).allSatisfy { $0 == 0 })
            let segment = Array(received.dropFirst(12))
            let packet = try IPv4View(segment.rawSpan.from(14))
            #expect(
                InternetChecksum.pseudoHeader(
                    of: segment.rawSpan, at: 14, isIPv6: false, protocolNumber: 6, length: segment.count - 34
                ).adding(segment.rawSpan.from(34)) == 0xffff)
            #expect(packet.bytes.byteCount == segment.count - 14)
            payload += segment.dropFirst(54)
        }
        #expect(payload == numbered(20_000))
    }

    @Test func checksumIsCompletedForGuestWithoutIt() throws {
        let fixture = try RingFixture(Self.plain)
        fixture.guest.fillReceiveRing()
        let complete = Frames.tcp(.ack, from: Self.source, to: Self.destination, sequence: 1, numbered(101))
        var unfinished = complete
        let sum = InternetChecksum.pseudoHeader(
            of: complete.rawSpan, at: 14, isIPv6: false, protocolNumber: 6, length: complete.count - 34)
        unfinished[50] = UInt8(sum.folded >> 8)
        unfinished[51] = UInt8(sum.folded & 0xff)
        var offload = VirtioNetHeader()
        offload.flags = .needsChecksum
        offload.checksumStart = 34
        offload.checksumOffset = 16
        #expect(fixture.send([unfinished], offload: offload).sent == 1)
        #expect(try #require(fixture.guest.receive()).dropFirst(12) == complete[...])
        offload.checksumStart = 60_000
        #expect(fixture.send([unfinished], offload: offload) == (0, Errno.messageTooLong))
    }

    // MARK: Memory

    /// The first access ends it: the guest may never announce anything again.
    @Test(arguments: ["send", "receive"]) func memoryThatIsShortenedEndsTheDeviceAlone(first: String) throws {
        let fixture = try RingFixture(Self.all)
        fixture.guest.fillReceiveRing()
        #expect(fixture.send([numbered(100)]).sent == 1)
        // A seal forbids it, where the file takes seals.
        if (try? fixture.guest.file.truncate(to: 0)) == nil { return }
        fixture.guest.forgetMemory()
        let error = first == "send" ? fixture.send([numbered(1500)]).error : fixture.receive().error
        #expect(error == Errno.badMessage)
        #expect(fixture.device.fault != nil)
        fixture.device.close()
        // Others go on.
        let other = try RingFixture(Self.all)
        other.guest.fillReceiveRing()
        #expect(other.send([numbered(100)]).sent == 1)
    }

    @Test func impossibleMemoryIsRefused() throws {
        let guest = try VhostGuest()
        #expect(throws: VhostFault.self) {
            try RingFixture.memory(of: guest, size: UInt64(VhostGuest.memoryLength) + 1)
        }
        #expect(throws: VhostFault.self) { try RingFixture.memory(of: guest, size: 0) }
        #expect(throws: VhostFault.self) { try RingFixture.memory(of: guest, size: .max) }
        func make(_ regions: [MemoryRegion], _ file: borrowing Descriptor) throws {
            var list = DescriptorList()
            for _ in regions { list.append(adopting: try file.duplicate().release()) }
            _ = try GuestMemory(regions, from: list)
        }
        let one = MemoryRegion(guestAddress: 0x1000, size: 0x2000, userAddress: 0x1000, fileOffset: 0)
        var two = one
        two.guestAddress = 0x2000
        try make([one], guest.file)
        #expect(throws: VhostFault.self) { try make([one, two], guest.file) }
        #expect(throws: VhostFault.self) { try make([], guest.file) }
        two.fileOffset = .max - 10
        #expect(throws: VhostFault.self) { try make([two], guest.file) }
        // Of a file on a disk, which may be slow.
        let disk = try Files.open(#filePath, .readOnly)
        #expect(throws: VhostFault.self) { try make([one], disk) }
        let pipe = try DescriptorPair.pipe()
        #expect(throws: VhostFault.self) { try make([one], pipe.first) }
    }

    @Test func impossibleRingsAreRefused() throws {
        let fixture = try RingFixture(Self.all, starts: false)
        for size: UInt32 in [3, 100, 65_536, .max] {
            #expect(throws: VhostFault.self) { try fixture.start(0, size: size) }
            _ = fixture.device.stop(0)
        }
        let pipe = try DescriptorPair.pipe()
        let end = Box(try pipe.first.duplicate())
        #expect(throws: VhostFault.self) { try fixture.device.start(0, kick: end) }
        #expect(throws: VhostFault.self) { try fixture.device.setCall(of: 0, end) }
        try fixture.device.setPlace(of: 1) { $0.used = VhostGuest.userBase + UInt64(VhostGuest.memoryLength) - 8 }
    }

    /// Rings with random contents: the device goes on or ends, and reads nothing but the guest's memory.
    @Test func hostileRingsHarmNothing() throws {
        var random = SeededGenerator(seed: 28)
        var ended = 0
        for round in 0..<Rounds.of(200) {
            let features: VirtioFeatures = round % 2 == 0 ? Self.all : Self.plain
            let fixture = try RingFixture(features)
            let guest = fixture.guest
            guest.fillReceiveRing()
            for _ in 0..<20 {
                switch Int.random(in: 0..<5, using: &random) {
                case 0:
                    // One byte of the rings.
                    guest.write(random.bytes(1), at: Int.random(in: 0..<0x7000, using: &random))
                case 1:
                    // A descriptor with numbers that are nearly right.
                    let address = [
                        VhostGuest.guestBase, VhostGuest.guestBase + UInt64(VhostGuest.memoryLength) - 1, 0, .max,
                        VhostGuest.guestBase + UInt64.random(in: 0..<0x100000, using: &random),
                    ].randomElement(using: &random)!
                    guest.describe(
                        Int.random(in: 0..<64, using: &random),
                        table: [0, 0x3000, 0x6000].randomElement(using: &random)!, address: address,
                        length: [0, 1, 12, 16, 64, 1024, 70_000, 0xffff_ffff].randomElement(using: &random)!,
                        flags: UInt16.random(in: 0..<8, using: &random),
                        next: UInt16.random(in: 0..<70, using: &random))
                case 2:
                    guest.offer(UInt16.random(in: 0..<70, using: &random), ring: Int.random(in: 0..<2, using: &random))
                case 3: guest.send(numbered(Int.random(in: 1..<9000, using: &random)))
                default: break
                }
                _ = fixture.send([numbered(1514), numbered(9000)])
                _ = fixture.receive()
            }
            if fixture.device.fault != nil { ended += 1 }
            fixture.device.close()
        }
        #expect(ended > 0, "some of this is impossible")
    }

    @Test func loopOfDescriptorsEndsTheDevice() throws {
        let fixture = try RingFixture(Self.all)
        let guest = fixture.guest, table = VhostGuest.Place.descriptors[1]
        for index in 0..<2 {
            guest.describe(
                index, table: table, address: VhostGuest.guestBase, length: 16, flags: 1, next: UInt16(1 - index))
        }
        guest.offer(0, ring: 1)
        #expect(fixture.receive().error == Errno.badMessage)
        #expect(fixture.device.fault == "its ring has an impossible chain")
    }
}

extension InternetChecksum {
    /// The folded sum with these bytes.
    fileprivate func adding(_ bytes: RawSpan) -> UInt16 {
        var sum = self
        sum.add(bytes)
        return sum.folded
    }
}
