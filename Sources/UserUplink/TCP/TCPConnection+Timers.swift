// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing
import Uplink
import Wire

// Timers, and the ends that a connection can take.

extension TCPConnection {
    /// When a timer expires next.
    var deadline: Instant {
        var next = min(timer, ackDeadline ?? .distantFuture, checkDeadline)
        if let presence { return min(presence.deadline, next) }
        if let outsideProbe { next = min(next, outsideProbe.deadline) }
        if isEstablished, let deadline = sender.retransmitDeadline { return min(deadline, next) }
        return next
    }

    /// The deadline has passed. Returns 0, or the positive errno with which the connection could not be made.
    func timerExpired(_ context: inout TCPContext) -> Int32 {
        switch state {
        case .connecting:
            guard let proxy else { return Errno.timedOut }
            return proxyFailed(proxy.isAtStart ? .unreachable(Errno.timedOut) : .timedOut, &context)
        case .synSent, .synReceived: if timer <= context.now { retransmitHandshake(&context) }
        case .established: establishedTimerExpired(&context)
        case .timeWait: resetSocket(&context)
        case .closed: break
        }
        return 0
    }

    private func retransmitHandshake(_ context: inout TCPContext) {
        retries += 1
        if retries > TCPConnection.maximumHandshakeRetransmits {
            reset(&context)
        } else if state == .synSent {
            sendSYN(&context)
        } else {
            sendSYNACK(&context)
        }
    }

    private func establishedTimerExpired(_ context: inout TCPContext) {
        awaitOutside(&context)
        if checkDeadline <= context.now {
            refuse(.late, name: nil, &context)
        } else if let deadline = sender.retransmitDeadline, deadline <= context.now {
            sender.retransmitTimeout(now: context.now)
            if sender.consecutiveTimeouts > TCPSender.maximumRetransmits { reset(&context) }
        } else if timer > context.now {
            // It was the delayed ACK, which goes out at the end of the poll.
            return
        } else if retries > TCPConnection.maximumProbes {
            reset(&context)
        } else if toGuest.count > 0 && sender.isIdle && sender.sndWnd > 0 {
            // Data waits for a larger window, which may never come (the override timeout of RFC 9293 section
            // 3.8.6.2.1).
            retries = 0
            sender.overrideSillyWindowAvoidance()
            timer = context.now + TCPConnection.keepAliveIdle
        } else {
            // A probe: an already acknowledged sequence number makes the guest send an ACK with its window (RFC 9293
            // section 3.8.4).
            retries += 1
            zeroWindowProbes += 1
            sendAck(&context, sequence: sender.sndUna &- 1)
            timer = context.now + min(TCPConnection.maximumProbeInterval, TCPSender.minimumRTO * (1 << Int64(retries)))
        }
    }

    // MARK: Ends

    /// Both FINs are sent and acknowledged.
    func enterTimeWait(_ context: inout TCPContext) {
        outsideProbe = nil
        if ackDeadline != nil { sendAck(&context) }
        state = .timeWait
        timer = context.now + TCPConnection.timeWaitDuration
        releaseBuffers(&context)
    }

    /// Ends the connection for the outside at once, with a RST; the guest has ended it already, or the caller informs
    /// it.
    func resetSocket(_ context: inout TCPContext) {
        if state != .timeWait { socket?.resetWhenClosed() }
        state = .closed
        releaseBuffers(&context)
    }

    /// Ends the connection for both sides at once, each with a RST.
    func reset(_ context: inout TCPContext) {
        switch state {
        case .closed, .timeWait, .synSent: break
        default:
            var header = TCPSegmentHeader([.rst, .ack], sequence: state == .connecting ? 0 : sender.sndNxt)
            header.acknowledgment = receiver.rcvNxt
            context.send(header, endpoints)
        }
        resetSocket(&context)
    }

    private func releaseBuffers(_ context: inout TCPContext) {
        toGuest.clear(&context.memory, by: owner)
        toSocket.clear(&context.memory, by: nil)
        window.shrink(to: 0, &context.memory, by: owner)
    }

    /// Returns the memory of empty buffers to the budget.
    func trim(_ context: inout TCPContext) {
        isOverBudget = false
        toGuest.trim(&context.memory, by: owner)
        if receiver.outOfOrder.isEmpty { toSocket.trim(&context.memory, by: nil) }
        // Nothing more comes after the guest's FIN.
        if receiver.isFinReceived {
            window.shrink(to: max(StreamBuffer.minimumCapacity, toSocket.capacity), &context.memory, by: owner)
        }
    }

    /// IRS: the sequence number of the guest's SYN, while nothing but that was received.
    var irs: UInt32 { receiver.rcvNxt &- 1 }
}
