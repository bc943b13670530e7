// SPDX-License-Identifier: Apache-2.0
import Timing
import Wire

/// The sending half of a TCP connection, from this host to a guest: what is sent next, what is retransmitted, and when.
///
/// Sequence space, windows and the persist condition follow RFC 9293, congestion control RFC 5681, loss recovery RFC
/// 6675 if the guest permits SACK and RFC 6582 (NewReno) otherwise, the retransmission timer RFC 6298. Variables have
/// the names of these documents.
///
/// Pure arithmetic: it has no clock, no buffer and no frames. All positions are offsets from SND.UNA, so that nothing
/// but `processAck` deals with wrap-around. The FIN occupies one byte after the stream.
struct TCPSender: Sendable {
    /// A part of the stream to be sent.
    struct Chunk: Equatable {
        let range: Range<Int>
        let isRetransmission: Bool
    }

    /// What an acknowledgment number means.
    enum Acknowledgment: Equatable {
        /// So many bytes are acknowledged for the first time.
        case advanced(Int)
        /// Nothing new: a duplicate, or a reordered older one.
        case duplicate
        /// It acknowledges what was never sent (RFC 9293 section 3.10.7.4: to be answered with an ACK).
        case beyondSent
        /// It is older than any segment that can still be on its way (RFC 5961 section 5.2: to be answered with an
        /// ACK).
        case implausible
    }

    /// Upper bound of cwnd, in bytes. On a link inside one host more only adds queueing.
    static let maximumCongestionWindow = 1 << 20
    /// Lower bound of ssthresh after a loss that SACK or duplicate ACKs reported, in bytes. The queues towards a guest
    /// hold at least this much, so isolated losses (a lossy VDE cable) are no reason to send smaller bursts.
    private static let minimumRecoveryThreshold = 64 << 10
    /// The lower bound of the RTO that Linux has as well. RFC 6298 section 2.4 recommends 1 s, for paths whose delay
    /// is not known; this one stays inside a host.
    static let minimumRTO = TimeAmount.milliseconds(200)
    /// RFC 6298 section 2.5.
    private static let maximumRTO = TimeAmount.seconds(60)
    /// Retransmission timeouts in a row after which the guest counts as gone (R2 of RFC 9293 section 3.8.3, at least
    /// 100 s). With exponential backoff these take about a quarter of an hour.
    static let maximumRetransmits = 15

    /// SND.UNA: the first sequence number that is not acknowledged.
    private(set) var sndUna: UInt32
    /// SND.NXT - SND.UNA: bytes that were sent and are not acknowledged (RFC 5681 section 2).
    private(set) var flightSize = 0
    /// SND.WND: bytes from SND.UNA on that the guest accepts.
    private(set) var sndWnd: Int
    /// MAX.SND.WND: the largest window so far, in bytes.
    private var maxSndWnd: Int
    /// The next part may be smaller than silly window avoidance allows: its timer has expired.
    private var overridesSilly = false
    /// Sender maximum segment size, in bytes of payload.
    private(set) var smss: Int
    private let sackPermitted: Bool
    private var cwnd: Int
    private var ssthresh = Int.max
    /// What the guest reported by SACK (RFC 6675 section 3).
    private var scoreboard = ByteRanges()
    private var duplicateAcks = 0

    /// The flight size when loss was detected: recovery ends when all of it is acknowledged. nil outside of recovery.
    private var recoveryPoint: Int?
    /// Recovery began by a retransmission timeout: all that SACK does not cover counts as lost. In fast recovery only
    /// what lies before later SACKed data does.
    private var isTimeoutRecovery = false
    /// HighRxt: where the last retransmission of this pass over the lost range ended; 0 if there was none.
    private var highRxt = 0
    /// HighData when this pass began. SACKs for data sent later show that the retransmission itself was lost.
    private var highDataAtRxt = 0

    /// The measurement under way: when the byte before `end` was sent first (Karn's algorithm, RFC 6298 section 3).
    private var rttSample: (end: Int, sentAt: Instant)?
    /// Zero before the first measurement.
    private var srtt = TimeAmount.zero
    private var rttvar = TimeAmount.zero
    private var rto = TCPSender.minimumRTO
    /// When the retransmission timer expires; nil while it is off.
    private(set) var retransmitDeadline: Instant?
    /// Expirations since the last acknowledgment of new data.
    private(set) var consecutiveTimeouts = 0

    /// - Parameters:
    ///   - sndUna: the first sequence number of the stream.
    ///   - window: the peer's initial window, in bytes.
    ///   - smss: bytes of payload in a full-sized segment.
    init(sndUna: UInt32, window: Int, smss: Int, sackPermitted: Bool) {
        self.sndUna = sndUna
        sndWnd = window
        maxSndWnd = window
        self.smss = smss
        self.sackPermitted = sackPermitted
        // The initial window of RFC 6928, bounded for the long segments of a link with a large MTU.
        cwnd = min(10 * smss, max(2 * smss, 256 << 10))
    }

