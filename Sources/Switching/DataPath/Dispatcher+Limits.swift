// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import Wire

// Ports with a rate limit: frames beyond it are dropped in the order in which they come (a policer), so that TCP slows
// down. All other ports pay for it with one comparison a batch.

extension Dispatcher {
    /// Drops the received frames of a batch that are beyond the limit of their port.
    @inline(never)
    mutating func police(_ batch: inout FrameBatch, from ingress: Int, _ range: Range<Int>) {
        ports[ingress].ingressBucket.fill(now: BootClock.now)
        for index in range {
            let length = Int(batch[index].length)
            guard length > 0, !ports[ingress].ingressBucket.admit(length) else { continue }
            ports[ingress].counters.dropped(.limited)
            // An empty frame is skipped.
            batch[index].length = 0
        }
    }

    /// Sends the frames that are within the limit of the port. Returns whether its receiver is full.
    @inline(never)
    mutating func transmitLimited(
        _ entries: Span<EgressEntry>, by egress: PortNumber, _ batch: inout FrameBatch
    ) -> Bool {
        let now = BootClock.now
        var first = 0, isCongested = false
        for position in 0..<entries.count {
            let length = Int(batch[entries[position].index].length)
            ports[egress].egressLock.lock()
            ports[egress].egressBucket.fill(now: now)
            let isAdmitted = ports[egress].egressBucket.admit(length)
            ports[egress].egressLock.unlock()
            if isAdmitted { continue }
            ports[egress].counters.dropped(.limited)
            if first < position {
                isCongested = transmitAll(entries.extracting(first..<position), by: egress, &batch)
            }
            first = position + 1
        }
        guard first < entries.count else { return isCongested }
        return transmitAll(entries.extracting(first..<entries.count), by: egress, &batch)
    }
}
