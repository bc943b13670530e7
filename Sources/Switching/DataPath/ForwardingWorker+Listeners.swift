// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import Wire

// A datagram listener is one socket to which many clients send. Each frame is dispatched as if it had come in at its
// sender's own port. A sender without a port is reported to the control thread, which attaches one.

/// The state of a worker's datagram listeners.
struct DatagramListenerState: ~Copyable {
    /// A datagram whose sender was reported.
    struct PendingDatagram {
        let listener: PortNumber
        let name: [UInt8]
        /// Empty once it was dispatched.
        var frame: [UInt8]
    }

    let vector: NamedReceiveVector
    var peers: PeerTable
    /// In the order in which they came, until the control thread has answered the report.
    var pending: [PendingDatagram] = []

    init(for batch: borrowing FrameBatch) {
        vector = NamedReceiveVector(for: batch)
        peers = PeerTable(ports: SwitchControl.portCapacity)
    }
}

extension ForwardingWorker {
    /// Datagrams of unknown peers that wait for an answer of the control thread, for each listener.
    private static let maximumPending = 32

    /// Makes an attached port known to its listener, and dispatches the frames that have waited for it, before anything
    /// that comes from now on.
    mutating func admitPeer(_ number: PortNumber, _ configuration: PortConfiguration) {
        guard let listener = configuration.listener else { return }
        listeners.peers.insert(number, configuration.peer, at: listener)
        for index in listeners.pending.indices
        where listeners.pending[index].listener == listener && listeners.pending[index].name == configuration.peer {
            let frame = listeners.pending[index].frame
            // A shorter datagram is no frame but a hello.
            if frame.count >= EthernetHeader.length {
                batch.removeAll()
                batch.append(copying: frame.rawSpan)
                inferOffload(at: number)
                dispatcher.dispatch(&batch, from: Int(number))
            }
            listeners.pending[index].frame = []
        }
    }

    /// The control thread has answered the oldest report of a listener.
    mutating func forgetPending(at listener: PortNumber) {
        if let index = listeners.pending.firstIndex(where: { $0.listener == listener }) {
            listeners.pending.remove(at: index)
        }
    }

    /// Removes a port that is detached, as a listener and as a peer.
    mutating func forgetPeer(_ number: PortNumber) {
        listeners.pending.removeAll { $0.listener == number }
        listeners.peers.remove(number)
    }

    /// Infers the offload of the frames of the batch, if the port has them without a virtio header.
    private mutating func inferOffload(at number: PortNumber) {
        let mtu = ports[number].endpoint.offloadMTU
        guard mtu > 0 else { return }
        let malformed = batch.inferOffload(mtu: mtu)
        if malformed > 0 { ports[number].counters.dropped(.malformed, frames: malformed) }
    }

    /// Receives from a listener and dispatches runs of frames of one sender.
    mutating func drainListener(_ listener: Int) {
        for _ in 0..<ForwardingWorker.batchesPerPort {
            batch.removeAll()
            let outcome = listeners.vector.receive(from: ports[listener].endpoint.raw, into: &batch)
            if outcome.truncated > 0 { ports[listener].counters.dropped(.oversize, frames: outcome.truncated) }
            if outcome.error != 0 { return dispatcher.reportUnreachable(PortNumber(listener), outcome.error) }
            inferOffload(at: PortNumber(listener))
            var first = 0
            while first < batch.count {
                let sender = peer(ofDatagram: first, listener)
                var end = first + 1
                while end < batch.count, peer(ofDatagram: end, listener) == sender { end += 1 }
                if let sender {
                    if batch[first].length < EthernetHeader.length { handleHello(from: sender) }
                    dispatcher.dispatch(&batch, from: Int(sender), first..<end)
                } else {
                    reportUnknown(first..<end, listener)
                }
                first = end
            }
            dispatcher.sendDeferred()
            if outcome.frames < batch.capacity { return }
        }
    }

    /// A hello from a known peer is mostly a new program under the name of an old one, whose end was not noticed yet.
    private func handleHello(from number: PortNumber) {
        if ports[number].ingress.isGoodbyeReported { return }
        ports[number].ingress.isGoodbyeReported = true
        fabric.control.report(.goodbye(number))
    }

    private mutating func peer(ofDatagram index: Int, _ listener: Int) -> PortNumber? {
        listeners.peers.find(listeners.vector.name(of: index), at: PortNumber(listener))
    }

    /// Reports frames whose senders have no port.
    private mutating func reportUnknown(_ frames: Range<Int>, _ listener: Int) {
        let number = PortNumber(listener)
        for index in frames {
            guard listeners.pending.count(where: { $0.listener == number }) < ForwardingWorker.maximumPending else {
                ports[listener].counters.dropped(.queueFull)
                continue
            }
            let peer = UnknownPeer(
                name: listeners.vector.name(of: index).copied(), user: listeners.vector.user(of: index))
            listeners.pending.append(
                DatagramListenerState.PendingDatagram(
                    listener: number, name: peer.name, frame: batch.bytes(of: batch[index]).copied()))
            fabric.control.report(.unknownPeer(number, peer))
        }
    }
}