    /// SND.NXT.
    var sndNxt: UInt32 { sndUna &+ UInt32(truncatingIfNeeded: flightSize) }

    /// Whether everything that was sent is acknowledged.
    var isIdle: Bool { flightSize == 0 }

    // MARK: Sending

    /// The estimate of bytes in the network: sent, neither SACKed nor lost, and retransmissions (RFC 6675 section 4).
    /// Without SACK each duplicate ACK stands for a segment that has left the network (RFC 5681 section 3.2).
    private var pipe: Int {
        guard recoveryPoint != nil else { return flightSize - scoreboard.count }
        let lost = lossBound
        return highRxt - scoreboard.covered(before: highRxt) + max(0, flightSize - max(lost, highRxt))
            - (sackPermitted ? 0 : min(flightSize, duplicateAcks * smss))
    }

    /// Where the range ends in which all that is not SACKed counts as lost.
    private var lossBound: Int {
        isTimeoutRecovery ? recoveryPoint ?? 0 : sackPermitted ? scoreboard.end : min(smss, flightSize)
    }

    /// Returns the next part to send, which counts as sent; nil if windows or the stream allow none for now.
    /// - Parameters:
    ///   - available: bytes of the stream from SND.UNA on, as far as it is known.
    ///   - limit: the longest part, in bytes.
    mutating func nextChunk(available: Int, limit: Int, now: Instant) -> Chunk? {
        let whole = max(1, limit / smss) * smss
        if recoveryPoint != nil, let gap = scoreboard.gap(from: highRxt, before: lossBound) {
            return retransmission(of: gap, upTo: whole, now)
        }
        let room = min(sndWnd - flightSize, cwnd - pipe), rest = available - flightSize
        guard rest > 0, room > 0 else { return nil }
        var length = min(rest, room, whole)
        if length < rest, length % smss != 0 {
            // Sender-side silly window avoidance (RFC 9293 section 3.8.6.2.1): a partial segment only if it ends the
            // data, has half of the largest window, or has waited for long enough.
            let rounded = length / smss * smss
            if rounded == 0 && 2 * length < maxSndWnd && !(overridesSilly && flightSize == 0) { return nil }
            if rounded > 0 { length = rounded }
        }
        overridesSilly = false
        let range = flightSize..<flightSize + length
        flightSize += length
        if rttSample == nil && recoveryPoint == nil { rttSample = (flightSize, now) }
        startRetransmitTimer(now)
        return Chunk(range: range, isRetransmission: false)
    }

    /// The timer of silly window avoidance has expired: what the window admits may go out, however little that is.
    mutating func overrideSillyWindowAvoidance() { overridesSilly = true }

    private mutating func retransmission(of gap: Range<Int>, upTo limit: Int, _ now: Instant) -> Chunk? {
        // The first segment of a pass goes out whatever the pipe holds (RFC 6675 section 5, step 4.3).
        guard pipe < cwnd || highRxt == 0 else { return nil }
        let room = max(smss, (cwnd - pipe) / smss * smss)
        let range = gap.lowerBound..<min(gap.upperBound, gap.lowerBound + min(limit, room))
        if highRxt == 0 { highDataAtRxt = flightSize }
        highRxt = range.upperBound
        rttSample = nil
        startRetransmitTimer(now)
        return Chunk(range: range, isRetransmission: true)
    }

    private mutating func startRetransmitTimer(_ now: Instant) {
        if retransmitDeadline == nil { retransmitDeadline = now + rto }
    }

    // MARK: Acknowledgments

    /// Processes an acknowledgment number and the window that comes with it.
    /// - Parameters:
    ///   - window: bytes, scaled.
    ///   - isPure: the segment carries neither payload nor FIN, so it may count as a duplicate ACK.
    mutating func processAck(_ number: UInt32, window: Int, isPure: Bool, now: Instant) -> Acknowledgment {
        let distance = number.distance(after: sndUna)
        guard distance <= flightSize else { return .beyondSent }
        guard distance >= 0 else { return distance < -maxSndWnd ? .implausible : .duplicate }
        let isSameWindow = window == sndWnd
        sndWnd = window
        maxSndWnd = max(maxSndWnd, window)
        if distance == 0 {
            if flightSize > 0 && isPure && isSameWindow {
                duplicateAcks += 1
                if !sackPermitted && duplicateAcks == 3 { enterRecovery(now) }
            }
            return .duplicate
        }
        let wasLimited = flightSize * 2 >= cwnd
        advance(distance)
        consecutiveTimeouts = 0
        finishSample(distance, now)
        rto = computedRTO
        retransmitDeadline = flightSize > 0 ? now + rto : nil
        advanceRecovery(distance)
        // Growth while the sender leaves cwnd unused would be unfounded (RFC 7661 gives the reasons).
        if wasLimited && (recoveryPoint == nil || isTimeoutRecovery) { growWindow(distance) }
        return .advanced(distance)
    }

