// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing
import Wire

// Segments of the guest (RFC 9293 section 3.10.7).

extension TCPConnection {
    /// Handles a segment whose checksum was verified.
    func receive(_ segment: borrowing TCPView, from hardware: MACAddress, _ context: inout TCPContext) {
        endpoints.guestHardware = hardware
        switch state {
        case .connecting:
            if segment.flags.contains(.rst) { resetSocket(&context) }
        case .synSent: receiveInSynSent(segment, &context)
        case .synReceived, .established, .timeWait: receiveSynchronized(segment, &context)
        case .closed: break
        }
    }

    private func receiveInSynSent(_ segment: borrowing TCPView, _ context: inout TCPContext) {
        let flags = segment.flags
        guard flags.contains(.ack) else { return }
        // The guest has a half-open older connection, which a reset ends (RFC 9293 section 3.10.7.3).
        guard segment.acknowledgment == iss &+ 1 else { return context.sendReset(inReplyTo: segment, endpoints) }
        if flags.contains(.rst) { return resetSocket(&context) }
        guard flags.contains(.syn) else { return }
        receiver = TCPReceiver(rcvNxt: segment.sequence &+ 1)
        negotiate(segment, context)
        establish(&context)
        ackDeadline = context.now
    }

    private func receiveSynchronized(_ segment: borrowing TCPView, _ context: inout TCPContext) {
        let flags = segment.flags, offset = segment.sequence.distance(after: receiver.rcvNxt)
        if flags.contains(.rst) {
            // The next expected number only; elsewhere in the window, the guest has to confirm it (RFC 5961 section
            // 3.2).
            if offset == 0 { return resetSocket(&context) }
            if offset > 0 && offset < receiver.rcvWnd { challenge(context) }
            return
        }
        if flags.contains(.syn) {
            // Repeated because the SYN-ACK was lost; any other is challenged (RFC 5961 section 4.2).
            if state == .synReceived && offset == -1 { sendSYNACK(&context) } else { challenge(context) }
            return
        }
        guard flags.contains(.ack) else { return }
        // After the window (RFC 9293 section 3.10.7.4, first step). What is before it is acknowledged below.
        guard offset <= receiver.rcvWnd else { return challenge(context) }
        if state == .synReceived {
            guard segment.acknowledgment == iss &+ 1 else { return context.sendReset(inReplyTo: segment, endpoints) }
            establish(&context)
        }
        let length = segment.payload.byteCount, isFin = flags.contains(.fin)
        guard processAck(segment, isPure: length == 0 && !isFin, &context) else { return challenge(context) }
        if isKeepAlive(length: length, offset: offset, isFin: isFin) { return probeOutside(&context) }
        if length == 0 && !isFin {
            // An old sequence number without data is a keep-alive or window probe (RFC 9293 section 3.8.4).
            if offset < 0 { ackDeadline = context.now }
            return
        }
        if isEstablished { processPayload(segment.payload, segment.sequence, isFin: isFin, &context) }
        scheduleAck(length, offset, context)
    }

    /// Answers a segment that another host may have made up with an ACK, at most ten times in five seconds (RFC 5961
    /// section 7).
    private func challenge(_ context: borrowing TCPContext) {
        let second = context.now.coarse
        if second - challengeStart >= TCPConnection.challengePeriod {
            challengeStart = second
            challenges = 0
        }
        guard challenges < TCPConnection.maximumChallenges else { return }
        challenges += 1
        ackDeadline = context.now
    }

    private func scheduleAck(_ length: Int, _ offset: Int, _ context: borrowing TCPContext) {
        let isFinAlone =
            ackDeadline == nil && length == 0 && receiver.isFinReceived && offset == 0 && !isSocketAtEnd
        var due = context.now
        if isFinAlone {
            due += TCPConnection.finDelay
        } else if mayDelayAck(length, offset, context) {
            due += TCPConnection.delayedAckTimeout
        }
        ackDeadline = min(ackDeadline ?? .distantFuture, due)
    }

