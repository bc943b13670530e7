// SPDX-License-Identifier: Apache-2.0
import Capture
import Platform
import TestSupport
import Testing
import Timing
import Wire

@testable import Switching

/// What captures record of frames that a switch forwards or drops.
@Suite struct CaptureTests {
    private struct Record: Equatable {
        let port: PortNumber
        let direction: CaptureDirection
        let reason: DropReason?
        let length: Int
        let bytes: [UInt8]
    }

    private func records(_ tap: CaptureTap) -> [Record] {
        var records: [Record] = []
        while tap.removeFirst({ frame, bytes in
            #expect(frame.time > 1_600_000_000_000_000_000)
            records.append(
                Record(
                    port: frame.port, direction: frame.direction, reason: frame.reason, length: Int(frame.length),
                    bytes: bytes.copied()))
        }) {}
        return records
    }

    @Test func framesAreRecordedAtIngressAndEgress() throws {
        let harness = try ForwarderHarness()
        let one = try harness.attach(), two = try harness.attach()
        let tap = try CaptureTap(filter: nil, snapLength: 262_144)
        harness.control.setCapture(0, tap, .all)
        harness.settle()
        let three = try harness.attach()
        let sent = frame(to: mac(2), from: mac(1), [1, 2, 3])
        try one.send(sent)
        harness.settle()
        let all = records(tap)
        #expect(all.first == Record(port: one.number, direction: .inbound, reason: nil, length: 17, bytes: sent))
        #expect(Set(all.dropFirst().map(\.port)) == [two.number, three.number], "also at a port that came later")
        #expect(all.dropFirst().allSatisfy { $0.direction == .outbound && $0.reason == nil && $0.bytes == sent })
        #expect(two.received() == [sent] && three.received() == [sent])
        harness.control.setCapture(0, nil, .none)
        harness.settle()
        try one.send(sent)
        harness.settle()
        #expect(records(tap).isEmpty)
    }

    @Test func selectionLimitsPorts() throws {
        let harness = try ForwarderHarness()
        let one = try harness.attach(group: 7), two = try harness.attach(), uplink = try harness.attach(.uplink)
        let selections: [(CaptureSelection, Set<PortNumber>)] = [
            (.group(7), [one.number]), (.port(two.number), [two.number]), (.uplinks, [uplink.number]), (.none, []),
        ]
        for (slot, (selection, _)) in selections.enumerated() {
            harness.control.setCapture(slot, try CaptureTap(filter: nil, snapLength: 64), selection)
        }
        for (slot, (selection, ports)) in selections.enumerated() {
            let tap = try CaptureTap(filter: nil, snapLength: 64)
            harness.control.setCapture(slot, tap, selection)
            harness.settle()
            try one.send(frame(to: .broadcast, from: mac(1)))
            harness.settle()
            #expect(Set(records(tap).map(\.port)) == ports, "\(selection)")
        }
    }

    @Test func filterAndLengthLimitWhatIsRecorded() throws {
        let harness = try ForwarderHarness()
        let one = try harness.attach()
        // Frames longer than 100 bytes, of these 80; the capture has 64.
        let filter = try FilterProgram([
            FilterProgram.Instruction(0x80), FilterProgram.Instruction(0x25, 0, 1, 100),
            FilterProgram.Instruction(0x06, 0, 0, 80), FilterProgram.Instruction(0x06, 0, 0, 0),
        ])
        let tap = try CaptureTap(filter: filter, snapLength: 64),
            whole = try CaptureTap(filter: filter, snapLength: 999)
        harness.control.setCapture(0, tap, .all)
        harness.control.setCapture(1, whole, .all)
        harness.settle()
        try one.send(frame(to: mac(2), from: mac(1), [UInt8](repeating: 1, count: 20)))
        try one.send(frame(to: mac(2), from: mac(1), [UInt8](repeating: 2, count: 200)))
        harness.settle()
        #expect(records(tap).map { [$0.length, $0.bytes.count] } == [[214, 64]])
        #expect(records(whole).map { [$0.length, $0.bytes.count] } == [[214, 80]])
        #expect(tap.counters(of: one.number) == (1, 0))
    }

    @Test func droppedFramesHaveTheirReason() throws {
        let harness = try ForwarderHarness()
        let one = try harness.attach(), two = try harness.attach()
        let tap = try CaptureTap(filter: nil, snapLength: 262_144)
        harness.control.setCapture(0, tap, .all)
        try two.send(frame(to: mac(1), from: mac(2)))
        harness.settle()
        _ = records(tap)
        harness.control.setIsolation(true)
        harness.settle()
        try one.send([1, 2, 3, 4])
        try one.send(frame(to: mac(2), from: .broadcast))
        try one.send(frame(to: mac(2), from: mac(1)))
        harness.settle()
        #expect(records(tap).map(\.reason) == [.runt, .malformed, .isolated])
        harness.control.setIsolation(false)
        harness.control.setLimit(RateLimit(bitsPerSecond: 1_000_000), of: one.number)
        harness.settle()
        let long = frame(to: mac(2), from: mac(1), [UInt8](repeating: 1, count: 60_000))
        for _ in 0..<3 {
            try one.send(long)
            harness.settle()
        }
        let limited = records(tap)
        #expect(limited.filter { $0.reason == .limited }.map(\.port) == [one.number])
        #expect(limited.filter { $0.direction == .outbound }.count == 2)
    }

