// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform

// How a port sends through a stream: every frame whole, or not at all.

extension PortEgress {
    /// Sends the messages of `vector`, of which the first may be the queue's, until the receiver is full. Returns how
    /// many are done with, sent or dropped. If a part of the next one was taken, `sentOfFirst` is its length; that
    /// message then is, or becomes, the first of the queue.
    mutating func sendStream(
        _ vector: borrowing SendVector, _ endpoint: PortEndpoint, _ failure: inout Int32
    ) -> Int {
        guard !hasEnded, streamFramer != nil else {
            endpoint.counters.dropped(.unreachable, frames: vector.count)
            return vector.count
        }
        let outcome = streamFramer!.send(vector, from: 0, skipping: sentOfFirst, to: endpoint.raw)
        var bytes = 0
        for index in 0..<outcome.frames { bytes += vector.length(of: index) }
        endpoint.counters.sent(frames: outcome.frames, bytes: bytes)
        sentOfFirst = outcome.part
        switch outcome.error {
        case 0, Errno.again, Errno.noBuffers:
            return outcome.frames
        default:
            // The receiver is gone: the rest would fail in the same way.
            endpoint.counters.dropped(.unreachable, frames: vector.count - outcome.frames)
            failure = outcome.error
            sentOfFirst = 0
            return vector.count
        }
    }
}
