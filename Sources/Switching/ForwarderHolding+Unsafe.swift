// SPDX-License-Identifier: Apache-2.0
import Platform

// A sender that is faster than its receiver is made to wait instead of losing what it sends: its port is not read for a
// moment, so that its own socket fills up and its system makes it wait. Only for a moment, and only for a receiver that
// keeps reading: one that has not made room after `patience` is slow, and from then on loses what does not fit its
// queue, until that has been empty once. So a guest that has stopped costs each other one short pause, and two that
// send to each other without reading cannot block each other.

extension Forwarder {
    /// Stops reading `ingress` until `egress` has room again. Returns whether it does: it may have room by now.
    mutating func hold(_ ingress: Int, for egress: PortNumber) -> Bool {
        guard mayHold(ingress) else { return false }
        fabric.tables.lock()
        defer { fabric.tables.unlock() }
        if unsafe ports[ingress].isHeld { return true }
        guard unsafe ports[Int(egress)].isWatchingForRoom, unsafe !ports[Int(egress)].isSlow else { return false }
        if unsafe ports[Int(egress)].patienceEnds == 0 {
            unsafe ports[Int(egress)].patienceEnds = MonotonicClock.now + fabric.patience
        }
        unsafe ports[ingress].isHeld = true
        unsafe held[tables.heldCount] = Fabric.Holding(ingress: PortNumber(ingress), egress: egress, worker: index)
        tables.heldCount += 1
        isHolding = true
        watch(ingress)
        return true
    }

    /// A guest that waits keeps itself waiting. The way out is everybody's, so it waits where there is but one other
    /// port.
    private func mayHold(_ ingress: Int) -> Bool {
        switch unsafe ports[ingress].kind {
        case .stream: true
        // Who sends to a datagram listener cannot be kept waiting alone, and does not wait but asks again and again:
        // both were measured to cost more.
        case .datagram: unsafe ports[ingress].configuration.listener == nil
        case .tap: hasOneOther(than: ingress)
        default: false
        }
    }

    /// Whether there is one port besides `number` through which machines are reached.
    private func hasOneOther(than number: Int) -> Bool {
        var others = 0
        for place in 0..<state.activeCount where unsafe Int(active[place]) != number {
            switch unsafe ports[Int(active[place])].kind {
            case .service, .datagramListener: continue
            default: others += 1
            }
            if others > 1 { return false }
        }
        return others == 1
    }

    /// Reads again what was held for `egress`. With `tables`.
    mutating func release(waitingFor egress: PortNumber) {
        unsafe ports[Int(egress)].patienceEnds = 0
        var place = 0
        while place < tables.heldCount {
            if unsafe held[place].egress == egress { release(at: place) } else { place += 1 }
        }
    }

    private mutating func release(at place: Int) {
        let ingress = unsafe Int(held[place].ingress)
        tables.heldCount -= 1
        unsafe held[place] = unsafe held[tables.heldCount]
        unsafe ports[ingress].isHeld = false
        watch(ingress)
    }

    /// Ends waiting that takes too long, of those whom this worker has let wait.
    mutating func losePatience(_ moment: UInt64) {
        fabric.tables.lock()
        defer { fabric.tables.unlock() }
        isHolding = false
        var place = 0
        while place < tables.heldCount {
            let egress = unsafe Int(held[place].egress)
            if unsafe held[place].worker == index {
                if unsafe ports[egress].patienceEnds <= moment {
                    unsafe ports[egress].isSlow = true
                    release(at: place)
                    continue
                }
                isHolding = true
            }
            place += 1
        }
    }

    /// Forgets a port that goes.
    mutating func forgetHolding(_ number: PortNumber) {
        release(waitingFor: number)
        for place in 0..<tables.heldCount where unsafe held[place].ingress == number {
            tables.heldCount -= 1
            unsafe held[place] = unsafe held[tables.heldCount]
            return
        }
    }

    /// Keeps the poller from telling of the end of a port that is held. Returns false if it is not held.
    func silence(_ number: Int) -> Bool {
        fabric.tables.lock()
        defer { fabric.tables.unlock() }
        guard unsafe ports[number].isHeld else { return false }
        if unsafe !ports[number].isSilenced {
            unsafe ports[number].isSilenced = true
            unsafe pollers[ports[number].worker].remove(ports[number].raw)
        }
        return true
    }

    /// Tells its worker's poller what a port waits for. With `tables`.
    func watch(_ number: Int) {
        if unsafe ports[number].hasEnded || (ports[number].isSilenced && ports[number].isHeld) { return }
        let worker = unsafe ports[number].worker
        if unsafe ports[number].isSilenced {
            unsafe ports[number].isSilenced = false
            unsafe try? pollers[worker].add(ports[number].raw, token: UInt64(number), for: interest(in: number))
        } else {
            unsafe pollers[worker].modify(ports[number].raw, token: UInt64(number), for: interest(in: number))
        }
    }

    /// With `tables`.
    func interest(in number: Int) -> Readiness {
        var interest: Readiness = unsafe ports[number].isHeld ? [] : .readable
        if unsafe ports[number].isWatchingForRoom && ports[number].tellsOfRoom { interest.insert(.writable) }
        return interest
    }
}