    @Test func fullReceiverDropsAreRecorded() throws {
        let harness = try ForwarderHarness(pauseLimit: .zero)
        let one = try harness.attach(), two = try harness.attach()
        two.socket.setBuffers(send: 4096, receive: 4096)
        try two.send(frame(to: mac(1), from: mac(2)))
        harness.settle()
        let tap = try CaptureTap(filter: nil, snapLength: 64)
        harness.control.setCapture(2, tap, .port(two.number))
        harness.settle()
        let sent = frame(to: mac(2), from: mac(1), [UInt8](repeating: 1, count: 1400))
        var drops = 0, recorded = 0
        for _ in 0..<400 where drops == 0 {
            for _ in 0..<64 { try? one.send(sent) }
            harness.worker.runOnce(timeout: .zero)
            let new = records(tap)
            recorded += new.count
            drops += new.count { $0.reason == .queueFull }
        }
        #expect(drops > 0)
        #expect(drops == Int(harness.counters(two).drops(.queueFull)), "\(recorded) recorded")
    }

    @Test func fullRingLosesFramesOfCaptureOnly() throws {
        let harness = try ForwarderHarness()
        let one = try harness.attach(), two = try harness.attach()
        let tap = try CaptureTap(filter: nil, snapLength: 262_144)
        harness.control.setCapture(0, tap, .port(one.number))
        harness.settle()
        let sent = frame(to: mac(2), from: mac(1), [UInt8](repeating: 1, count: 60_000))
        var delivered = 0
        for _ in 0..<100 {
            try one.send(sent)
            harness.settle()
            delivered += two.received().count
        }
        #expect(delivered == 100)
        let counters = tap.counters(of: one.number)
        #expect(counters.selected == 100 && counters.lost > 20)
        let kept = records(tap)
        #expect(kept.count == 100 - Int(counters.lost) && kept.allSatisfy { $0.bytes == sent })
    }

    @Test func readerIsWokenOnce() throws {
        let harness = try ForwarderHarness()
        let one = try harness.attach()
        let tap = try CaptureTap(filter: nil, snapLength: 64)
        harness.control.setCapture(0, tap, .all)
        harness.settle()
        #expect(tap.prepareToWait())
        try one.send(frame(to: mac(2), from: mac(1)))
        harness.settle()
        #expect(tap.wakeup.descriptor.wait(for: .readable, until: .distantPast).contains(.readable))
        #expect(!tap.prepareToWait(), "there is a frame")
        #expect(records(tap).count == 1)
        #expect(tap.prepareToWait())
        #expect(tap.wakeup.descriptor.wait(for: .readable, until: .distantPast).isEmpty)
    }

    @Test func tagsAreThoseOfThePort() throws {
        let harness = try ForwarderHarness()
        let one = try harness.attach(), two = try harness.attach()
        harness.control.setVLANAware(true)
        harness.control.setVLANs(of: one.number, untagged: 5, tagged: [])
        harness.control.setVLANs(of: two.number, untagged: 0, tagged: [5])
        let tap = try CaptureTap(filter: nil, snapLength: 262_144)
        harness.control.setCapture(0, tap, .all)
        harness.settle()
        let plain = frame(to: .broadcast, from: mac(1), [1, 2])
        try one.send(plain)
        // A tag with a priority only, into which the switch writes the VLAN.
        let priority = frame(to: .broadcast, from: mac(1), [0xe0, 0, 0x88, 0xb5, 1, 2], type: 0x8100)
        try one.send(priority)
        harness.settle()
        let tagged = frame(to: .broadcast, from: mac(1), [0, 5, 0x88, 0xb5, 1, 2], type: 0x8100)
        let both = frame(to: .broadcast, from: mac(1), [0xe0, 5, 0x88, 0xb5, 1, 2], type: 0x8100)
        #expect(two.received() == [tagged, both])
        let found = records(tap)
        #expect(found.filter { $0.direction == .inbound }.map(\.bytes) == [plain, priority])
        #expect(found.filter { $0.direction == .outbound }.map(\.bytes) == [tagged, both])
        #expect(found.allSatisfy { $0.length == $0.bytes.count })
    }
}
