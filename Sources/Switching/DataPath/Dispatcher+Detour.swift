// SPDX-License-Identifier: Apache-2.0
import Capture
import FrameIO
import Platform
import Wire

// Ports with a rate limit or a capture. Their batches take a detour, which all other ports pay for with one comparison
// a batch.
//
// A captured frame is recorded as it comes in, with the reason if it is dropped, and as it leaves by each port. The
// reasons are the counters that have changed meanwhile. So the frames of a captured ingress are classified one by one.
// The frames to a captured egress are sent together, as those of others: TCP segments are coalesced for a TAP as ever.
// Once the receiver is full they are sent one by one. If several workers drop frames at one port at the same moment, a
// reason may be noted at a neighbouring frame.

extension Dispatcher {
    // MARK: Frames that come in

    /// Classifies the frames of a port that has a rate limit or a capture.
    @inline(never)
    mutating func classifyByDetour(_ batch: inout FrameBatch, from ingress: Int, _ range: Range<Int>) {
        if ports[ingress].limit != nil { ports[ingress].ingressBucket.fill(now: BootClock.now) }
        guard ports[ingress].captures != 0 else {
            if ports[ingress].limit != nil { police(&batch, from: ingress, range) }
            fabric.tablesLock.lock()
            classify(&batch, from: ingress, range)
            fabric.tablesLock.unlock()
            return
        }
        let time = WallClock.nanoseconds
        // Of each frame, by its index: the tag with which it came in, and 1 more than the reason of its drop.
        var tags = SIMD64<UInt16>(), drops = SIMD64<UInt8>()
        fabric.tablesLock.lock()
        for index in range where batch[index].length > 0 {
            tags[index] = tagControl(of: index, batch)
            guard ports[ingress].ingressBucket.admit(Int(batch[index].length)) else {
                ports[ingress].counters.dropped(.limited)
                drops[index] = UInt8(DropReason.limited.rawValue) + 1
                continue
            }
            let before = DropSnapshot(ports[ingress].counters)
            classify(&batch, from: ingress, index..<index + 1)
            if let reason = before.reasonOfIngress(ports[ingress].counters) {
                drops[index] = UInt8(reason.rawValue) + 1
            }
        }
        fabric.tablesLock.unlock()
        for index in range where batch[index].length > 0 {
            // As it came in: classification may have written the VLAN into its tag.
            let changed = tagControl(of: index, batch)
            setTagControl(tags[index], of: index, &batch)
            record(
                index, .keep,
                CapturedFrame(
                    time: time, length: batch[index].length, port: PortNumber(ingress), direction: .inbound,
                    reason: drops[index] == 0 ? nil : DropReason(rawValue: Int(drops[index]) - 1)), &batch)
            setTagControl(changed, of: index, &batch)
        }
    }

    private func tagControl(of index: Int, _ batch: borrowing FrameBatch) -> UInt16 {
        guard batch[index].length >= EthernetHeader.taggedLength else { return 0 }
        return batch.bytes(of: batch[index]).big16(at: EthernetHeader.Field.tagControl)
    }

    private func setTagControl(_ value: UInt16, of index: Int, _ batch: inout FrameBatch) {
        guard batch[index].length >= EthernetHeader.taggedLength else { return }
        var bytes = batch.mutableBytes(of: batch[index])
        bytes.put16(value, at: EthernetHeader.Field.tagControl)
    }

    // MARK: Frames that leave

    /// Sends frames by a port that has a rate limit or a capture. Returns whether its receiver is full.
    @inline(never)
    mutating func transmitByDetour(
        _ entries: Span<EgressEntry>, by egress: PortNumber, _ batch: inout FrameBatch
    ) -> Bool {
        guard ports[egress].captures != 0 else { return transmitLimited(entries, by: egress, &batch) }
        let time = WallClock.nanoseconds
        let isLimited = ports[egress].limit != nil
        var position = 0, isCongested = isCongested(egress)
        while position < entries.count {
            let end = isLimited || isCongested ? position + 1 : entries.count
            let part = entries.extracting(position..<end)
            let before = DropSnapshot(ports[egress].counters)
            isCongested =
                isLimited ? transmitLimited(part, by: egress, &batch) : transmitAll(part, by: egress, &batch)
            recordSent(part, by: egress, before, time: time, &batch)
            position = end
        }
        return isCongested
    }

