// SPDX-License-Identifier: Apache-2.0
import Frames
import Platform
import Wire

// One datagram socket to which many clients send. Each frame is as if it had come in at its sender's own port; who is not known yet is told to
// the control thread, which attaches a port.

/// What the forwarder needs for datagram doors.
struct DoorReception: ~Copyable {
    let vector: DoorVector
    var peers: PeerTable

    init(for batch: borrowing FrameBatch) {
        vector = DoorVector(for: batch)
        peers = PeerTable(ports: ForwarderControl.portCapacity)
    }
}

extension Forwarder {
    /// Strangers that are told of before the control thread has dealt with the last ones.
    private static let maximumStrangers = 32

    /// Makes a port that has come through a door known there. The port is attached.
    mutating func open(_ number: PortNumber, _ configuration: PortConfiguration) {
        if let door = configuration.door { reception.peers.insert(number, configuration.peer, at: door) }
    }

    /// A door's turn.
    mutating func drainDoor(_ door: Int) {
        for _ in 0..<Forwarder.turnBatches {
            batch.removeAll()
            let outcome = unsafe reception.vector.receive(from: ports[door].raw, into: &batch)
            if outcome.truncated > 0 { unsafe ports[door].counters.dropped(.oversize, frames: outcome.truncated) }
            if outcome.error != 0 { return report(door, outcome.error) }
            var first = 0
            while first < batch.count {
                let sender = find(first, door)
                var end = first + 1
                while end < batch.count, find(end, door) == sender { end += 1 }
                if let sender {
                    if batch[first].length < 14 { greet(sender) }
                    forward(from: Int(sender), first..<end)
                } else {
                    tell(of: first..<end, door)
                }
                first = end
            }
            if wantsProbes { sendProbes() }
            if outcome.frames < batch.capacity { return }
        }
    }

    /// Somebody known greets again: mostly a new program with an old one's name, whose end has not been noticed yet.
    private func greet(_ number: PortNumber) {
        if unsafe ports[Int(number)].isGoodbyeReported { return }
        unsafe ports[Int(number)].isGoodbyeReported = true
        control.report(.goodbye(number))
    }

    private func find(_ index: Int, _ door: Int) -> PortNumber? { reception.peers.find(reception.vector.name(of: index), at: PortNumber(door)) }

    /// Tells the control thread of frames whose senders have no port.
    private mutating func tell(of frames: Range<Int>, _ door: Int) {
        for index in frames {
            guard unsafe ports[door].strangers < Forwarder.maximumStrangers else {
                unsafe ports[door].counters.dropped(.queueFull)
                continue
            }
            unsafe ports[door].strangers += 1
            let stranger = Stranger(name: reception.vector.name(of: index).copied(), user: reception.vector.user(of: index), frame: batch.bytes(of: batch[index]).copied())
            control.report(.stranger(PortNumber(door), stranger))
        }
    }

    /// A frame that has waited for its sender's port.
    mutating func take(_ frame: [UInt8], from number: PortNumber) {
        batch.removeAll()
        batch.append(copying: frame.rawSpan)
        forward(from: Int(number))
    }
}
