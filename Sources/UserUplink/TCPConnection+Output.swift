// SPDX-License-Identifier: Apache-2.0
import Platform
import Wire

// What a connection says to the guest.

extension TCPConnection {
    func answer(_ surroundings: inout TCPSurroundings) {
        var frame = TCPFrame([.syn, .ack], sequence: initial)
        frame.acknowledgment = receiving.next
        frame.window = receiving.announce(0xffff, scale: 0)
        frame.options = beginning(
            surroundings, windowScale: guestScale == nil ? nil : TCPConnection.windowScale, isSelective: isSelective)
        ask(frame, &surroundings)
    }

    func knock(_ surroundings: inout TCPSurroundings) {
        var frame = TCPFrame(.syn, sequence: initial)
        frame.window = 0xffff
        frame.options = beginning(surroundings, windowScale: TCPConnection.windowScale, isSelective: true)
        ask(frame, &surroundings)
    }

    private func beginning(
        _ surroundings: borrowing TCPSurroundings, windowScale: UInt8?, isSelective: Bool
    ) -> TCPFrame.Options {
        .beginning(
            maximumSegment: UInt16(longestSegment(surroundings)), windowScale: windowScale, isSelective: isSelective)
    }

    /// Sends what begins a connection, and notes when to say it again.
    private func ask(_ frame: TCPFrame, _ surroundings: inout TCPSurroundings) {
        surroundings.send(frame, ends)
        timer = surroundings.now + MonotonicClock.second << UInt64(min(attempts, 6))
    }

    /// Bytes that the guest may send from `receiving.next` on.
    private var room: Int { isBroken ? 0xffff : max(0, StreamBuffer.largest - toSocket.count) }

    func confirm(_ surroundings: inout TCPSurroundings, sequence: UInt32? = nil) {
        var frame = TCPFrame(.ack, sequence: sequence ?? sending.first &+ UInt32(truncatingIfNeeded: sending.sent))
        frame.acknowledgment = receiving.next
        frame.window = announce()
        if isSelective && !receiving.early.isEmpty { frame.options = .selective(receiving.reports(3)) }
        if surroundings.send(frame, ends) { hasConfirmed() }
    }

    private func announce() -> UInt16 {
        receiving.announce(room, scale: guestScale == nil ? 0 : TCPConnection.windowScale)
    }

    /// The end of a turn: sends on what has come, and what there is to say.
    func finishTurn(_ surroundings: inout TCPSurroundings) {
        guard isOpen else {
            if confirmation != nil && state == .lingering { confirm(&surroundings) }
            return
        }
        drain(&surroundings)
        output(&surroundings)
        guard isOpen else { return }
        // Room for more from the socket, which does not have to be told of that first. The guest does not wait for it.
        if surroundings.readsLeft > 0 && watched?.contains(.readable) != true && mayReceive {
            surroundings.readsLeft -= 1
            surroundings.output.send()
            receive(&surroundings)
            output(&surroundings)
            guard isOpen else { return }
        }
        if let confirmation, confirmation <= surroundings.now { confirm(&surroundings) }
        // The guest may be waiting for room, of which there is much again.
        if receiving.announced < 32 << 10 && room >= StreamBuffer.largest / 2 { confirm(&surroundings) }
    }

    func output(_ surroundings: inout TCPSurroundings) {
        if isBroken && isSocketOver && toGuest.count == 0 { return reset(&surroundings) }
        // The end of the stream counts as a byte behind it, unless it ended in a reset.
        let available = toGuest.count + (isSocketOver && !isBroken && !endIsConfirmed ? 1 : 0)
        while available > sending.sent || !sending.isQuiet {
            guard
                let part = sending.next(
                    available: available, limit: TCPSurroundings.longestPayload, now: surroundings.now)
            else { break }
            if part.isAgain { surroundings.repeated += 1 }
            send(part.range, &surroundings)
        }
        if endIsConfirmed && hasFinished { return close(&surroundings) }
        // The guest has no room. What it says when it has some again may be lost, so it is asked (RFC 9293 section
        // 3.8.6.1).
        if sending.isQuiet && available > 0 && attempts == 0 {
            attempts = 1
            timer =
                surroundings.now
                + min(TCPConnection.longestQuestionPause, TCPSending.minimumPatience << UInt64(min(vainQuestions, 8)))
        }
    }

    private func send(_ range: Range<Int>, _ surroundings: inout TCPSurroundings) {
        let payload = range.lowerBound..<min(range.upperBound, toGuest.count)
        var flags: TCPFlags = .ack
        if range.upperBound > toGuest.count { flags.insert(.fin) }
        if range.upperBound >= toGuest.count && !payload.isEmpty { flags.insert(.psh) }
        var frame = TCPFrame(flags, sequence: sending.first &+ UInt32(truncatingIfNeeded: range.lowerBound))
        frame.acknowledgment = receiving.next
        frame.window = announce()
        frame.payloadLength = payload.count
        frame.segmentSize = sending.segmentSize
        if surroundings.send(frame, ends, payload: { toGuest.copy(payload, to: &$0, at: $1) }) { hasConfirmed() }
    }

    private func hasConfirmed() {
        confirmation = nil
        confirmed = receiving.next
    }
}
