// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import Wire

// How a port sends to a guest that takes frames longer than its MTU, without a virtio header (`--stream PATH,offload`):
// TCP GSO frames go whole, and consecutive TCP segments of a batch are coalesced into one frame. Checksums are always
// complete: with no header, the guest's driver verifies them.

extension PortEgress {
    /// Sends these frames in this order.
    mutating func transmitOffloaded(
        _ entries: Span<EgressEntry>, of batch: inout FrameBatch, to endpoint: PortEndpoint,
        with vector: inout SendVector
    ) -> Int32 {
        var error: Int32 = 0
        vector.removeAll()
        var position = 0
        while position < entries.count {
            if !vector.hasRoom(forRunOf: entries.count - position) { sendOrQueue(&vector, endpoint, &error) }
            let entry = entries[position], frame = batch[entry.index]
            var length = 0
            if let run = PortEgress.run(entries, from: position, of: batch, &vector, &length) {
                var sum = InternetChecksum()
                for member in position..<position + run.count {
                    let segment = batch[entries[member].index]
                    run.addPayload(of: batch.bytes(of: segment), after: member - position, to: &sum)
                }
                vector.finishMessage(run, payload: sum, head: frame, of: batch)
                position += run.count
                continue
            }
            position += 1
            if endpoint.segments(frame, entry.edit) {
                appendSegments(of: frame, entry.edit, batch, to: endpoint, &vector, &error)
            } else if batch.completeChecksum(of: entry.index) {
                if entry.edit == .keep {
                    vector.append(frame: batch[entry.index], of: batch)
                } else {
                    vector.append(frame: batch[entry.index], of: batch, edit: entry.edit)
                }
            } else {
                endpoint.counters.dropped(.malformed)
            }
        }
        sendOrQueue(&vector, endpoint, &error)
        return error
    }
}
