// SPDX-License-Identifier: Apache-2.0
import Platform
import Wire

// How a connection ends, and what it does when nothing is heard.

extension TCPConnection {
    /// Both sides have said and heard everything.
    func close(_ surroundings: inout TCPSurroundings) {
        if confirmation != nil { confirm(&surroundings) }
        state = .lingering
        timer = surroundings.now + TCPConnection.lingering
        release(&surroundings)
    }

    /// Ends it for the outside at once; the guest knows, or is told by others.
    func end(_ surroundings: inout TCPSurroundings) {
        if state != .lingering { resetSocketWhenClosed() }
        state = .over
        release(&surroundings)
    }

    /// Ends it for both sides at once.
    func reset(_ surroundings: inout TCPSurroundings) {
        switch state {
        case .over, .lingering, .knocking: break
        default:
            let isAnswered = state != .reaching
            var frame = TCPFrame(
                [.rst, .ack], sequence: isAnswered ? sending.first &+ UInt32(truncatingIfNeeded: sending.sent) : 0)
            frame.acknowledgment = receiving.next
            surroundings.send(frame, ends)
        }
        end(&surroundings)
    }

    private func release(_ surroundings: inout TCPSurroundings) {
        toGuest.clear(&surroundings.memory)
        toSocket.clear(&surroundings.memory)
    }

    /// Gives back memory that is not needed at the moment.
    func trim(_ surroundings: inout TCPSurroundings) {
        lacksMemory = false
        toGuest.trim(&surroundings.memory)
        if receiving.early.isEmpty { toSocket.trim(&surroundings.memory) }
    }

    // MARK: Deadlines

    /// The deadline has passed. Returns 0, or the positive errno with which the connection could not be made.
    func expire(_ surroundings: inout TCPSurroundings) -> Int32 {
        switch state {
        case .reaching:
            return Errno.timedOut
        case .knocking, .answering:
            attempts += 1
            if attempts > TCPConnection.handshakeAttempts {
                reset(&surroundings)
            } else if state == .knocking {
                knock(&surroundings)
            } else {
                answer(&surroundings)
            }
        case .open:
            if let deadline = sending.deadline, deadline <= surroundings.now {
                sending.expire(now: surroundings.now)
                if sending.failures > TCPSending.attempts { reset(&surroundings) }
            } else if timer > surroundings.now {
                // It was for what the guest is to be told, which comes at the end of the turn.
                break
            } else if attempts > TCPConnection.probeAttempts {
                reset(&surroundings)
            } else {
                // What it has confirmed already makes the guest say where it is, and what room it has (RFC 9293 section
                // 3.8.4).
                attempts += 1
                vainQuestions += 1
                confirm(&surroundings, sequence: sending.first &- 1)
                timer =
                    surroundings.now + min(60 * MonotonicClock.second, TCPSending.minimumPatience << UInt64(attempts))
            }
        case .lingering:
            end(&surroundings)
        case .over:
            break
        }
        return 0
    }

    /// The hardware address of a guest that was asked for.
    func learn(_ hardware: MACAddress?) { if let hardware { ends.hardware = hardware } }

    /// The sequence number of the guest's SYN.
    var question: UInt32 { receiving.next &- 1 }
}
