// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing
import Wire

// What goes to the guest: handshakes, acknowledgments, data.

extension TCPConnection {
    // MARK: Handshake

    func sendSYNACK(_ context: inout TCPContext) {
        var header = TCPSegmentHeader([.syn, .ack], sequence: iss)
        header.acknowledgment = receiver.rcvNxt
        window.open(&context.memory, by: owner)
        header.window = receiver.advertise(window.size, scale: 0)
        header.options = synOptions(
            context, windowScale: sendWindowScale == nil ? nil : TCPConnection.receiveWindowScale,
            sackPermitted: sackPermitted)
        sendHandshake(header, &context)
    }

    func sendSYN(_ context: inout TCPContext) {
        var header = TCPSegmentHeader(.syn, sequence: iss)
        window.open(&context.memory, by: owner)
        header.window = UInt16(min(0xffff, window.size))
        header.options = synOptions(context, windowScale: TCPConnection.receiveWindowScale, sackPermitted: true)
        sendHandshake(header, &context)
    }

    private func synOptions(
        _ context: borrowing TCPContext, windowScale: UInt8?, sackPermitted: Bool
    ) -> TCPSegmentHeader.Options {
        .syn(
            maximumSegment: UInt16(maximumSegmentSize(context)), windowScale: windowScale, sackPermitted: sackPermitted)
    }

    /// Sends a SYN or SYN-ACK, and sets the timer for its retransmission.
    private func sendHandshake(_ header: TCPSegmentHeader, _ context: inout TCPContext) {
        context.send(header, endpoints)
        timer = context.now + TCPConnection.initialRTO * (1 << Int64(min(retries, 6)))
    }

    // MARK: Acknowledgments

    /// Bytes from RCV.NXT on for which there is room.
    private var receiveRoom: Int { isSocketReset ? 0xffff : max(0, window.goal - toSocket.count) }

    private func advertisedWindow(_ context: inout TCPContext) -> UInt16 {
        window.adapt(
            to: receiver.rcvNxt, upTo: sendWindowScale == nil ? 0xffff : StreamBuffer.maximumCapacity,
            taken: toSocket.count + receiver.rcvWnd, capacity: toSocket.capacity, &context.memory, by: owner,
            now: context.now)
        // Receiver-side silly window avoidance (RFC 9293 section 3.8.6.2.2): the right edge moves by a segment or half
        // of the window at least.
        var room = receiveRoom
        if room - receiver.rcvWnd < min(window.size / 2, maximumSegmentSize(context)) { room = receiver.rcvWnd }
        return receiver.advertise(room, scale: sendWindowScale == nil ? 0 : TCPConnection.receiveWindowScale)
    }

    /// Sends an ACK without data.
    /// - Parameter sequence: SND.NXT, if nil. An older one makes it a probe.
    func sendAck(_ context: inout TCPContext, sequence: UInt32? = nil) {
        var header = TCPSegmentHeader(.ack, sequence: sequence ?? sender.sndNxt)
        header.acknowledgment = receiver.rcvNxt
        header.window = advertisedWindow(&context)
        if sackPermitted && receiver.hasBlocks { header.options = .sack(receiver.sackBlocks(atMost: 3)) }
        if context.send(header, endpoints) { didSendAck() }
    }

    private func didSendAck() {
        ackDeadline = nil
        receiver.forgetDuplicate()
        lastAckSent = receiver.rcvNxt
    }

    // MARK: Data

    /// The end of a poll: passes on what has arrived on either side, and sends what is due.
    /// - Parameter isReadWatched: the poller reports when the socket is readable.
    func finishPoll(isReadWatched: Bool, _ context: inout TCPContext) {
        guard isEstablished else {
            if ackDeadline != nil && isInTimeWait { sendAck(&context) }
            return
        }
        flushToSocket(&context)
        guard isEstablished else { return }
        output(&context)
        guard isEstablished else { return }
        // There is room again: read the socket now instead of after an event. What the guest is to get goes out first.
        if context.readBudget > 0 && !isReadWatched && canReceive {
            context.readBudget -= 1
            context.output.flush()
            receiveFromSocket(&context)
            output(&context)
            guard isEstablished else { return }
        }
        if let ackDeadline, ackDeadline <= context.now { sendAck(&context) }
        // A window update, when the guest may be waiting for one and half of the window is free again.
        if receiver.rcvWnd < min(32 << 10, window.goal / 2) && receiveRoom >= window.goal / 2 { sendAck(&context) }
    }

    /// Sends data and FIN as far as windows allow.
    func output(_ context: inout TCPContext) {
        if isSocketReset && isSocketAtEnd && toGuest.count == 0 { return reset(&context) }
        // The FIN counts as a byte after the stream. A stream that ended in a reset has none.
        let available = toGuest.count + (isSocketAtEnd && !isSocketReset && !isFinAcked ? 1 : 0)
        while available > sender.flightSize || !sender.isIdle {
            guard
                let chunk = sender.nextChunk(
                    available: available,
                    limit: min(TCPContext.maximumPayload, TCPContext.maximumSegments * sender.smss), now: context.now)
            else { break }
            if chunk.isRetransmission { context.retransmissions += 1 }
            send(chunk.range, &context)
        }
        if isFinAcked && hasShutDownSocket { return enterTimeWait(&context) }
        // The guest has closed its window: persist, as its window update may be lost (RFC 9293 section 3.8.6.1). Or it
        // is too small, and the timer is that of silly window avoidance.
        if sender.isIdle && available > 0 && retries == 0 {
            retries = 1
            timer =
                context.now
                + min(
                    TCPConnection.maximumPersistInterval,
                    TCPSender.minimumRTO * (1 << Int64(min(zeroWindowProbes, 8))))
        }
    }

    private func send(_ range: Range<Int>, _ context: inout TCPContext) {
        let payload = range.lowerBound..<min(range.upperBound, toGuest.count)
        var flags: TCPFlags = .ack
        if range.upperBound > toGuest.count { flags.insert(.fin) }
        if range.upperBound >= toGuest.count && !payload.isEmpty { flags.insert(.psh) }
        var header = TCPSegmentHeader(flags, sequence: sender.sndUna &+ UInt32(truncatingIfNeeded: range.lowerBound))
        header.acknowledgment = receiver.rcvNxt
        header.window = advertisedWindow(&context)
        header.payloadLength = payload.count
        header.segmentSize = sender.smss
        let isSent = context.send(header, endpoints, payload: { toGuest.copy(payload, to: &$0, at: $1) })
        // It has no room for SACK blocks: these need a separate ACK.
        if isSent && !(sackPermitted && receiver.hasBlocks) { didSendAck() }
    }
}
