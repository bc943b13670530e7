// SPDX-License-Identifier: Apache-2.0
import Frames
import Platform

// A sender that is faster than its receiver is made to wait instead of losing what it sends: its port is not read for a moment, so that its
// own socket fills up and its system makes it wait. Only for a moment, and only for a receiver that keeps reading: one that has not made
// room after `patience` is slow, and from then on loses what does not fit its queue, until that has been empty once. So a guest that has
// stopped costs each other one short pause, and two that send to each other without reading cannot block each other.

extension Forwarder {
    /// Stops reading `ingress` until `egress` has room again.
    mutating func hold(_ ingress: Int, for egress: PortNumber) {
        guard mayHold(ingress), unsafe !ports[ingress].isHeld, unsafe ports[Int(egress)].isBlocked, unsafe !ports[Int(egress)].isSlow
        else { return }
        if unsafe ports[Int(egress)].patienceEnds == 0 { unsafe ports[Int(egress)].patienceEnds = MonotonicClock.now + patience }
        unsafe ports[ingress].isHeld = true
        unsafe held[heldCount] = (PortNumber(ingress), egress)
        heldCount += 1
        watch(ingress)
    }

    /// A guest that waits keeps itself waiting. The way out is everybody's, so it waits where there is but one other port.
    private func mayHold(_ ingress: Int) -> Bool {
        switch unsafe ports[ingress].kind {
        case .stream: true
        // Who sends to a datagram door cannot be kept waiting alone, and does not wait but asks again and again: both were measured to cost more.
        case .datagram: unsafe ports[ingress].configuration.door == nil
        case .tap: hasOneOther(than: ingress)
        default: false
        }
    }

    /// Whether there is one port besides `number` through which machines are reached.
    private func hasOneOther(than number: Int) -> Bool {
        var others = 0
        for place in 0..<activeCount where unsafe Int(active[place]) != number {
            switch unsafe ports[Int(active[place])].kind {
            case .service, .datagramDoor: continue
            default: others += 1
            }
            if others > 1 { return false }
        }
        return others == 1
    }

    /// Reads again what was held for `egress`.
    mutating func release(waitingFor egress: PortNumber) {
        unsafe ports[Int(egress)].patienceEnds = 0
        var place = 0
        while place < heldCount {
            if unsafe held[place].egress == egress { release(at: place) } else { place += 1 }
        }
    }

    private mutating func release(at place: Int) {
        let ingress = unsafe Int(held[place].ingress)
        heldCount -= 1
        unsafe held[place] = unsafe held[heldCount]
        unsafe ports[ingress].isHeld = false
        watch(ingress)
    }

    /// Ends waiting that takes too long.
    mutating func losePatience(_ moment: UInt64) {
        var place = 0
        while place < heldCount {
            let egress = unsafe Int(held[place].egress)
            if unsafe ports[egress].patienceEnds <= moment {
                unsafe ports[egress].isSlow = true
                release(at: place)
            } else {
                place += 1
            }
        }
    }

    /// Forgets a port that goes.
    mutating func forgetHolding(_ number: PortNumber) {
        release(waitingFor: number)
        for place in 0..<heldCount where unsafe held[place].ingress == number {
            heldCount -= 1
            unsafe held[place] = unsafe held[heldCount]
            return
        }
    }

    /// Keeps the poller from telling of the end of a port that is held.
    func silence(_ number: Int) {
        unsafe ports[number].isSilenced = true
        unsafe poller.remove(ports[number].raw)
    }

    /// Tells the poller what a port waits for.
    func watch(_ number: Int) {
        // A stream that is over is not watched any more.
        if unsafe ports[number].incoming.isOver { return }
        if unsafe ports[number].isSilenced && ports[number].isHeld { return }
        var interest: Readiness = unsafe ports[number].isHeld ? [] : .readable
        if unsafe ports[number].isWatchingForRoom && ports[number].tellsOfRoom { interest.insert(.writable) }
        if unsafe ports[number].isSilenced {
            unsafe ports[number].isSilenced = false
            unsafe try? poller.add(ports[number].raw, token: UInt64(number), for: interest)
        } else {
            unsafe poller.modify(ports[number].raw, token: UInt64(number), for: interest)
        }
    }
}
