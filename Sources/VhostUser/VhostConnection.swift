// SPDX-License-Identifier: Apache-2.0
import EventLoop
import Platform
import VirtioRing

// Theory of operation: vhost-user
// ===============================
//
// A front end, such as QEMU, connects to a stream socket and sends messages (QEMU docs/interop/vhost-user). They
// carry descriptors: the guest's memory, and two eventfds for each ring, kick and call. Frames do not pass this socket:
// a worker copies them between the rings and the switch (see `VhostDevice`).
//
//     part              thread           what it has
//     MessageReader     control          a message in pieces, and its descriptors
//     VhostConnection   control          negotiated protocol features, device status; carries messages out
//     VhostDevice       control, worker  memory, rings, dirty log, negotiated features; behind one lock
//
// States of a ring, which `VhostDevice` keeps:
//
//     state     left by
//     stopped   SET_VRING_KICK (started), after size, addresses and base
//     started   SET_VRING_ENABLE, or no negotiated protocol features (running); GET_VRING_BASE, a reset (stopped)
//     running   SET_VRING_ENABLE with 0 (started); GET_VRING_BASE, a reset (stopped); a fault (the device ends)
//
// Replies. A request has its own reply, or, with REPLY_ACK negotiated and requested, an acknowledgement: 0 for
// success. An unknown request is refused by that, and otherwise ignored, as the specification has it.
//
// Ends. `onEnd` is called once, after the front end has closed its connection, or after a message that breaks the
// protocol. A fault of the rings ends the port first: the switch reports it as unreachable, and the session then calls
// `close`. `close` stops the rings and drops the memory.
//
// Locks and blocking. The control thread takes the device's lock for one message, a worker for one batch. Reading and
// writing the socket do not block: a front end that does not read its replies is disconnected.

