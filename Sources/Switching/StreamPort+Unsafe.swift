// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform

// How a port sends through a stream: every frame whole, or not at all.

extension PortEgress {
    /// Sends the messages of `vector`, of which the first may be the queue's, until the receiver is full. Returns how
    /// many are done with, sent or dropped. When a part of the next one was taken, `sentOfFirst` says how much: it is
    /// then to be the first in the queue, which is empty, or has it there already.
    mutating func sendStream(_ vector: borrowing SendVector, failure: inout Int32) -> Int {
        guard !hasEnded, outgoing != nil else {
            counters.dropped(.unreachable, frames: vector.count)
            return vector.count
        }
        let outcome = outgoing!.send(vector, from: 0, skipping: sentOfFirst, to: raw)
        var bytes = 0
        for index in 0..<outcome.frames { bytes += vector.length(of: index) }
        counters.sent(frames: outcome.frames, bytes: bytes)
        sentOfFirst = outcome.part
        switch outcome.error {
        case 0, Errno.again, Errno.noBuffers:
            return outcome.frames
        default:
            // Nobody is there: the rest would fail in the same way.
            counters.dropped(.unreachable, frames: vector.count - outcome.frames)
            failure = outcome.error
            sentOfFirst = 0
            return vector.count
        }
    }
}

extension Forwarder {
    /// A stream's other end has closed it, or has sent what makes no sense.
    func endStream(_ number: Int) {
        unsafe ports[number].sending.lock()
        unsafe ports[number].egress.hasEnded = true
        unsafe ports[number].sending.unlock()
        fabric.tables.lock()
        unsafe ports[number].hasEnded = true
        unsafe pollers[index].remove(ports[number].raw)
        fabric.tables.unlock()
        unsafe control.report(.ended(PortNumber(number), badLength: ports[number].ingress.incoming.badLength))
    }
}
