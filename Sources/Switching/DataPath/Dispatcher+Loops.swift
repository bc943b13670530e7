// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing
import Wire

// Loop protection (`LoopDetector`): probes, and ports that are blocked because a probe came back. A blocked port is
// what 802.1Q calls discarding. It is tried again after `Fabric.loopBlockTime`: a probe goes out, and the port is
// opened if that does not come back within a second.

extension Dispatcher {
    /// Sends a probe out of every port.
    mutating func sendLoopProbes() {
        needsLoopProbes = false
        for index in 0..<ports.count { sendLoopProbe(by: ports.number(at: index)) }
    }

    /// Sends a probe out of one port, even if it is blocked.
    mutating func sendLoopProbe(by number: PortNumber) {
        guard number != SwitchControl.servicePort else { return }
        fabric.tablesLock.lock()
        let frame = tables.loopDetector.probe(for: number)
        fabric.tablesLock.unlock()
        transmitOwn(frame, by: number)
    }

    /// Handles a probe that went out of `origin` and has come in at `ingress`. With `tablesLock`.
    mutating func handleLoop(from origin: PortNumber, to ingress: Int) {
        // A probe that comes back by its own port has been reflected behind it, where this switch can block nothing.
        guard ports.isAttached(origin), Int(origin) != ingress else { return }
        if ports[origin].isLoopBlocked {
            // The loop is still there.
            if ports[origin].isProbing { extendLoopBlock(origin) }
            return
        }
        guard !ports[ingress].isLoopBlocked else { return }
        // The uplink stays open: if it is one end of the loop, the other end is blocked.
        let isUplink = ports[ingress].role == .uplink
        let victim = isUplink ? origin : PortNumber(ingress)
        guard ports[victim].role == .guest else { return }
        ports[victim].isLoopBlocked = true
        tables.loopBlockedCount += 1
        // The first worker tries it again.
        control.wakeup.signal()
        extendLoopBlock(victim)
        tables.addresses.forget(victim)
        control.report(.loop(victim, with: isUplink ? PortNumber(ingress) : origin))
    }

    private func extendLoopBlock(_ number: PortNumber) {
        ports[number].blockedUntil = now + fabric.loopBlockTime
        ports[number].isProbing = false
    }

    /// Probes blocked ports whose time is over, and opens those whose probe did not come back. Under the exclusive
    /// lock.
    mutating func retryBlockedPorts() {
        for index in 0..<ports.count {
            let number = ports.number(at: index)
            guard ports[number].isLoopBlocked, ports[number].blockedUntil <= now else { continue }
            if ports[number].isProbing {
                ports[number].isLoopBlocked = false
                ports[number].isProbing = false
                tables.loopBlockedCount -= 1
                control.report(.loopEnded(number))
            } else {
                ports[number].isProbing = true
                // Two, so that at least one whole second passes.
                ports[number].blockedUntil = now + 2 * LoopDetector.probeTimeout
                sendLoopProbe(by: number)
            }
        }
    }
}