/// The control side of one vhost-user front end: carries out its messages. On the control thread.
package final class VhostConnection {
    /// Protocol features of vhost-user, as far as they are offered.
    private enum ProtocolFeature {
        static let multiqueue: UInt64 = 1 << 0
        static let sharedLog: UInt64 = 1 << 1
        static let acknowledgements: UInt64 = 1 << 3
        static let mtu: UInt64 = 1 << 4
        static let resetDevice: UInt64 = 1 << 13
        static let status: UInt64 = 1 << 16
        static let offered = multiqueue | sharedLog | acknowledgements | mtu | resetDevice | status
    }

    /// Messages handled before other handlers of the loop run.
    private static let burst = 64
    /// Descriptors of one front end: the connection, two of the poller, the wake-up, and a kick and a call for each
    /// ring; and those of one message.
    package static let descriptorCount = 4 + 2 * VhostDevice.ringCount + GuestMemory.maximumRegions

    /// This system has what vhost-user needs.
    package static var isSupported: Bool { VhostDevice.isSupported }

    /// The rings, for a port of the switch.
    package let device: VhostDevice
    private let socket: Descriptor
    private let loop: ControlLoop
    private let onEnd: (String?) -> Void
    private var reader = MessageReader()
    private var protocolFeatures: UInt64 = 0
    /// The device status, as the front end has set it (virtio 1.2 section 2.1).
    private var status: UInt64 = 0
    /// The longest packet of the network in bytes; nil if it is not known.
    private let mtu: Int?
    private var isClosed = false

    /// Why the rings cannot be used any more; nil if they can.
    package var fault: String? { device.fault }

    /// - Parameters:
    ///   - socket: the connection, non-blocking; owned by this object.
    ///   - mtu: of the network, in bytes. A front end cannot give its guest a greater one. Nil: any.
    ///   - onEnd: called once, when the front end has closed the connection (nil) or broken the protocol (why).
    /// - Throws: if descriptors are missing.
    package init(
        _ socket: consuming Descriptor, mtu: Int?, loop: ControlLoop, onEnd: @escaping (String?) -> Void
    ) throws(SystemError) {
        self.mtu = mtu
        device = try VhostDevice()
        self.socket = socket
        self.loop = loop
        self.onEnd = onEnd
        self.socket.setNonBlocking()
        try loop.watch(self.socket.raw) { [unowned self] _ in receive() }
    }

    /// Stops the rings, and drops the guest's memory. Call it once; `onEnd` is not called any more.
    package func close() {
        guard !isClosed else { return }
        isClosed = true
        loop.unwatch(socket.raw)
        device.close()
    }

    private func receive() {
        do throws(VhostFault) {
            for _ in 0..<VhostConnection.burst {
                switch try reader.read(from: socket) {
                case .message(let message): try handle(message)
                case .nothing: return
                case .end: return onEnd(nil)
                }
            }
        } catch {
            onEnd(error.description)
        }
    }

    private func handle(_ message: VhostMessage) throws(VhostFault) {
        let hasAcknowledgements = protocolFeatures & ProtocolFeature.acknowledgements != 0
        guard let request = message.request else {
            // Such as a migration's. The front end learns that only if it has requested a reply.
            if message.needsAcknowledgement && hasAcknowledgements { try send(message.reply(1)) }
            return
        }
        var isRefused = false
        if let reply = try reply(to: message, request, &isRefused) {
            try send(reply)
        } else if message.needsAcknowledgement && hasAcknowledgements {
            try send(message.reply(isRefused ? 1 : 0))
        }
    }

    /// Carries out a request, or refuses it. Returns the reply; nil for a request without one.
    private func reply(
        to message: VhostMessage, _ request: VhostMessage.Request, _ isRefused: inout Bool
    ) throws(VhostFault) -> [UInt8]? {
        switch request {
        case .getFeatures: return message.reply(VirtioFeatures.offered.rawValue)
        case .getProtocolFeatures: return message.reply(ProtocolFeature.offered)
        case .getQueueCount: return message.reply(UInt64(VhostDevice.maximumPairs))
        case .getRingBase:
            let ring = try message.ringState().ring
            return message.reply([UInt32(ring), device.stop(ring)])
        case .setFeatures: try setFeatures(try message.number64())
        case .setProtocolFeatures: protocolFeatures = try message.number64()
        case .setOwner: break
        case .resetOwner: for ring in 0..<VhostDevice.ringCount { try device.setEnabled(ring, false) }
        case .setMemoryTable:
            let regions = try message.memoryRegions()
            try device.setMemory(GuestMemory(regions, from: reader.descriptors))
        case .setLogBase:
            let (length, offset) = try message.logPlace()
            guard let file = reader.descriptors.takeOnly() else {
                throw VhostFault("its dirty log came without its descriptor")
            }
            try device.setLog(try DirtyLog(file.value, length: length, offset: offset))
            return message.reply(0)
        case .setLogDescriptor: break
        case .setRingSize:
            let (ring, size) = try message.ringState()
            try device.setPlace(of: ring) { $0.size = size }
        case .setRingBase:
            let (ring, base) = try message.ringState()
            guard base <= UInt32(UInt16.max) || device.features.contains(.packedRings) else {
                throw VhostFault("a ring begins at index \(base)")
            }
            try device.setPlace(of: ring) { $0.base = base }
        case .setRingAddresses:
            let (ring, place) = try message.ringAddresses()
            try device.setPlace(of: ring) {
                ($0.descriptors, $0.available, $0.used) = (place.descriptors, place.available, place.used)
            }
        case .setKick:
            let (ring, event) = try event(of: message)
            try device.start(ring, kick: event)
        case .setCall:
            let (ring, event) = try event(of: message)
            try device.setCall(of: ring, event)
        case .setError: _ = try event(of: message)
        case .setRingEnabled:
            let (ring, value) = try message.ringState()
            try device.setEnabled(ring, value != 0)
        case .setMTU:
            let number = try message.number64()
            isRefused = mtu.map { number > UInt64($0) } ?? false
        case .resetDevice: try reset()
        case .setStatus:
            status = try message.number64()
            if status == 0 { try reset() }
        case .getStatus: return message.reply(status)
        }
        return nil
    }

    /// Takes the device back to where it was before the driver found it. The memory stays.
    private func reset() throws(VhostFault) {
        for ring in 0..<VhostDevice.ringCount {
            _ = device.stop(ring)
            try device.setEnabled(ring, false)
        }
        try device.setFeatures([])
    }

    private func setFeatures(_ number: UInt64) throws(VhostFault) {
        let features = VirtioFeatures(rawValue: number)
        guard features.isSubset(of: .offered) else {
            throw VhostFault("it uses features that were not offered")
        }
        try device.setFeatures(features)
    }

    private func event(of message: VhostMessage) throws(VhostFault) -> (ring: Int, event: Box<Descriptor>?) {
        let (ring, hasDescriptor) = try message.ringDescriptor()
        guard hasDescriptor else { return (ring, nil) }
        guard let event = reader.descriptors.takeOnly() else {
            throw VhostFault("its request \(message.number) came without its descriptor")
        }
        return (ring, event)
    }

    private func send(_ bytes: [UInt8]) throws(VhostFault) {
        // A front end that does not read its replies fills the socket.
        guard (try? socket.send(bytes)) == bytes.count else { throw VhostFault("it does not read its replies") }
    }
}
