// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import Timing
import Wire

/// Lets a device inject frames into the switch, as if they had come in at the device's port. Has a dispatcher, which
/// one thread uses at a time: the one that holds the device's own lock.
///
/// Callers hold the switch's topology lock, shared: a worker that polls the device does, any other thread calls
/// `lockShared` first. For one port at a time.
package final class InjectionPort: FrameInjector, @unchecked Sendable {
    private let control: SwitchControl
    // Both change under the exclusive lock only. There is a dispatcher while the port is attached and the switch runs.
    private var dispatcher: Dispatcher?
    private var port: PortNumber = 0

    /// An injection port that is attached with the port whose configuration names it.
    package init(_ control: SwitchControl) { self.control = control }

    package func lockShared() { control.topologyLock.lockShared() }

    package func unlock() { control.topologyLock.unlock() }

    package var isAttached: Bool { dispatcher != nil }

    package func inject(_ frames: inout FrameBatch) {
        precondition(frames.count <= ForwardingWorker.batchCapacity)
        dispatcher?.inject(&frames, from: port)
    }

    package func origin(of hardware: MACAddress) -> FrameOrigin? { dispatcher?.origin(of: hardware, near: port) }

    func attach(to number: PortNumber, of fabric: Fabric) {
        precondition(dispatcher == nil)
        dispatcher = Dispatcher(fabric, worker: fabric.workerCount)
        port = number
    }

    func detach() { dispatcher = nil }
}

extension Dispatcher {
    fileprivate mutating func inject(_ frames: inout FrameBatch, from port: PortNumber) {
        now = BootClock.now.coarse
        dispatch(&frames, from: Int(port))
        if !retrying.isEmpty { passRetries() }
    }

    /// Leaves full receivers that do not report room to the first worker: the device may not come again for long.
    private mutating func passRetries() {
        fabric.tablesLock.lock()
        tables.retries.append(contentsOf: retrying)
        fabric.tablesLock.unlock()
        retrying.removeAll(keepingCapacity: true)
        control.wakeup.signal()
    }

    /// The port at which an address was last seen, in the VLAN of the device's untagged frames.
    fileprivate func origin(of hardware: MACAddress, near device: PortNumber) -> FrameOrigin? {
        fabric.tablesLock.lock()
        defer { fabric.tablesLock.unlock() }
        let vlan = separatesVLANs ? ports[device].pvid : 0
        guard let port = tables.addresses.lookup(AddressTable.key(hardware, vlan: vlan), now: now),
            ports.isAttached(port)
        else { return nil }
        return FrameOrigin(port: port, isShared: ports[port].endpoint.reach != .guest)
    }
}
