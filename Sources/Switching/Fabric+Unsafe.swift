// SPDX-License-Identifier: Apache-2.0
import Platform
import Wire

/// What the workers of one switch have in common: its ports, who is behind them, and who may talk to whom.
///
/// Three kinds of locks keep workers out of each other's way, taken in this order:
///
/// 1. `gate`: workers are inside for a turn each, side by side. Who attaches or detaches ports, changes a setting, or
/// hands a port to another worker closes it, and is alone: in a turn ports neither come nor go.
/// 2. a port's `sending`: who sends there, so that a batch leaves in one piece, and what waits leaves before it.
/// 3. `tables`: while the headers of a batch are looked at, and while senders are held and released. No system call
/// that moves frames is made with it.
///
/// A device with turns has a lock of its own, taken behind `gate` and before `sending`.
///
/// A port is read by one worker, and a frame is sent by the worker that has read it: what one machine sends to another
/// stays in order.
@safe
final class Fabric: @unchecked Sendable {
    /// What changes only while the gate is closed.
    struct State: ~Copyable {
        var membership: VLANMembership
        var policy = ServicePolicy()
        var rules = GuestRules(.nothing)
        /// Guests' frames are judged, by the rules or because we lease addresses.
        var isJudging = false
        /// Where guests ask for names, while that is answered here.
        var names: NameService?
        /// Copies every frame to every port.
        var isHub = false
        /// Looks at tags, and keeps VLANs apart; else tags are passed on as they are.
        var isVLANAware = false
        /// Keeps guests from each other.
        var isIsolating = false
        var isStopped = false
        /// Addresses that are tied to a port.
        var pins: [(address: MACAddress, port: PortNumber)] = []
        var activeCount = 0
        /// Grows whenever a port has gone or changed hands: what a poller has told before that may be about another
        /// one.
        var generation: UInt64 = 0

        init(ports: Int) { membership = VLANMembership(ports: ports) }
    }

    /// What changes with `tables`, or while the gate is closed.
    struct Tables: ~Copyable {
        var addresses: AddressTable
        var loopGuard = LoopGuard()
        /// In force while we give out addresses, or guests have rules.
        var addressGuard: AddressGuard
        /// Ports that are closed because of a loop.
        var closedCount = 0
        /// Senders in `held`.
        var heldCount = 0
        /// Full receivers that the first worker is to try again.
        var retries: [PortNumber] = []
        /// What each worker was last seen to have to do.
        var loads: [WorkerLoad]

        init(ports: Int, workers: Int) {
            addresses = AddressTable(ports: ports)
            addressGuard = AddressGuard(ports: ports)
            loads = Array(repeating: WorkerLoad(), count: workers)
        }
    }

    /// A sender that waits for a full receiver, and the worker that has let it.
    struct Holding: BitwiseCopyable {
        var ingress: PortNumber
        var egress: PortNumber
        var worker: Int
    }

    let control: SwitchControl
    let workers: Int
    /// The control's.
    var gate: ReadWriteLock { _read { yield control.gate } }
    let tables = Lock()
    /// Readable from the end on.
    let ending: Wakeup
    /// Seconds for which a port with a loop behind it stays closed before it is tried again.
    let closingPause: UInt32
    /// Nanoseconds for which a sender waits for a full receiver.
    let patience: UInt64

    let state: UnsafeMutablePointer<State>
    let guarded: UnsafeMutablePointer<Tables>
    let ports: UnsafeMutablePointer<Port>
    /// Numbers of the attached ports, in no order.
    let active: UnsafeMutablePointer<PortNumber>
    /// Place of each port in `active`, -1 if it is not attached.
    let places: UnsafeMutablePointer<Int32>
    /// Ports that are not read for a moment. (tables)
    let held: UnsafeMutablePointer<Holding>
    /// A worker waits in its own, any may change what is watched there.
    let pollers: UnsafeMutablePointer<Poller>

    init(_ control: SwitchControl, workers: Int, closingPause: UInt32, patience: UInt64) throws(SystemError) {
        let capacity = SwitchControl.portCapacity
        ending = try Wakeup()
        var made: [OwnedPoller] = []
        for index in 0..<workers {
            let poller = try Poller()
            try poller.add(
                index == 0 ? control.wakeup.descriptor.raw : ending.descriptor.raw, token: Forwarder.controlToken,
                for: .readable)
            made.append(OwnedPoller(poller))
        }
        self.control = control
        self.workers = workers
        self.closingPause = closingPause
        self.patience = patience
        unsafe pollers = .allocate(capacity: workers)
        for index in 0..<workers { unsafe (pollers + index).initialize(to: made[index].take()) }
        unsafe state = .allocate(capacity: 1)
        unsafe state.initialize(to: State(ports: capacity))
        unsafe guarded = .allocate(capacity: 1)
        unsafe guarded.initialize(to: Tables(ports: capacity, workers: workers))
        unsafe ports = .allocate(capacity: capacity)
        unsafe active = .allocate(capacity: capacity)
        unsafe places = .allocate(capacity: capacity)
        unsafe places.initialize(repeating: -1, count: capacity)
        unsafe held = .allocate(capacity: capacity)
    }

    deinit {
        for place in 0..<(unsafe state.pointee.activeCount) {
            unsafe (ports + Int(active[place])).deinitialize(count: 1)
        }
        unsafe pollers.deinitialize(count: workers)
        unsafe state.deinitialize(count: 1)
        unsafe guarded.deinitialize(count: 1)
        unsafe pollers.deallocate()
        unsafe state.deallocate()
        unsafe guarded.deallocate()
        unsafe ports.deallocate()
        unsafe active.deallocate()
        unsafe places.deallocate()
        unsafe held.deallocate()
    }

    /// Carries a poller through an array.
    private final class OwnedPoller {
        private var poller: Poller?

        init(_ poller: consuming Poller) { self.poller = consume poller }

        func take() -> Poller { poller.take()! }
    }
}

extension Forwarder {
    var state: Fabric.State {
        @inline(__always) _read { yield unsafe shared.pointee }
        @inline(__always) nonmutating _modify { yield unsafe &shared.pointee }
    }

    /// Only with `fabric.tables`, or alone.
    var tables: Fabric.Tables {
        @inline(__always) _read { yield unsafe guarded.pointee }
        @inline(__always) nonmutating _modify { yield unsafe &guarded.pointee }
    }
}
