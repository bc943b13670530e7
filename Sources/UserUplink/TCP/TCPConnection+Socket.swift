// SPDX-License-Identifier: Apache-2.0
import Platform
import Uplink
import Wire

// The side towards the outside: the socket.

extension TCPConnection {
    /// What the poller is to watch the socket for. nil for not at all: polling is level-triggered, so an event that
    /// cannot be handled yet would be reported over and over.
    var interest: Readiness? {
        switch state {
        case .connecting: return proxy?.isAtStart == false ? .readable : .writable
        case .established:
            var interest: Readiness = []
            if canReceive { interest.insert(.readable) }
            if isSocketBlocked { interest.insert(.writable) }
            return interest.isEmpty ? nil : interest
        default: return nil
        }
    }

    /// Handles what the poller has reported. Returns 0, or the positive errno with which connect(2) failed.
    func socketReady(_ ready: Readiness, _ context: inout TCPContext) -> Int32 {
        switch state {
        case .connecting:
            // A failure is reported as a hang-up as well.
            if ready != .writable, let error = socket?.connectError, error != 0 {
                guard let proxy else { return error }
                return proxyFailed(proxy.isAtStart ? .unreachable(error) : .closed, &context)
            }
            if proxy != nil { return proxyReady(ready, &context) }
            if ready.contains(.writable) { accepted(&context) }
        case .established:
            if !ready.isDisjoint(with: [.readable, .hangup]) && canReceive { receiveFromSocket(&context) }
            if !ready.isDisjoint(with: [.writable, .hangup]) { isSocketBlocked = false }
        default:
            break
        }
        return 0
    }

    /// The outside has accepted: the guest gets its SYN-ACK.
    func accepted(_ context: inout TCPContext) {
        state = .synReceived
        if isProbe {
            isProbe = false
            socket?.setHops(IPv4Header.defaultTimeToLive, ipv6: endpoints.isIPv6)
            socket?.reportErrors(false, ipv6: endpoints.isIPv6)
        }
        retries = 0
        sendSYNACK(&context)
    }

    /// Whether the socket may be read: only as fast as the guest acknowledges.
    var canReceive: Bool {
        if isSocketAtEnd { return false }
        if toGuest.count < toGuest.capacity || toGuest.capacity < StreamBuffer.minimumCapacity { return true }
        return !isOverBudget && toGuest.capacity < StreamBuffer.maximumCapacity
            && sender.flightSize * 2 > toGuest.capacity
    }

    func receiveFromSocket(_ context: inout TCPContext) {
        // A bound, so that a fast socket does not starve the others.
        for _ in 0..<4 {
            if toGuest.count == toGuest.capacity {
                guard canReceive else { return }
                isOverBudget =
                    toGuest.reserve(toGuest.capacity + 1, &context.memory, by: owner) == toGuest.count
                if isOverBudget { return }
            }
            let room = toGuest.capacity - toGuest.count
            let received = toGuest.receive(from: raw)
            if received == 0 {
                isSocketAtEnd = true
            } else if received < 0, received != -Int(Errno.interrupted),
                isSocketReset || received != -Int(Errno.again)
            {
                isSocketAtEnd = true
                isSocketReset = true
            }
            // A short read: the socket is empty.
            if received < room { return }
            output(&context)
        }
    }

    /// Sends the guest's bytes to the socket, and the end of its stream.
    func flushToSocket(_ context: inout TCPContext) {
        if check != nil { checkNames(&context) }
        if isClosed { return }
        let sendable = check == nil ? toSocket.count : cleared
        if sendable > 0 && !isSocketBlocked && !isSocketReset {
            let before = toSocket.count, error = toSocket.send(to: raw, atMost: sendable)
            if check != nil { cleared -= before - toSocket.count }
            switch error {
            case 0: break
            case Errno.again: isSocketBlocked = true
            default: socketFailed(&context)
            }
        }
        if receiver.isFinReceived && toSocket.count == 0 && !hasShutDownSocket {
            hasShutDownSocket = true
            socket?.finishSending()
        }
    }

    /// The socket takes nothing more. What the outside sent before still goes to the guest, including what the socket
    /// holds of it.
    func socketFailed(_ context: inout TCPContext) {
        isSocketReset = true
        toSocket.clear(&context.memory, by: nil)
        window.shrink(to: StreamBuffer.minimumCapacity, &context.memory, by: owner)
    }

    /// Closes the socket, which must not be watched any more.
    func closeSocket() { socket = nil }
}