    /// Moves SND.UNA, from which all offsets count.
    private mutating func advance(_ distance: Int) {
        sndUna &+= UInt32(truncatingIfNeeded: distance)
        flightSize -= distance
        highRxt = max(0, highRxt - distance)
        highDataAtRxt = max(0, highDataAtRxt - distance)
        scoreboard.advance(distance)
        duplicateAcks = 0
    }

    private mutating func advanceRecovery(_ distance: Int) {
        guard let end = recoveryPoint else { return }
        if end <= distance {
            recoveryPoint = nil
            isTimeoutRecovery = false
            highRxt = 0
        } else {
            recoveryPoint = end - distance
            // A partial acknowledgment: the next segment is lost as well (RFC 6582 section 3.2 step 3).
            if !sackPermitted && !isTimeoutRecovery { highRxt = 0 }
        }
    }

    /// Records a SACK block, given as sequence numbers. To be called after `processAck`; blocks that cannot be right
    /// are ignored.
    mutating func recordSack(_ start: UInt32, _ end: UInt32) {
        let lower = start.distance(after: sndUna), upper = end.distance(after: sndUna)
        guard sackPermitted, lower > 0, upper > lower, upper <= flightSize else { return }
        scoreboard.insert(lower..<upper)
    }

    /// Decides from the scoreboard whether something is lost. To be called after the blocks of a segment are recorded.
    mutating func detectLoss(now: Instant) {
        guard sackPermitted, !scoreboard.isEmpty else { return }
        if recoveryPoint == nil {
            // DupThresh segments have overtaken the first one (RFC 6675 section 4, IsLost).
            if scoreboard.count > 2 * smss || scoreboard.ranges.count > 2 || duplicateAcks >= 3 { enterRecovery(now) }
        } else if !isTimeoutRecovery, highRxt > 0, scoreboard.end > highDataAtRxt + 3 * smss {
            // Data that was sent after the retransmission has arrived, the retransmission has not: begin a new pass.
            highRxt = 0
            highDataAtRxt = flightSize
        }
    }

    private mutating func enterRecovery(_ now: Instant) {
        guard recoveryPoint == nil else { return }
        // The factor of CUBIC (RFC 9438 section 4.6).
        ssthresh = max(pipe * 7 / 10, 2 * smss, TCPSender.minimumRecoveryThreshold)
        cwnd = ssthresh
        recoveryPoint = flightSize
        highRxt = 0
        highDataAtRxt = flightSize
        rttSample = nil
        retransmitDeadline = now + rto
    }

    /// Slow start below ssthresh, congestion avoidance above (RFC 5681 section 3.1).
    private mutating func growWindow(_ acknowledged: Int) {
        if cwnd < ssthresh {
            cwnd += acknowledged
        } else {
            cwnd += max(1, smss * acknowledged / cwnd)
        }
        cwnd = min(cwnd, max(TCPSender.maximumCongestionWindow, 4 * smss))
    }

    // MARK: Retransmission timer (RFC 6298)

    private mutating func finishSample(_ distance: Int, _ now: Instant) {
        guard let (end, sentAt) = rttSample else { return }
        if end <= distance {
            updateRTT(now - sentAt)
            rttSample = nil
        } else {
            rttSample = (end - distance, sentAt)
        }
    }

    private mutating func updateRTT(_ rtt: TimeAmount) {
        let least = TimeAmount.nanoseconds(1)
        if srtt == .zero {
            srtt = max(least, rtt)
            rttvar = rtt / 2
        } else {
            rttvar = (3 * rttvar + (rtt > srtt ? rtt - srtt : srtt - rtt)) / 4
            srtt = max(least, (7 * srtt + rtt) / 8)
        }
    }

    private var computedRTO: TimeAmount {
        srtt == .zero
            ? TCPSender.minimumRTO : min(TCPSender.maximumRTO, max(TCPSender.minimumRTO, srtt + 4 * rttvar))
    }

    /// The retransmission timer has expired: all that is in flight counts as lost, and the RTO doubles.
    mutating func retransmitTimeout(now: Instant) {
        consecutiveTimeouts += 1
        rto = min(TCPSender.maximumRTO, 2 * rto)
        retransmitDeadline = now + rto
        rttSample = nil
        // Once per series, so that repeated timeouts do not lower it further (RFC 5681 section 3.1).
        if consecutiveTimeouts == 1 { ssthresh = max(pipe * 7 / 10, 2 * smss) }
        // A receiver may drop data that it has SACKed (reneging, RFC 2018 section 8). A block right at SND.UNA shows
        // that it did.
        if scoreboard.ranges.first?.lowerBound == 0 { scoreboard.removeAll() }
        cwnd = 2 * smss
        recoveryPoint = flightSize
        isTimeoutRecovery = true
        highRxt = 0
        highDataAtRxt = flightSize
        duplicateAcks = 0
    }
}