    private func isCongested(_ egress: PortNumber) -> Bool {
        guard ports[egress].kind != .tap else { return false }
        ports[egress].egressLock.lock()
        defer { ports[egress].egressLock.unlock() }
        return ports[egress].egress.isCongested
    }

    /// Records frames that a port has sent or dropped. What does not fit is at the end.
    mutating func recordSent(
        _ entries: Span<EgressEntry>, by egress: PortNumber, _ before: DropSnapshot, time: Int64,
        _ batch: inout FrameBatch
    ) {
        let (reason, drops) = before.reasonOfEgress(ports[egress].counters)
        for position in 0..<entries.count {
            let index = entries[position].index, edit = entries[position].edit
            let length = Int(batch[index].length) + edit.lengthDelta
            record(
                index, edit,
                CapturedFrame(
                    time: time, length: UInt32(max(0, length)), port: egress, direction: .outbound,
                    reason: position >= entries.count - drops ? reason : nil), &batch)
        }
    }

    /// Records frames that the switch has made, and sent out of `scratch`.
    mutating func recordScratch(by egress: PortNumber, _ edit: TagEdit) {
        let time = WallClock.nanoseconds
        var frames = FrameBatch(capacity: 0)
        swap(&frames, &scratch)
        for index in 0..<frames.count {
            record(
                index, edit,
                CapturedFrame(
                    time: time, length: UInt32(max(0, Int(frames[index].length) + edit.lengthDelta)), port: egress,
                    direction: .outbound, reason: nil), &frames)
        }
        swap(&frames, &scratch)
    }

    /// Records a frame, with its tag changed, in the captures of a port.
    private func record(_ index: Int, _ edit: TagEdit, _ captured: CapturedFrame, _ batch: inout FrameBatch) {
        let captures = ports[captured.port].captures
        let tag = batch.apply(edit, to: index)
        for slot in 0..<Captures.capacity where captures & 1 << UInt8(slot) != 0 {
            settings.captures[slot]?.record(batch.bytes(of: batch[index]), captured)
        }
        batch.revert(edit, of: index, tag)
    }
}

/// The drops of a port at one time.
struct DropSnapshot: BitwiseCopyable {
    /// Reasons of frames that came in by the port; frames that leave are dropped as malformed, too.
    private static let ingressReasons: [DropReason] = [
        .runt, .spoofed, .vlan, .isolated, .loop, .serving, .hidden, .tags, .fragment, .malformed,
    ]
    private static let egressReasons: [DropReason] = [.queueFull, .unreachable, .oversize, .limited, .malformed]

    private var counts = SIMD16<UInt64>()

    init(_ counters: PortCounters) {
        for reason in DropReason.allCases { counts[reason.rawValue] = counters.drops(reason) }
    }

    /// The reason for which a frame that came in was dropped since; nil if it was not.
    func reasonOfIngress(_ counters: PortCounters) -> DropReason? {
        DropSnapshot.ingressReasons.first { counters.drops($0) != counts[$0.rawValue] }
    }

    /// The reason for which most frames that were to leave were dropped since, and how many were.
    func reasonOfEgress(_ counters: PortCounters) -> (reason: DropReason?, drops: Int) {
        var found: DropReason?
        var most = 0, all = 0
        for reason in DropSnapshot.egressReasons {
            let drops = Int(truncatingIfNeeded: counters.drops(reason) &- counts[reason.rawValue])
            all += drops
            if drops > most { (found, most) = (reason, drops) }
        }
        return (found, all)
    }
}
