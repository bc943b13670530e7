// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import Wire

/// What a device needs to send on by itself what it has for machines: memory as a worker of the forwarder has, for
/// whoever is just working for the device.
///
/// Whoever sends must be inside the switch, beside its workers: a worker that gives the device a turn is, another
/// thread comes in by `enter`. For one port at a time.
@safe
package final class DeviceWorker: FrameSink, @unchecked Sendable {
    private let control: SwitchControl
    // Both change only while the gate is closed: there while the port is attached and the forwarder has not ended.
    private var forwarder: UnsafeMutablePointer<Forwarder>?
    private var port: PortNumber = 0

    package init(_ control: SwitchControl) { self.control = control }

    package func enter() { control.gate.lockShared() }

    package func leave() { control.gate.unlock() }

    package var isAttached: Bool { unsafe forwarder != nil }

    package func forward(_ frames: inout FrameBatch) {
        unsafe forwarder?.pointee.forward(&frames, from: port)
    }

    package func origin(of hardware: MACAddress) -> FrameOrigin? {
        unsafe forwarder?.pointee.origin(of: hardware, near: port)
    }

    func attach(_ made: consuming Forwarder, to number: PortNumber) {
        precondition(unsafe forwarder == nil)
        unsafe forwarder = .allocate(capacity: 1)
        unsafe forwarder!.initialize(to: made)
        port = number
    }

    func detach() {
        unsafe forwarder?.deinitialize(count: 1)
        unsafe forwarder?.deallocate()
        unsafe forwarder = nil
    }
}

/// When a worker is to give a device with turns its next one. A switch has one such device at most: the user-mode NAT,
/// or the relay for names beside a TAP.
struct DeviceTurn {
    /// The one that this worker has last had to do with.
    var port: PortNumber = 0
    /// It was attached, was sent frames, or has told of something.
    var isDue = false
    var isReadable = false
    /// When it wants one though nothing has happened, in nanoseconds of the clock.
    var deadline = UInt64.max
}

extension Forwarder {
    /// For a device, without a poller, and not counted as one.
    func makeDeviceWorker() -> Forwarder { makeHelper(fabric.workers) }

    private var isOfDevice: Bool { index == fabric.workers }

    fileprivate mutating func forward(_ frames: inout FrameBatch, from port: PortNumber) {
        precondition(frames.count <= Forwarder.batchCapacity)
        now = UInt32(truncatingIfNeeded: MonotonicClock.now / MonotonicClock.second)
        swap(&batch, &frames)
        forward(from: Int(port))
        swap(&batch, &frames)
    }

    /// The port at which an address was seen last, in the VLAN of the device's frames without a tag.
    fileprivate func origin(of hardware: MACAddress, near device: PortNumber) -> FrameOrigin? {
        fabric.tables.lock()
        defer { fabric.tables.unlock() }
        let vlan = unsafe state.isVLANAware && !state.isHub ? ports[Int(device)].untaggedVLAN : 0
        guard let port = tables.addresses.lookup(AddressTable.key(hardware, vlan: vlan), now: now), isAttached(port)
        else { return nil }
        return unsafe FrameOrigin(port: port, isShared: ports[Int(port)].configuration.reach != .guest)
    }

    /// Notes that a device was attached, was sent something, or has told of something.
    mutating func noteTurn(_ port: Int, isReadable: Bool) {
        device.port = PortNumber(port)
        device.isDue = true
        if isReadable { device.isReadable = true }
    }

    /// Gives a device its turn, if it is due, and returns whether it was. The batch must be done with.
    mutating func takeDeviceTurn() -> Bool {
        guard device.isDue || (device.deadline != .max && device.deadline <= MonotonicClock.now) else { return false }
        let isReadable = device.isReadable
        device.isDue = false
        device.isReadable = false
        device.deadline = .max
        // The port of that number may have gone since.
        guard isAttached(device.port), let found = unsafe ports[Int(device.port)].configuration.device else {
            return false
        }
        device.deadline = found.turn(isReadable: isReadable)
        return true
    }

    /// Notes a full receiver that does not tell when there is room again. Of those that a device has met the first
    /// worker takes care.
    mutating func retryLater(_ number: PortNumber) {
        guard isOfDevice else {
            if !retrying.contains(number) { retrying.append(number) }
            return
        }
        fabric.tables.lock()
        tables.retries.append(number)
        fabric.tables.unlock()
        control.wakeup.signal()
    }

    /// Takes over what devices have met, alone.
    mutating func takeRetries() {
        for number in tables.retries where !retrying.contains(number) { retrying.append(number) }
        tables.retries.removeAll(keepingCapacity: true)
    }
}
