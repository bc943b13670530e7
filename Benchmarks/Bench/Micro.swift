// SPDX-License-Identifier: Apache-2.0
import Allocations
import FrameIO
import Platform
import Switching
import TestSupport
import Timing
import Wire

/// The hot functions alone, in this process: how long they take, and how often they allocate, which must be never.
enum Micro {
    static func measure(_ report: Report) throws {
        report.progress("hot pieces")
        // Proof that the counter counts.
        let before = allocations_so_far()
        let proof = [UInt8](repeating: 1, count: Int.random(in: 5000...6000))
        guard allocations_so_far() > before, proof.count > 0 else {
            throw CommandFailed(description: "allocations are not counted")
        }
        headers(report)
        addresses(report)
        checksums(report)
        segments(report)
        try rounds(report)
    }

    /// The best of several runs, because disturbances only slow a run down.
    private static func time(_ report: Report, _ name: String, per count: Int, _ body: () -> Void) {
        body()
        let allocations = allocations_so_far()
        body()
        report.add(name, "allocations", Report.ours, Double(allocations_so_far() - allocations))
        report.want(name, "allocations", .atMost(0))
        for _ in 0..<7 {
            let start = BootClock.now
            body()
            report.add(name, "ns", Report.ours, Double((BootClock.now - start).nanoseconds) / Double(count))
        }
    }

    /// The same as `stream`, over IPv6 and without checksums.
    private static func streamIPv6(_ count: Int) -> FrameBatch {
        var batch = FrameBatch(capacity: count)
        for number in 0..<count {
            var writer = ByteWriter()
            EthernetHeader(
                destination: MACAddress(0x0200_0000_0002), source: MACAddress(0x0200_0000_0001), type: EtherType.ipv6
            ).emit(into: &writer)
            let header = IPv6Header(
                source: IPv6Address(0xfd00 << 48, 2), destination: IPv6Address(0xfd00 << 48, 1),
                nextHeader: IPProtocol.tcp)
            header.emit(into: &writer, payloadLength: 20 + 1440)
            writer.put32(40_000 << 16 | 5001)
            writer.put32(UInt32(number * 1440))
            writer.putZeros(12 + 1440)
            batch.append(copying: writer.bytes.rawSpan)
        }
        return batch
    }

    /// TCP segments of one stream, as a sender's kernel cuts them.
    private static func stream(_ count: Int) -> FrameBatch {
        var batch = FrameBatch(capacity: count)
        for number in 0..<count {
            var writer = ByteWriter()
            EthernetHeader(
                destination: MACAddress(0x0200_0000_0002), source: MACAddress(0x0200_0000_0001), type: EtherType.ipv4
            ).emit(into: &writer)
            var header = IPv4Header(
                source: IPv4Address(0xc0a8_6902), destination: IPv4Address(0xc0a8_6901), protocolNumber: IPProtocol.tcp)
            header.identification = UInt16(number)
            header.emit(into: &writer, payloadLength: 20 + 1460)
            let start = writer.count
            writer.put16(40_000)
            writer.put16(5001)
            writer.put32(UInt32(number * 1460))
            writer.put32(1)
            writer.put16(0x5010)
            writer.put16(500)
            writer.put32(0)
            writer.put((0..<1460).map { UInt8(truncatingIfNeeded: $0 &* 31) })
            let pseudo = InternetChecksum.pseudoHeader(
                source: header.source, destination: header.destination, protocolNumber: IPProtocol.tcp, length: 1480)
            writer.patch16(writer.checksum(from: start, adding: pseudo).finished, at: start + 16)
            batch.append(copying: writer.bytes.rawSpan)
        }
        return batch
    }

    private static func headers(_ report: Report) {
        let batch = stream(64)
        var sum: UInt64 = 0
        time(report, "read a frame's header", per: 64 * 1000) {
            for _ in 0..<1000 {
                for index in 0..<64 {
                    sum &+= FrameHeader(batch.bytes(of: batch[index]), role: .guest).destination.value
                }
            }
        }
        consume(sum)
    }

    private static func addresses(_ report: Report) {
        var table = AddressTable(ports: 256)
        let keys = (0..<1000).map { AddressTable.key(MACAddress(0x0200_0000_0000 + UInt64($0) &* 77), vlan: 0) }
        for (number, key) in keys.enumerated() {
            _ = table.learn(key, at: PortNumber(number % 256), now: CoarseInstant(seconds: 1))
        }
        var sum = 0
        time(report, "look an address up, of 1000", per: keys.count * 100) {
            for _ in 0..<100 { for key in keys { sum &+= Int(table.lookup(key, now: CoarseInstant(seconds: 2)) ?? 0) } }
        }
        time(report, "learn an address, of 1000", per: keys.count * 100) {
            for _ in 0..<100 {
                for (number, key) in keys.enumerated() {
                    if table.learn(key, at: PortNumber(number % 256), now: CoarseInstant(seconds: 2)) == .accepted {
                        sum &+= 1
                    }
                }
            }
        }
        consume(UInt64(truncatingIfNeeded: sum))
    }

    private static func checksums(_ report: Report) {
        let bytes = (0..<65_536).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        var sum: UInt64 = 0
        for (length, count) in [(1460, 20_000), (65_536, 500)] {
            time(report, "checksum of \(length) B", per: count) {
                for _ in 0..<count {
                    var checksum = InternetChecksum()
                    checksum.add(bytes.rawSpan.extracting(0..<length))
                    sum &+= UInt64(checksum.finished)
                }
            }
        }
        consume(sum)
    }

