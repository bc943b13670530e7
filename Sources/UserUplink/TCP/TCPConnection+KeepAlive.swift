// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing

// Keep-alive probes of the guest, end to end: each leads to one probe of the outside by this host's kernel, and is
// answered when the outside has answered. A dead outside leaves the guest's probes unanswered, so that the guest ends
// the connection in its own time. A NAT between this host and the outside sees a segment for each probe, in the guest's
// rhythm. Without a probe of the guest none is sent: keep-alive is the application's choice (RFC 9293 section 3.8.4).
//
// macOS does not report when a socket has received a segment. There a probe of the guest is answered at once, and the
// kernel probes the outside by itself from then on.

/// A probe of the outside that the guest has caused, and that has no answer yet.
struct OutsideProbe: Sendable {
    /// The outside is alive if it has sent a segment within this time.
    static let recent = TimeAmount.seconds(1)
    /// How long an answer is waited for. The guest's next probe leads to another one.
    static let timeout = TimeAmount.seconds(10)
    static let minimumInterval = TimeAmount.milliseconds(2)
    static let maximumInterval = TimeAmount.milliseconds(250)
    /// Seconds between probes of a kernel that probes by itself, and how many without an answer end the connection.
    static let ownInterval: Int32 = 75
    static let ownCount: Int32 = 8

    let start: Instant
    /// When to see whether the outside has answered.
    var deadline: Instant

    init(_ now: Instant) {
        start = now
        deadline = now + OutsideProbe.minimumInterval
    }

    /// When to look again: later each time.
    mutating func wait(now: Instant) {
        deadline =
            now + min(OutsideProbe.maximumInterval, max(OutsideProbe.minimumInterval, (now - start) / 2))
    }
}

extension TCPConnection {
    /// Whether a segment is a keep-alive probe: nothing, or one byte, before RCV.NXT. A guest to which this side has
    /// closed its window sends the same as a window probe.
    func isKeepAlive(length: Int, offset: Int, isFin: Bool) -> Bool {
        offset == -1 && length <= 1 && !isFin && isEstablished && receiver.rcvWnd > 0 && receiver.outOfOrder.isEmpty
            && toSocket.count == 0 && !isSocketBlocked && !isSocketReset && !isSocketAtEnd
    }

    /// Handles a keep-alive probe of the guest.
    func probeOutside(_ context: inout TCPContext) {
        guard let silence = socket?.silence else {
            ackDeadline = context.now
            // Without effect on the socket pair of the DNS proxy.
            if outsideProbe == nil {
                outsideProbe = OutsideProbe(context.now)
                outsideProbe!.deadline = .distantFuture
                socket?.keepAlive(
                    afterSeconds: OutsideProbe.ownInterval, everySeconds: OutsideProbe.ownInterval,
                    atMost: OutsideProbe.ownCount)
            }
            return
        }
        if silence < OutsideProbe.recent {
            ackDeadline = context.now
        } else {
            outsideProbe = OutsideProbe(context.now)
            // One probe at once, and no other in any time that counts.
            socket?.keepAlive(afterSeconds: 1, everySeconds: 32_767, atMost: 127)
        }
    }

    /// Looks whether the outside has answered a probe. Then the guest gets its answer.
    func awaitOutside(_ context: inout TCPContext) {
        guard let probe = outsideProbe, probe.deadline <= context.now else { return }
        let waited = context.now - probe.start
        if let silence = socket?.silence, silence < waited + OutsideProbe.recent / 2 {
            outsideProbe = nil
            ackDeadline = context.now
        } else if waited >= OutsideProbe.timeout {
            outsideProbe = nil
        } else {
            return outsideProbe!.wait(now: context.now)
        }
        socket?.endKeepAlive()
    }
}
