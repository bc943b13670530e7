// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import Wire

// One datagram socket to which many clients send. Each frame is as if it had come in at its sender's own port; who is
// not known yet is told to the control thread, which attaches a port.

/// What the forwarder needs for datagram listeners.
struct DatagramListenerState: ~Copyable {
    let vector: NamedReceiveVector
    var peers: PeerTable
    /// Datagrams whose senders were told of and not dealt with yet, in the order in which they came.
    var strangers: [(listener: PortNumber, name: [UInt8], frame: [UInt8])] = []

    init(for batch: borrowing FrameBatch) {
        vector = NamedReceiveVector(for: batch)
        peers = PeerTable(ports: SwitchControl.portCapacity)
    }
}

extension Forwarder {
    /// Strangers that are told of before the control thread has dealt with the last ones.
    private static let maximumStrangers = 32

    /// Makes a port that has come through a listener known there, and forwards what has waited for it, before anything
    /// that comes from now on. The port is attached.
    mutating func open(_ number: PortNumber, _ configuration: PortConfiguration) {
        guard let listener = configuration.listener else { return }
        reception.peers.insert(number, configuration.peer, at: listener)
        for index in reception.strangers.indices
        where reception.strangers[index].listener == listener && reception.strangers[index].name == configuration.peer {
            // One that is no frame was a greeting.
            if reception.strangers[index].frame.count >= 14 { take(reception.strangers[index].frame, from: number) }
            reception.strangers[index].frame = []
        }
    }

    /// The oldest of those that were told of has been dealt with; others may still wait.
    mutating func forgetStranger(at listener: PortNumber) {
        if let index = reception.strangers.firstIndex(where: { $0.listener == listener }) {
            reception.strangers.remove(at: index)
        }
    }

    /// A listener's turn.
    mutating func drainListener(_ listener: Int) {
        for _ in 0..<Forwarder.turnBatches {
            batch.removeAll()
            let outcome = unsafe reception.vector.receive(from: ports[listener].raw, into: &batch)
            if outcome.truncated > 0 { unsafe ports[listener].counters.dropped(.oversize, frames: outcome.truncated) }
            if outcome.error != 0 { return report(listener, outcome.error) }
            var first = 0
            while first < batch.count {
                let sender = find(first, listener)
                var end = first + 1
                while end < batch.count, find(end, listener) == sender { end += 1 }
                if let sender {
                    if batch[first].length < 14 { greet(sender) }
                    forward(from: Int(sender), first..<end)
                } else {
                    tell(of: first..<end, listener)
                }
                first = end
            }
            sendOwn()
            if outcome.frames < batch.capacity { return }
        }
    }

    /// Somebody known greets again: mostly a new program with an old one's name, whose end has not been noticed yet.
    private func greet(_ number: PortNumber) {
        if unsafe ports[Int(number)].ingress.isGoodbyeReported { return }
        unsafe ports[Int(number)].ingress.isGoodbyeReported = true
        control.report(.goodbye(number))
    }

    private func find(_ index: Int, _ listener: Int) -> PortNumber? {
        reception.peers.find(reception.vector.name(of: index), at: PortNumber(listener))
    }

    /// Tells the control thread of frames whose senders have no port.
    private mutating func tell(of frames: Range<Int>, _ listener: Int) {
        for index in frames {
            guard reception.strangers.count(where: { $0.listener == PortNumber(listener) }) < Forwarder.maximumStrangers
            else {
                unsafe ports[listener].counters.dropped(.queueFull)
                continue
            }
            let stranger = Stranger(
                name: reception.vector.name(of: index).copied(), user: reception.vector.user(of: index))
            reception.strangers.append((PortNumber(listener), stranger.name, batch.bytes(of: batch[index]).copied()))
            control.report(.stranger(PortNumber(listener), stranger))
        }
    }

    /// A frame that has waited for its sender's port.
    private mutating func take(_ frame: [UInt8], from number: PortNumber) {
        batch.removeAll()
        batch.append(copying: frame.rawSpan)
        forward(from: Int(number))
    }
}