    /// Every second full-sized segment is acknowledged at once, together with the one before (RFC 9293 section
    /// 3.8.6.3). A short one is too, as the guest may have nothing else to send until then.
    private func mayDelayAck(_ length: Int, _ offset: Int, _ context: borrowing TCPContext) -> Bool {
        // Options make a full-sized segment shorter than the MSS (RFC 9293 section 3.7.1).
        let fullSize = maximumSegmentSize(context) - TCPHeader.maximumOptions
        return isEstablished && offset == 0 && length >= fullSize && receiver.outOfOrder.isEmpty
            && !receiver.isFinReceived && receiver.rcvNxt.distance(after: lastAckSent) < 2 * fullSize
    }

    /// - Returns: false if the segment is not the guest's: its acknowledgment cannot be right (RFC 5961 section 5.2).
    private func processAck(_ segment: borrowing TCPView, isPure: Bool, _ context: inout TCPContext) -> Bool {
        // The window of a segment that was overtaken is obsolete (SND.WL1 of RFC 9293 section 3.10.7.4).
        let isLatest = segment.sequence.distance(after: windowSequence) >= 0
        let window = isLatest ? Int(segment.window) << Int(sendWindowScale ?? 0) : sender.sndWnd
        switch sender.processAck(segment.acknowledgment, window: window, isPure: isPure, now: context.now) {
        case .advanced(let count):
            if count > toGuest.count { isFinAcked = true }
            toGuest.discard(min(count, toGuest.count))
        case .beyondSent, .implausible: return false
        case .duplicate: break
        }
        if isLatest { windowSequence = segment.sequence }
        if !isInTimeWait {
            retries = 0
            timer = context.now + TCPConnection.keepAliveIdle
        }
        if sender.sndWnd > 0 { zeroWindowProbes = 0 }
        if sackPermitted && segment.headerLength > TCPHeader.length {
            TCPOptions.selective(segment) { sender.recordSack($0, $1) }
        }
        sender.detectLoss(now: context.now)
        return true
    }

    private func processPayload(_ payload: RawSpan, _ sequence: UInt32, isFin: Bool, _ context: inout TCPContext) {
        guard !isSocketReset else {
            // Nothing takes the data any more. It counts as received, so that the guest does not retransmit it.
            _ = receiver.accept(sequence, length: payload.byteCount, isFin: isFin, room: .max)
            return
        }
        let buffered = toSocket.count, offset = max(0, sequence.distance(after: receiver.rcvNxt))
        // Data beyond the window must not make the buffer grow.
        guard offset <= receiver.rcvWnd else { return }
        let needed = buffered + min(offset + payload.byteCount, receiver.rcvWnd)
        let room = toSocket.reserve(needed, &context.memory, by: nil) - buffered
        guard let placement = receiver.accept(sequence, length: payload.byteCount, isFin: isFin, room: room) else {
            return
        }
        var accepted = placement.accepted
        if buffered == 0 && placement.offset == 0 && accepted.count >= TCPConnection.directSendThreshold
            && placement.delivered == accepted.count && receiver.outOfOrder.isEmpty && !isSocketBlocked && check == nil
        {
            let sent = payload.extracting(accepted).send(to: raw)
            if sent == accepted.count { return }
            if sent < 0 && sent != -Int(Errno.again) && sent != -Int(Errno.interrupted) {
                return socketFailed(&context)
            }
            isSocketBlocked = true
            accepted = accepted.lowerBound + max(0, sent)..<accepted.upperBound
            toSocket.write(payload.extracting(accepted), at: 0)
            toSocket.extend(accepted.count)
            return
        }
        toSocket.write(payload.extracting(accepted), at: buffered + placement.offset)
        toSocket.extend(placement.delivered)
        // With this much in the buffer there is no use in waiting for the end of the poll.
        if toSocket.count >= 64 << 10 { flushToSocket(&context) }
    }

    private func establish(_ context: inout TCPContext) {
        state = .established
        presence = nil
        lastAckSent = receiver.rcvNxt
        retries = 0
        timer = context.now + TCPConnection.keepAliveIdle
    }
}
