// SPDX-License-Identifier: Apache-2.0
import Platform
import Wire

/// What all connections share while they are served.
struct TCPSurroundings {
    /// Where frames for guests go.
    let output: GuestOutput
    /// Bytes of the longest IP packet on the guests' link.
    let mtu: Int
    var memory: StreamMemory
    /// Nanoseconds on the monotonic clock.
    var now: UInt64 = 0
    /// Sockets that may still be read in this turn without having said that there is something.
    var readsLeft = 0
    /// Parts of streams that were sent again.
    var repeated = 0

    /// Appends a frame. Returns false if the guest's address is not known.
    @discardableResult
    func send(_ frame: TCPFrame, _ ends: TCPEnds, payload: (inout MutableRawSpan, Int) -> Void = { _, _ in }) -> Bool {
        frame.append(to: output, ends, payload: payload)
    }

    /// Bytes of payload of the longest super-frame.
    static let longestPayload = 65_535 - 40 - 20
}

extension TCPSurroundings {
    /// Answers a segment that belongs to no connection (RFC 9293 section 3.10.7.1).
    func reset(_ segment: borrowing TCPView, _ ends: TCPEnds) {
        let flags = segment.flags
        if flags.contains(.rst) { return }
        var frame: TCPFrame
        if flags.contains(.ack) {
            frame = TCPFrame(.rst, sequence: segment.acknowledgment)
        } else {
            frame = TCPFrame([.rst, .ack], sequence: 0)
            frame.acknowledgment =
                segment.sequence
                &+ UInt32(
                    truncatingIfNeeded: segment.payload.byteCount + (flags.contains(.syn) ? 1 : 0)
                        + (flags.contains(.fin) ? 1 : 0))
        }
        send(frame, ends)
    }
}
