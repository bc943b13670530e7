// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import Switching
import TestSupport
import Testing
import Timing
import Wire

@Suite struct QueueTests {
    /// Sends through a socket pair and returns what arrives.
    private func contents(of queue: inout TransmitQueue) throws -> [[UInt8]] {
        let pair = try DescriptorPair.datagramSockets()
        pair.first.setBuffers(send: 4 << 20, receive: 4 << 20)
        var vector = SendVector()
        queue.peek(into: &vector)
        let (sent, error) = vector.send(to: pair.first.raw)
        let count = vector.count
        #expect(error == 0 && sent == count)
        queue.removeFirst(sent)
        return try (0..<sent).map { _ in try pair.second.receive(limit: 70_000) }
    }

    /// A vector that holds one frame, which lies in `batch`.
    private func vector(of batch: borrowing FrameBatch) -> SendVector {
        var vector = SendVector()
        vector.append(frame: batch[0], of: batch)
        return vector
    }

    @Test func framesComeOutInOrderAcrossManyWraps() throws {
        var queue = TransmitQueue(capacity: 20_000)
        var random = SeededGenerator(seed: 5)
        var model: [[UInt8]] = []
        for _ in 0..<2000 {
            if Int.random(in: 0..<3, using: &random) > 0 {
                let bytes = random.bytes(Int.random(in: 14...2500, using: &random))
                var batch = FrameBatch(capacity: 1)
                batch.append(copying: bytes.rawSpan)
                let vector = vector(of: batch)
                if queue.append(0, of: vector) { model.append(bytes) }
            } else if !queue.isEmpty {
                let out = try contents(of: &queue)
                #expect(out == Array(model.prefix(out.count)))
                model.removeFirst(out.count)
            }
            let count = queue.count
            #expect(count == model.count)
        }
        while !queue.isEmpty {
            let out = try contents(of: &queue)
            #expect(out == Array(model.prefix(out.count)))
            model.removeFirst(out.count)
        }
        #expect(model.isEmpty)
    }

    @Test func fullQueueRefusesFrames() throws {
        var queue = TransmitQueue(capacity: 8000)
        var batch = FrameBatch(capacity: 1)
        batch.append(copying: [UInt8](repeating: 1, count: 1514).rawSpan)
        let vector = vector(of: batch)
        var taken = 0
        while queue.append(0, of: vector) { taken += 1 }
        #expect(taken == 5)
        queue.removeFirst(2)
        let hasRoomAgain = queue.append(0, of: vector)
        #expect(hasRoomAgain)
        var tiny = TransmitQueue(capacity: 1000)
        let fits = tiny.append(0, of: vector)
        #expect(!fits)
    }

    @Test func ringDeliversEveryFrameOnce() throws {
        let ring = ServiceFrameRing(slots: 8)
        let total = 20_000
        try WorkerThread.start(named: "writer") {
            for number in 0..<total {
                let frame = [UInt8](repeating: UInt8(truncatingIfNeeded: number), count: 14 + number % 500)
                while !ring.append(frame.rawSpan) { BootClock.sleep(.microseconds(1)) }
            }
        }
        var received = 0
        let deadline = BootClock.now + .seconds(30)
        while received < total {
            try #require(BootClock.now < deadline)
            let frame: [UInt8]? = ring.removeFirst { frame, _ in frame.copied() }
            guard let frame else { continue }
            #expect(frame == [UInt8](repeating: UInt8(truncatingIfNeeded: received), count: 14 + received % 500))
            received += 1
        }
        #expect(ring.isEmpty)
    }

    @Test func ringRefusesFramesThatDoNotFit() {
        let ring = ServiceFrameRing(slots: 2)
        func append(_ frame: [UInt8]) -> Bool { ring.append(frame.rawSpan) }
        #expect(!append([UInt8](repeating: 0, count: ServiceFrameRing.maximumFrameLength + 1)))
        #expect(append([1]) && append([2]) && !append([3]))
        #expect(ring.removeFirst { frame, _ in frame.copied() } == [1])
        #expect(append([3]))
    }

    @Test func onePortLeavesRoomInTheRingForOthers() {
        let ring = ServiceFrameRing(slots: 16)
        let frame: [UInt8] = [1, 2, 3]
        var taken = 0
        while ring.append(frame.rawSpan, from: 7) { taken += 1 }
        #expect(taken == 8)
        for port in 101...107 as ClosedRange<PortNumber> where ring.append(frame.rawSpan, from: port) { taken += 1 }
        if ring.append(frame.rawSpan, from: 7) { taken += 1 }
        #expect(taken == 15)
        var ports: [PortNumber] = []
        while let port = ring.removeFirst({ _, port in port }) { ports.append(port) }
        #expect(ports == Array(repeating: 7, count: 8) + Array(101...107))
        let isTaken = ring.append(frame.rawSpan, from: 7)
        #expect(isTaken)
    }

    @Test func serviceReceivesTheIngressPort() throws {
        let harness = try ForwarderHarness()
        harness.control.setPolicy(ServicePolicy(watchesARP: true))
        let ports = [try harness.attach(), try harness.attach()]
        let numbers = harness.control.ports.map(\.number).sorted()
        for (index, port) in ports.enumerated() {
            try port.send(
                ARPPacket.probe(for: IPv4Address("10.0.0.1")!, from: MACAddress(0x0200_0000_0001 + UInt64(index)))
                    .frame(to: .broadcast))
            harness.settle()
            #expect(harness.control.removeServiceFrame()?.port == numbers[index])
        }
        #expect(harness.control.reach(of: numbers[0]) == .guest)
        harness.control.detach(numbers[0])
        #expect(harness.control.reach(of: numbers[0]) == nil)
        #expect(harness.control.takeDetached() == [numbers[0]] && harness.control.takeDetached().isEmpty)
    }
}