    private static func segments(_ report: Report) {
        let batch = stream(44)
        var sum = 0
        time(report, "put 44 segments together, a segment", per: 44 * 200) {
            for _ in 0..<200 {
                guard var run = Coalescer(batch.bytes(of: batch[0])) else { continue }
                for index in 1..<44 where run.append(batch.bytes(of: batch[index]), to: batch.bytes(of: batch[0])) {
                    sum &+= 1
                }
            }
        }
        let whole = FrameBatch(copyingStreamOf: batch)
        var header = [UInt8](repeating: 0, count: Segmenter.maximumHeaderLength)
        time(report, "cut a GSO frame into 44 segments, a segment", per: 44 * 200) {
            for _ in 0..<200 {
                guard var segmenter = Segmenter(whole.bytes(of: whole[0]), whole[0].offload) else { continue }
                header.withMutableRawSpan {
                    while let segment = segmenter.next(whole.bytes(of: whole[0]), header: &$0) {
                        sum &+= segment.payloadLength
                    }
                }
            }
        }
        consume(UInt64(truncatingIfNeeded: sum))
    }

    /// A worker with two ports, and the peers of these.
    private final class TwoPortSwitch {
        let control: SwitchControl
        var worker: ForwardingWorker
        let first: Descriptor, second: Descriptor
        let batch: FrameBatch
        var sender = SendVector()
        var sink: FrameBatch
        let receiver: ReceiveVector

        /// - Parameters:
        ///   - judging: guests have rules, and addresses their holders.
        ///   - isIPv6: the frames are.
        init(judging: Bool = false, isIPv6: Bool = false) throws {
            control = try SwitchControl()
            worker = try ForwardingWorker(control: control)
            if judging {
                control.setRules(GuestRules(.everywhere))
                control.setPolicy(ServicePolicy(takesDHCP: true, watchesARP: true))
            }
            first = try TwoPortSwitch.attach(to: control)
            second = try TwoPortSwitch.attach(to: control)
            batch = isIPv6 ? Micro.streamIPv6(64) : Micro.stream(64)
            sink = FrameBatch(capacity: 64)
            receiver = ReceiveVector(for: sink)
            for index in 0..<64 { sender.append(frame: batch[index], of: batch) }
            // Has the switch learn the second port's address.
            _ = try second.send(
                [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 2, 0x88, 0xb6] + [UInt8](repeating: 0, count: 46))
            for _ in 0..<4 { worker.runOnce(timeout: .zero) }
            _ = try first.receive(limit: 100)
        }

        /// Attaches a port and returns its peer.
        private static func attach(to control: SwitchControl) throws -> Descriptor {
            let pair = try DescriptorPair.datagramSockets()
            pair.first.setBuffers(send: 1 << 20, receive: 1 << 20)
            pair.second.setBuffers(send: 1 << 20, receive: 1 << 20)
            _ = control.attach(
                PortConfiguration(
                    name: "", kind: .datagram, role: .guest, descriptor: try pair.first.duplicate().release(),
                    maximumFrame: 65_553))
            return try pair.second.duplicate()
        }

        /// 64 frames in at one end and out at the other. Returns nanoseconds and allocations of the worker's part.
        func round() -> (time: Int64, allocations: UInt64) {
            _ = sender.send(to: first.raw)
            let allocations = allocations_so_far(), start = BootClock.now
            worker.runOnce(timeout: .zero)
            let result = ((BootClock.now - start).nanoseconds, allocations_so_far() - allocations)
            sink.removeAll()
            let frames = receiver.receive(from: second.raw, into: &sink).frames
            precondition(frames == 64)
            return result
        }
    }

    private static func rounds(_ report: Report) throws {
        try rounds(report, TwoPortSwitch(), "a round with 64 frames of 1514 B, system calls included, a frame")
        try rounds(report, TwoPortSwitch(judging: true), "the same, of guests that have rules")
        try rounds(report, TwoPortSwitch(isIPv6: true), "a round with 64 frames of IPv6")
        try rounds(
            report, TwoPortSwitch(judging: true, isIPv6: true), "the same, of guests whose IPv6 addresses are bound")
    }

    private static func rounds(_ report: Report, _ twoPorts: TwoPortSwitch, _ name: String) throws {
        for _ in 0..<100 { _ = twoPorts.round() }
        for _ in 0..<7 {
            var total: Int64 = 0, allocations: UInt64 = 0
            for _ in 0..<200 {
                let (time, count) = twoPorts.round()
                total += time
                allocations += count
            }
            report.add(name, "ns", Report.ours, Double(total) / 200 / 64)
            report.add(name, "allocations", Report.ours, Double(allocations))
        }
        report.want(name, "allocations", .atMost(0))
    }

    /// For `valgrind --tool=callgrind` and `strace -c`: nothing but rounds.
    static func runRounds(frames: Int, judging: Bool, isIPv6: Bool) throws {
        let twoPorts = try TwoPortSwitch(judging: judging, isIPv6: isIPv6)
        for _ in 0..<frames / 64 { _ = twoPorts.round() }
    }

    @inline(never)
    private static func consume(_ value: UInt64) { if value == 1 { StandardOutput.writeError(" ") } }
}

extension FrameBatch {
    /// One GSO frame with the payloads of a stream's segments.
    init(copyingStreamOf batch: borrowing FrameBatch) {
        self.init(capacity: 1)
        var bytes = batch.bytes(of: batch[0]).copied()
        for index in 1..<batch.count { bytes += batch.bytes(of: batch[index]).copied()[54...] }
        let length = UInt16(bytes.count - 14)
        (bytes[16], bytes[17]) = (UInt8(length >> 8), UInt8(length & 0xff))
        append(copying: bytes.rawSpan)
        var offload = VirtioNetHeader()
        offload.flags = .needsChecksum
        offload.segmentation = .tcp4
        offload.segmentSize = 1460
        offload.checksumStart = 34
        offload.checksumOffset = 16
        self[0].offload = offload
    }
}
