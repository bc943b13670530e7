// SPDX-License-Identifier: Apache-2.0
import CLibrary
import CPlatform
import FrameIO
import Platform
import Wire

// Theory of operation of the rings
//
// A `VhostDevice` is the data path of one vhost-user front end: the guest's rings as a `FrameDevice` of the switch. A
// worker receives and sends through it, and copies each frame once, between the guest's buffers and a `FrameBatch`. All
// queue pairs are one port, so one worker serves a guest at a time.
// The control thread (`VhostConnection`) sets rings and memory. Both hold `lock`, a worker for one batch.
//
// Events. The port's descriptor is a poller, which watches the guest's kicks edge-triggered. A kick need not be read,
// so that no eventfd can block a worker. A worker takes all frames of the ring, and then requests the next kick.
//
// Offloads. The switch gives the device every frame after its virtio header, as to a TAP. What the guest has not
// negotiated is done here, while the frame is copied: checksums, and segmentation (`FrameWriter`).
//
// Faults. An impossible number ends the device: `receive` and `send` return an error from then on, the switch reports
// the port as unreachable, and the session disconnects the front end.

/// The rings of one vhost-user front end, as a device of the switch.
@safe
package final class VhostDevice: @unchecked Sendable {
    /// Queue pairs of one front end.
    package static let maximumPairs = 8
    /// The rings of all queue pairs: of each, what the guest receives, and what it sends.
    package static let ringCount = 2 * maximumPairs
    /// This system has what vhost-user needs.
    package static var isSupported: Bool { platform_vhost_supported() != 0 }
    /// Of the first pair.
    static let receiveRing = 0, transmitRing = 1

    /// Frames are taken from the rings, and put into them.
    private struct State: ~Copyable {
        var memory: GuestMemory?
        var log: DirtyLog?
        var places = [RingPlace](repeating: RingPlace(), count: VhostDevice.ringCount)
        var isStarted = [Bool](repeating: false, count: VhostDevice.ringCount)
        var isEnabled = [Bool](repeating: false, count: VhostDevice.ringCount)
        var kicks = [Box<Descriptor>?](repeating: nil, count: VhostDevice.ringCount)
        var calls = [Box<Descriptor>?](repeating: nil, count: VhostDevice.ringCount)
        var features = VirtioFeatures()
    }

    /// Guards everything below.
    private let lock = Lock()
    private var state = State()
    /// The running rings.
    private var rings = RunningRings()
    private let poller: Poller
    private let wakeup: Wakeup

    /// A device without memory and rings.
    /// - Throws: if descriptors are missing.
    package init() throws(SystemError) {
        poller = try Poller()
        wakeup = try Wakeup()
        try SystemError.check(platform_vhost_watch(poller.raw, wakeup.descriptor.raw), "watch a descriptor")
    }

    /// The device for a port, which must hold a reference to this object (`PortConfiguration.owner`).
    package var frameDevice: FrameDevice {
        unsafe FrameDevice(
            context: Unmanaged.passUnretained(self).toOpaque(),
            receive: { context, frames, count in
                guard let context = unsafe context, let frames = unsafe frames else { return 0 }
                return unsafe Unmanaged<VhostDevice>.fromOpaque(context)._withUnsafeGuaranteedRef {
                    unsafe $0.receive(frames, Int(count))
                }
            },
            send: { context, frames, stride, count in
                guard let context = unsafe context, let frames = unsafe frames else { return 0 }
                return unsafe Unmanaged<VhostDevice>.fromOpaque(context)._withUnsafeGuaranteedRef {
                    unsafe $0.send(frames, stride: Int(stride), Int(count))
                }
            },
            signal: wakeup.signalDescriptor, drainsSignal: false, headerLength: VirtioNetHeader.length,
            maximumGSOFrame: FrameBatch.maximumFrameLength, mtu: IPv4Header.maximumPacket)
    }

    /// A descriptor that is readable when the guest has announced something, for the port.
    package func portDescriptor() throws(SystemError) -> Descriptor { try poller.descriptor.duplicate() }

    /// Why the device has ended; nil if it has not.
    package var fault: String? {
        lock.lock()
        defer { lock.unlock() }
        return rings.fault
    }

    // MARK: Control

    /// Sets what the guest has negotiated.
    package func setFeatures(_ features: VirtioFeatures) throws(VhostFault) {
        try change { device throws(VhostFault) in
            device.state.features = features
        }
    }

    /// What the guest has negotiated.
    package var features: VirtioFeatures {
        lock.lock()
        defer { lock.unlock() }
        return state.features
    }

    /// Replaces the guest's memory. The memory before is unmapped on this thread.
    package func setMemory(_ memory: GuestMemory?) throws(VhostFault) {
        let before = state.memory
        try withExtendedLifetime(before) { () throws(VhostFault) in
            try change { device throws(VhostFault) in device.state.memory = memory }
        }
    }

    /// Replaces the map of written pages. Pages are marked while the guest's features have `logAll`.
    package func setLog(_ log: DirtyLog?) throws(VhostFault) {
        let before = state.log
        try withExtendedLifetime(before) { () throws(VhostFault) in
            try change { device throws(VhostFault) in device.state.log = log }
        }
    }

    /// Changes where a ring is.
    package func setPlace(
        of ring: Int, _ body: (inout RingPlace) -> Void
    ) throws(VhostFault) {
        try change { device throws(VhostFault) in body(&device.state.places[ring]) }
    }

    /// Sets the eventfd by which the guest announces entries, and starts the ring; nil: the guest cannot.
    package func start(_ ring: Int, kick: Box<Descriptor>?) throws(VhostFault) {
        if let kick { try VhostDevice.prepare(kick.value.raw) }
        try change { device throws(VhostFault) in
            device.removeKick(of: ring)
            if let kick {
                guard platform_vhost_watch(device.poller.raw, kick.value.raw) == 0 else {
                    throw VhostFault("a kick descriptor cannot be watched")
                }
            }
            device.state.kicks[ring] = kick
            device.state.isStarted[ring] = true
        }
        // Entries may be there already.
        wakeup.signal()
    }

    /// Sets the eventfd that interrupts the guest; nil: the guest polls.
    package func setCall(of ring: Int, _ call: Box<Descriptor>?) throws(VhostFault) {
        if let call { try VhostDevice.prepare(call.value.raw) }
        try change { device throws(VhostFault) in
            device.state.calls[ring] = call
            // An interrupt may have been lost between the two.
            if let call { device.rings.interrupt(call.value.raw) }
        }
    }

    /// Lets frames through a ring, or no longer.
    package func setEnabled(_ ring: Int, _ isEnabled: Bool) throws(VhostFault) {
        try change { device throws(VhostFault) in device.state.isEnabled[ring] = isEnabled }
        wakeup.signal()
    }

    /// Stops a ring. Returns where it has come to (`RingPlace.base`).
    package func stop(_ ring: Int) -> UInt32 {
        try? change { device throws(VhostFault) in
            device.state.isStarted[ring] = false
            device.removeKick(of: ring)
        }
        lock.lock()
        defer { lock.unlock() }
        return state.places[ring].base
    }

    /// Stops all rings, and drops the memory.
    package func close() {
        for ring in 0..<VhostDevice.ringCount { _ = stop(ring) }
        try? setMemory(nil)
        try? setLog(nil)
    }

    private static func prepare(_ raw: Int32) throws(VhostFault) {
        guard platform_vhost_prepare_event(raw) == 0 else {
            throw VhostFault("a kick or call descriptor is no eventfd")
        }
    }

    private func removeKick(of ring: Int) {
        // The front end has the same eventfd, so closing it does not remove it.
        if let kick = state.kicks[ring] { poller.remove(kick.value.raw) }
        state.kicks[ring] = nil
    }

    /// Changes the state, with the rings at rest, and then starts the rings that can run.
    private func change(_ body: (VhostDevice) throws(VhostFault) -> Void) throws(VhostFault) {
        lock.lock()
        defer { lock.unlock() }
        for ring in 0..<VhostDevice.ringCount {
            if let base = rings.base(of: ring) { state.places[ring].base = base }
        }
        rings.stop()
        try body(self)
        rings.features = state.features
        rings.memory = state.memory
        rings.log = state.features.contains(.logAll) ? state.log : nil
        guard let memory = state.memory, rings.fault == nil else { return }
        if let log = rings.log, log.limit < memory.limit {
            throw VhostFault("its dirty log ends before its memory does")
        }
        for ring in 0..<VhostDevice.ringCount where isRunnable(ring) {
            rings.start(
                ring,
                try GuestRing(state.places[ring], in: memory, state.features, log: rings.log),
                isEnabled: isEnabled(ring))
            rings.setCall(of: ring, state.calls[ring]?.value.raw ?? -1)
        }
    }

    private func isRunnable(_ ring: Int) -> Bool {
        state.isStarted[ring] && state.places[ring].size > 0 && state.places[ring].descriptors != 0
    }

    /// Without the protocol features, a started ring is enabled.
    private func isEnabled(_ ring: Int) -> Bool {
        state.isEnabled[ring] || !state.features.contains(.protocolFeatures)
    }

    // MARK: Data path

    /// Takes frames that the guest sends. `FrameDevice.Receive`.
    private func receive(_ frames: UnsafeMutablePointer<iovec>, _ count: Int) -> Int32 {
        lock.lock()
        defer { lock.unlock() }
        let filled = unsafe rings.take(into: frames, count)
        // The worker comes again until there is nothing, and the next kick is due only then.
        if filled == 0 {
            platform_vhost_drain(poller.raw)
            if rings.announce() { wakeup.signal() }
        }
        return filled
    }

    /// Puts frames into the guest's buffers. `FrameDevice.Send`.
    private func send(_ frames: UnsafePointer<iovec>, stride: Int, _ count: Int) -> Int32 {
        lock.lock()
        defer { lock.unlock() }
        return unsafe rings.put(frames, stride: stride, count)
    }
}
