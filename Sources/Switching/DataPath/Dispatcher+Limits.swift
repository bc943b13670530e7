// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import Wire

// Ports with a rate limit: frames beyond it are dropped in the order in which they come (a policer), so that TCP slows
// down.

extension Dispatcher {
    /// Drops the received frames of a batch that are beyond the limit of their port, whose bucket was filled.
    @inline(never)
    mutating func police(_ batch: inout FrameBatch, from ingress: Int, _ range: Range<Int>) {
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
        var position = 0, isCongested = false
        while position < entries.count {
            let first = position
            ports[egress].egressLock.lock()
            ports[egress].egressBucket.fill(now: now)
            while position < entries.count,
                ports[egress].egressBucket.admit(Int(batch[entries[position].index].length))
            {
                position += 1
            }
            ports[egress].egressLock.unlock()
            if first < position {
                isCongested = transmitAll(entries.extracting(first..<position), by: egress, &batch)
            }
            if position < entries.count {
                ports[egress].counters.dropped(.limited)
                position += 1
            }
        }
        return isCongested
    }
}
