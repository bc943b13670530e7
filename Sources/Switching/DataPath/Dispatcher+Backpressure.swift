// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing

// Backpressure. A sender that is faster than its receiver is paused: its port is not read, so its socket fills up and
// its system makes it wait, and its frames are not lost (what 802.3x PAUSE does on a wire).
//
// A pause is short, and made only for a receiver that keeps reading: a receiver that has not made room within the pause
// limit is slow, and from then on frames that do not fit its queue are dropped, until its queue was empty once. So a
// guest that has stopped costs each other guest one short pause, and two guests that send to each other without reading
// cannot block each other.

extension Dispatcher {
    /// Stops reading `ingress` until `egress` has room again. Returns false if it may not be paused, or `egress` has
    /// room by now.
    mutating func pauseIngress(_ ingress: Int, for egress: PortNumber) -> Bool {
        guard mayPause(ingress) else { return false }
        fabric.tablesLock.lock()
        defer { fabric.tablesLock.unlock() }
        if ports[ingress].isPaused { return true }
        guard ports[egress].needsWritable, !ports[egress].isSlowReceiver else { return false }
        if ports[egress].pauseDeadline == .distantPast {
            ports[egress].pauseDeadline = BootClock.now + fabric.pauseLimit
        }
        ports[ingress].isPaused = true
        tables.pausedIngresses.append(
            PausedIngress(ingress: PortNumber(ingress), egress: egress, worker: worker))
        hasPausedIngress = true
        fabric.updateInterest(PortNumber(ingress))
        return true
    }

    /// Pausing a guest affects only that guest. The uplink is shared, so it is paused only if there is exactly one
    /// other port.
    private func mayPause(_ ingress: Int) -> Bool {
        switch ports[ingress].kind {
        case .stream, .sequencedPacket: true
        // A client of a datagram listener cannot be paused alone: it shares the socket, and at its own socket it does
        // not block but tries again and again. Both were measured to cost more than dropping.
        case .datagram: ports[ingress].endpoint.listener == nil
        case .tap: hasOneOtherPort(than: ingress)
        // The rings of one guest.
        case .device: ports[ingress].role == .guest
        default: false
        }
    }

    /// Whether there is exactly one port besides `number` through which guests are reached.
    private func hasOneOtherPort(than number: Int) -> Bool {
        var others = 0
        for index in 0..<ports.count where Int(ports.number(at: index)) != number {
            switch ports[ports.number(at: index)].kind {
            case .service, .datagramListener: continue
            default: others += 1
            }
            if others > 1 { return false }
        }
        return others == 1
    }

    /// After a port has sent, with its `egressLock`: waits for room, or no longer, and reports a receiver that is gone.
    mutating func updateBackpressure(_ egress: PortNumber, _ error: Int32) {
        if error != 0 { reportUnreachable(egress, error) }
        let isCongested = ports[egress].egress.isCongested
        if ports[egress].needsWritable == isCongested { return }
        let reportsWritability = ports[egress].endpoint.reportsWritability
        fabric.tablesLock.lock()
        ports[egress].needsWritable = isCongested
        if !isCongested {
            ports[egress].isSlowReceiver = false
            fabric.resumeIngresses(pausedFor: egress)
        }
        if reportsWritability { fabric.updateInterest(egress) }
        fabric.tablesLock.unlock()
        if isCongested && !reportsWritability && !retrying.contains(egress) { retrying.append(egress) }
    }

    /// Resumes the ports that this worker has paused for longer than the limit.
    mutating func expirePauses(now: Instant) {
        fabric.tablesLock.lock()
        defer { fabric.tablesLock.unlock() }
        hasPausedIngress = false
        var index = 0
        while index < tables.pausedIngresses.count {
            let paused = tables.pausedIngresses[index]
            if paused.worker == worker {
                if ports[paused.egress].pauseDeadline <= now {
                    ports[paused.egress].isSlowReceiver = true
                    fabric.resumeIngress(at: index)
                    continue
                }
                hasPausedIngress = true
            }
            index += 1
        }
    }
}

/// A port that is not read for now, the full receiver that it is paused for, and the worker that has paused it.
struct PausedIngress: BitwiseCopyable {
    let ingress: PortNumber
    let egress: PortNumber
    let worker: Int
}

// With `tablesLock`.
extension Fabric {
    /// Reads the ports again that were paused for `egress`.
    func resumeIngresses(pausedFor egress: PortNumber) {
        ports[egress].pauseDeadline = .distantPast
        var index = 0
        while index < tables.pausedIngresses.count {
            if tables.pausedIngresses[index].egress == egress { resumeIngress(at: index) } else { index += 1 }
        }
    }

    /// Reads an uplink again that was paused for the only guest, because there is another one now.
    func resumeSharedIngresses() {
        var index = 0
        while index < tables.pausedIngresses.count {
            let paused = tables.pausedIngresses[index]
            guard ports[paused.ingress].kind == .tap else {
                index += 1
                continue
            }
            ports[paused.egress].isSlowReceiver = true
            resumeIngress(at: index)
        }
    }

    /// Reads a port again, by its index in `pausedIngresses`.
    func resumeIngress(at index: Int) {
        let ingress = removePausedIngress(at: index)
        ports[ingress].isPaused = false
        updateInterest(ingress)
    }

    private func removePausedIngress(at index: Int) -> PortNumber {
        let ingress = tables.pausedIngresses[index].ingress
        let last = tables.pausedIngresses.count - 1
        tables.pausedIngresses.swapAt(index, last)
        tables.pausedIngresses.removeLast()
        return ingress
    }

    /// Removes the pauses of a port that is detached.
    func forgetPauses(of number: PortNumber) {
        resumeIngresses(pausedFor: number)
        if let index = tables.pausedIngresses.firstIndex(where: { $0.ingress == number }) {
            _ = removePausedIngress(at: index)
        }
    }

    /// Takes a paused port out of its poller, which would report its hangup again and again. Returns false if the port
    /// is not paused. Takes `tablesLock` itself.
    func maskIfPaused(_ number: PortNumber) -> Bool {
        tablesLock.lock()
        defer { tablesLock.unlock() }
        guard ports[number].isPaused else { return false }
        if !ports[number].isMasked {
            ports[number].isMasked = true
            pollers[ports[number].worker].remove(ports[number].endpoint.raw)
        }
        return true
    }

    /// Sets what the worker's poller watches for a port.
    func updateInterest(_ number: PortNumber) {
        if ports[number].egress.hasEnded || (ports[number].isMasked && ports[number].isPaused) { return }
        let worker = ports[number].worker, raw = ports[number].endpoint.raw
        if ports[number].isMasked {
            ports[number].isMasked = false
            try? pollers[worker].add(raw, token: UInt64(number), for: ports[number].interest)
        } else {
            pollers[worker].modify(raw, token: UInt64(number), for: ports[number].interest)
        }
    }
}
