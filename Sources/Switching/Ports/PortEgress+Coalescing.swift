// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import Wire

// How a port writes to a TAP: one system call a frame, in which the kernel carries the frame through its whole network
// stack. So consecutive TCP segments of a batch are coalesced into one GSO frame first (what GRO does in a kernel). The
// same for a device that is a network stack in this process.

extension PortEgress {
    /// Writes these frames in this order. Static, because it needs no state of the port: several workers write to a TAP
    /// at once.
    static func transmitCoalesced(
        _ entries: Span<EgressEntry>, of batch: inout FrameBatch, to endpoint: PortEndpoint,
        with vector: inout SendVector
    ) -> Int32 {
        var sent = 0, bytes = 0
        var failure: Int32 = 0
        var position = 0
        let device = endpoint.device
        vector.removeAll()
        while position < entries.count {
            let entry = entries[position]
            var count = 1, length = Int(batch[entry.index].length)
            let error: Int32
            if let run = run(entries, from: position, of: batch, &vector, &length) {
                count = run.count
                vector.finishRun(run, head: batch[entry.index], of: batch)
                error = device.map { vector.sendRun(to: $0) } ?? vector.writeRun(to: endpoint.raw)
            } else {
                let tag = batch.apply(entry.edit, to: entry.index)
                error =
                    device.map { $0.send(entry.index, of: &batch) }
                    ?? TapIO.send(entry.index, of: &batch, to: endpoint.raw)
                batch.revert(entry.edit, of: entry.index, tag)
            }
            position += count
            switch error {
            case 0:
                sent += count
                bytes += length
            case Errno.again, Errno.noBuffers:
                endpoint.counters.dropped(.queueFull, frames: count)
            case Errno.invalid:
                // The kernel rejects the headers, such as a runt after them.
                endpoint.counters.dropped(.malformed, frames: count)
            default:
                endpoint.counters.dropped(.unreachable, frames: count)
                failure = error
            }
        }
        endpoint.counters.sent(frames: sent, bytes: bytes)
        return failure
    }

    /// The frames from `position` on that go out as one, their payloads in `vector`; nil if the first goes alone. Adds
    /// the others' lengths to `length`.
    static func run(
        _ entries: Span<EgressEntry>, from position: Int, of batch: borrowing FrameBatch, _ vector: inout SendVector,
        _ length: inout Int
    ) -> Coalescer? {
        guard position + 1 < entries.count else { return nil }
        let head = batch[entries[position].index]
        guard entries[position].edit == .keep, head.offload.isPlain, var run = Coalescer(batch.bytes(of: head)) else {
            return nil
        }
        vector.beginRun(head, of: batch, headerLength: run.headerLength)
        var next = position + 1
        while next < entries.count {
            let entry = entries[next]
            let frame = batch[entry.index]
            guard entry.edit == .keep, frame.offload.isPlain,
                run.append(batch.bytes(of: frame), to: batch.bytes(of: head))
            else { break }
            vector.extendRun(frame, of: batch, headerLength: run.headerLength)
            length += Int(frame.length)
            next += 1
        }
        return run.count > 1 ? run : nil
    }
}
