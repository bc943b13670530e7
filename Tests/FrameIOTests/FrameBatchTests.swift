// SPDX-License-Identifier: Apache-2.0
import FrameIO
import TestSupport
import Testing
import Wire

@Suite struct FrameBatchTests {
    @Test func framesKeepTheirBytes() {
        var batch = FrameBatch(capacity: 8)
        for length in [14, 60, 1514, 9014, FrameBatch.maximumFrameLength] {
            batch.append(copying: SeededGenerator.sample(length).rawSpan)
        }
        let count = batch.count
        #expect(count == 5)
        for (index, length) in [14, 60, 1514, 9014, FrameBatch.maximumFrameLength].enumerated() {
            let frame = batch[index]
            let bytes = batch.bytes(of: frame).copied()
            #expect(bytes == SeededGenerator.sample(length))
            #expect(frame.offset % 4 == 2, "the IP header is aligned")
        }
        batch.removeAll()
        let none = batch.count
        #expect(none == 0)
    }

    @Test func slotsStartInDifferentCacheSets() {
        let sets = Set((0..<32).map { FrameBatch.slotOffset($0) / 64 % 64 })
        #expect(sets.count >= 32)
    }

    @Test func checksumsAreCompletedInPlace() throws {
        let source = IPv4Address("192.168.105.1")!, destination = IPv4Address("192.168.105.2")!
        let good = UDPFrame(from: (MACAddress(1), source, 53), to: (MACAddress(2), destination, 5000)).bytes(
            payload: SeededGenerator.sample(777))
        var batch = FrameBatch(capacity: 2)
        var partial = good
        let udpLength = good.count - 34
        let seed = InternetChecksum.pseudoHeader(
            source: source, destination: destination, protocolNumber: 17, length: udpLength
        ).folded
        (partial[40], partial[41]) = (UInt8(seed >> 8), UInt8(truncatingIfNeeded: seed))
        batch.append(copying: partial.rawSpan)
        var frame = batch[0]
        frame.offload.flags = .needsChecksum
        frame.offload.checksumStart = 34
        frame.offload.checksumOffset = 6
        batch[0] = frame
        let isDone = batch.completeChecksum(of: 0)
        let once = batch.bytes(of: batch[0]).copied()
        let isPlain = batch[0].offload.isPlain
        #expect(isDone && isPlain && once == good)
        // Once is enough.
        let isStillDone = batch.completeChecksum(of: 0)
        let twice = batch.bytes(of: batch[0]).copied()
        #expect(isStillDone && twice == good)
    }

    @Test(arguments: [(0, 16), (13, 6), (60, 0), (34, 5000), (65_535, 65_535)] as [(UInt16, UInt16)])
    func checksumsOutsideTheFrameAreRefused(start: UInt16, offset: UInt16) {
        var batch = FrameBatch(capacity: 1)
        batch.append(copying: [UInt8](repeating: 0, count: 60).rawSpan)
        var frame = batch[0]
        frame.offload.flags = .needsChecksum
        frame.offload.checksumStart = start
        frame.offload.checksumOffset = offset
        batch[0] = frame
        let isDone = batch.completeChecksum(of: 0)
        let bytes = batch.bytes(of: batch[0]).copied()
        #expect(!isDone && bytes == [UInt8](repeating: 0, count: 60))
    }

    @Test func vlanTagsAreInsertedBehindTheAddresses() {
        var batch = FrameBatch(capacity: 1)
        let plain = SeededGenerator.sample(100)
        batch.append(copying: plain.rawSpan)
        batch.insert(VLANTag(protocolIdentifier: 0x8100, control: 0x2005), into: 0)
        let bytes = batch.bytes(of: batch[0]).copied()
        #expect(bytes == plain[..<12] + [0x81, 0x00, 0x20, 0x05] + plain[12...])
    }

    @Test func virtioHeadersPrecedeFrames() {
        for length in [VirtioNetHeader.length, VirtioNetHeader.shortLength] {
            var batch = FrameBatch(capacity: 1)
            batch.append(copying: SeededGenerator.sample(60).rawSpan)
            var frame = batch[0]
            frame.offload.segmentation = .tcp4
            frame.offload.segmentSize = 1448
            batch[0] = frame
            batch.prependHeader(to: 0, length: length)
            let header = batch.receivedHeader(of: 0, length: length)
            let bytes = batch.bytes(of: batch[0]).copied()
            #expect(header == frame.offload && bytes == SeededGenerator.sample(60))
        }
    }
}
