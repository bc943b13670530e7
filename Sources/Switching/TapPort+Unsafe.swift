// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import Wire

// How a port writes to a TAP: a system call for each frame, in which the kernel carries it through its whole network
// stack. So the segments of a TCP stream that stand next to each other in a batch are put together first. The same for
// a device that is a network stack of our own.

extension PortEgress {
    /// Writes these frames in this order. Where the port is a TAP, several workers do so at once.
    func transmitInRuns(
        _ departures: UnsafeBufferPointer<Departure>, of batch: inout FrameBatch, with vector: inout SendVector
    ) -> TransmitOutcome {
        var sent = 0, bytes = 0
        var outcome = TransmitOutcome()
        var place = 0
        while place < departures.count {
            let departure = unsafe departures[place]
            let frame = batch[departure.index]
            guard carries(frame, departure.edit, device?.maximumSuperFrame ?? FrameBatch.maximumFrameLength) else {
                refuse(departure.index, frame, &outcome)
                break
            }
            var count = 1, length = Int(frame.length)
            let error: Int32
            if let run = unsafe run(departures, from: place, of: batch, &vector, &length) {
                count = run.count
                vector.finishRun(run, head: frame, of: batch)
                error = device.map { vector.sendRun(to: $0) } ?? vector.writeRun(to: raw)
            } else {
                let undo = departure.edit == .keep ? nil : edit(departure.index, of: &batch, departure.edit)
                error =
                    device.map { $0.send(departure.index, of: &batch) }
                    ?? TapFrames.send(departure.index, of: &batch, to: raw)
                if departure.edit != .keep { restore(departure.index, of: &batch, undo) }
            }
            place += count
            switch error {
            case 0:
                sent += count
                bytes += length
            case Errno.again, Errno.noBuffers:
                counters.dropped(.queueFull, frames: count)
            case Errno.invalid:
                // The kernel does not like the headers, for one a runt behind them.
                counters.dropped(.malformed, frames: count)
            default:
                counters.dropped(.unreachable, frames: count)
                outcome.error = error
            }
        }
        counters.sent(frames: sent, bytes: bytes)
        return outcome
    }

    /// The frames from `place` on that go out as one, their payloads in `vector`; nil if the first stays alone. Adds
    /// the others' lengths to `length`.
    private func run(
        _ departures: UnsafeBufferPointer<Departure>, from place: Int, of batch: borrowing FrameBatch,
        _ vector: inout SendVector, _ length: inout Int
    ) -> Coalescer? {
        guard place + 1 < departures.count else { return nil }
        let head = batch[unsafe departures[place].index]
        guard unsafe departures[place].edit == .keep, head.offload.isPlain, var run = Coalescer(batch.bytes(of: head))
        else { return nil }
        vector.beginRun(head, of: batch, headerLength: run.headerLength)
        var next = place + 1
        while next < departures.count {
            let departure = unsafe departures[next]
            let frame = batch[departure.index]
            guard departure.edit == .keep, frame.offload.isPlain, Int(frame.length) <= maximumFrame,
                run.append(batch.bytes(of: frame), to: batch.bytes(of: head))
            else { break }
            vector.extendRun(frame, of: batch, headerLength: run.headerLength)
            length += Int(frame.length)
            next += 1
        }
        return run.count > 1 ? run : nil
    }
}
