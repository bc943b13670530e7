// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing
import Wire

/// What the workers of one switch share: its ports, the forwarding tables, and the settings.
///
/// ## Locks
///
/// Taken in this order; no thread takes one that stands above a lock that it holds.
///
/// | lock                      | kind             | guards                          | held for                      |
/// |---------------------------|------------------|---------------------------------|-------------------------------|
/// | `topologyLock`, shared    | readers, writer  | ports, settings, pollers        | one run of a worker           |
/// | `topologyLock`, exclusive |                  |                                 | commands, migrating a port    |
/// | a polled device's         | mutex            | the device's state              | one poll of the device        |
/// | `Port.egressLock`         | mutex, each port | `Port.egress`                   | one batch to that port        |
/// | `tablesLock`              | mutex            | `ForwardingTables`, port fields | classifying one batch         |
/// | a `CaptureTap`'s          | mutex            | its ring's producer side        | one frame of a captured port  |
///
/// Under `topologyLock` shared, ports neither come nor go, and keep their worker. No system call that moves frames is
/// made under `tablesLock`. The control thread takes both, the former shared, to read guests' addresses for a query
/// for a name (`SwitchControl+Sources`). Sending never blocks: descriptors are non-blocking, and a full receiver's
/// frames are queued.
///
/// A port is read by one worker, and a frame is sent by the worker that has read it, so frames between two guests keep
/// their order.
final class Fabric: @unchecked Sendable {
    let control: SwitchControl
    let workerCount: Int
    /// The control's.
    var topologyLock: ReadWriteLock { _read { yield control.topologyLock } }
    let tablesLock = Lock()
    /// Readable from the end of the switch on.
    let ended: Wakeup
    /// How long a port with a loop behind it stays blocked before it is tried again: whole seconds.
    let loopBlockTime: TimeAmount
    /// How long a sender is paused for a full receiver.
    let pauseLimit: TimeAmount

    let ports = PortSlab()
    let pollers: PollerSet
    /// Use `Dispatcher.settings` or `ForwardingWorker.settings`.
    let settingsCell = SharedCell(SwitchSettings(ports: PortSlab.capacity))
    /// Use `tables`.
    let tablesCell: SharedCell<ForwardingTables>

    init(
        _ control: SwitchControl, workers: Int, loopBlockTime: TimeAmount, pauseLimit: TimeAmount
    ) throws(SystemError) {
        self.control = control
        workerCount = workers
        self.loopBlockTime = loopBlockTime
        self.pauseLimit = pauseLimit
        tablesCell = SharedCell(ForwardingTables(ports: PortSlab.capacity, workers: workers))
        ended = try Wakeup()
        pollers = try PollerSet(count: workers)
        for index in 0..<workers {
            try pollers[index].add(
                index == 0 ? control.wakeup.descriptor.raw : ended.descriptor.raw,
                token: ForwardingWorker.controlToken, for: .readable)
        }
    }

    deinit {
        ports.deallocate()
        pollers.deallocate()
        settingsCell.deallocate()
        tablesCell.deallocate()
    }

    var settings: SwitchSettings {
        @inline(__always) _read { yield settingsCell.value }
        @inline(__always) _modify { yield &settingsCell.value }
    }

    /// - Precondition: `tablesLock` is locked, or `topologyLock` exclusively.
    var tables: ForwardingTables {
        @inline(__always) _read { yield tablesCell.value }
        @inline(__always) _modify { yield &tablesCell.value }
    }
}

/// What changes only under `topologyLock`, exclusively.
///
/// The control plane (`VirtualSwitch`) has its own copy of hub, VLAN and ageing settings, as switches do: it pushes
/// changes here, and nothing is read back.
struct SwitchSettings: ~Copyable {
    var membership: VLANMembership
    var policy = ServicePolicy()
    var rules = GuestRules(.nothing)
    /// Guests' frames are checked against the rules, or against leases.
    var checksGuests = false
    /// The address of the name service, if one runs here.
    var names: NameService?
    /// The address of the boot service, if one runs here.
    var boot: BootService?
    /// The router service runs here.
    var hasRouter = false
    /// Copies every frame to every port.
    var isHub = false
    /// Keeps VLANs apart (802.1Q); otherwise tags are passed on as they are.
    var isVLANAware = false
    /// Keeps guests from each other.
    var isolatesGuests = false
    var isStopped = false
    /// Static addresses, of ports.
    var staticAddresses: [(address: MACAddress, port: PortNumber)] = []
    /// The captures that run.
    var captures = Captures()
    /// Grows when a port is detached or migrated: events that a poller reported before may name another port.
    var generation: UInt64 = 0

    init(ports: Int) { membership = VLANMembership(ports: ports) }

    mutating func updateGuestChecks() { checksGuests = policy.takesDHCP || rules.reach != .nothing }
}

/// What changes under `tablesLock`, or under `topologyLock` exclusively.
struct ForwardingTables: ~Copyable {
    var addresses: AddressTable
    var loopDetector = LoopDetector()
    /// In force while this switch leases addresses, or guests have rules.
    var sourceGuard: SourceGuard
    /// Ports that loop detection has blocked.
    var loopBlockedCount = 0
    /// Ports that are not read for now. Has room for all, so that adding one allocates nothing.
    var pausedIngresses: [PausedIngress] = []
    /// Full receivers that the first worker is to try again.
    var retries: [PortNumber] = []
    /// The load of each worker in its last sample period.
    var loads: [WorkerLoad]

    init(ports: Int, workers: Int) {
        addresses = AddressTable(ports: ports)
        sourceGuard = SourceGuard(ports: ports)
        loads = Array(repeating: WorkerLoad(), count: workers)
        pausedIngresses.reserveCapacity(ports)
        retries.reserveCapacity(ports)
    }
}
