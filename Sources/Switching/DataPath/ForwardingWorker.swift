// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import Timing
import Wire

// Theory of operation of the data path.
//
// Threads. A switch has one worker or several, each a thread with its own poller, batch and `Dispatcher`. The
// first worker has all ports at first, and executes the commands of the control thread (`SwitchControl`). The others
// get ports when there is more to do than one worker can (`LoadBalancer`). A device, such as the user-mode NAT, injects
// frames through an `InjectionPort` from whichever thread it runs on.
//
// A frame's way. `runOnce` waits in the poller. For each ready port, `drainPort` fills the batch: datagrams by
// recvmmsg, a stream through a buffer, a TAP one system call a frame. `Dispatcher.dispatch` takes the batch:
//
//     classify   reads each header once (FrameHeader); loop probe? blocked? VLAN? learns the source (AddressTable);
//                DHCP, ARP and DNS to the services; guests' frames against SourceGuard and GuestRules; then the
//                destination: one port, its group, or all ports
//     enqueue    appends (index, tag edit, too long?) to the list of each egress port (EgressLists)
//     flush      each port with a list sends it in one go (PortEgress): segmenting GSO frames, coalescing segments
//                towards a TAP, splitting or answering frames that are too long
//
// A frame stays where it was received; lists hold indices, vectors hold addresses.
//
// What may block. Nothing but the poller, and locks that are held for one batch (`Fabric`). A full receiver's frames go
// to its `TransmitQueue` or are dropped; its sender may be paused (Backpressure). Nothing on this path allocates, logs
// or throws. Events go to the control thread through `SwitchControl.report`, each kind at most once until answered.
//
// Ports that change. The control thread appends commands; the first worker executes them between runs, under the
// topology lock, exclusively, when all other workers are between runs, too. A port has the same number, worker and
// settings during a whole run. Events that a poller has reported before such a change are discarded
// (`SwitchSettings.generation`): polling is level-triggered and reports them again.

/// A worker of the data path: receives from its ports in batches, and dispatches these.
package struct ForwardingWorker: ~Copyable {
    /// Frames received in one system call.
    package static let batchCapacity = 64
    /// Batches taken from one port before the next port is served.
    static let batchesPerPort = 4
    /// The poller's token of the wakeup.
    static let controlToken = UInt64.max

    let fabric: Fabric
    let index: Int
    let ports: PortSlab
    private let pollers: PollerSet
    var dispatcher: Dispatcher
    var batch: FrameBatch
    var receiver: ReceiveVector
    var listeners: DatagramListenerState
    var sampler = LoadSampler()
    private var isStopped = false
    private var nextRetry = Instant.distantPast
    /// Some ports are blocked by loop detection, and when that was last checked (seconds).
    private var hasLoopBlockedPorts = false
    private var lastLoopCheck = CoarseInstant.distantPast
    /// `SwitchSettings.generation` in the last run.
    private var generation: UInt64 = 0
    /// Whether the next wait may spin first: not if the last one found nothing.
    private var maySpin = false
    /// Nanoseconds for which to look for more before sleeping: a reply mostly comes within that.
    private static let spinLimit: UInt64 = 50_000

    /// The first worker of a switch.
    /// - Parameters:
    ///   - workers: how many the switch has; the others are made by `makeWorker`.
    ///   - loopBlockTime: how long a port with a loop behind it stays blocked before it is tried again.
    ///   - pauseLimit: how long a sender is paused for a full receiver.
    package init(
        control: SwitchControl, workers: Int = 1, loopBlockTime: TimeAmount = .seconds(30),
        pauseLimit: TimeAmount = .milliseconds(20)
    ) throws(SystemError) {
        let fabric = try Fabric(
            control, workers: max(1, workers), loopBlockTime: loopBlockTime, pauseLimit: pauseLimit)
        control.workers.withLock { $0.fabric = fabric }
        self.init(fabric, index: 0)
        let service = PortConfiguration(
            name: "services", kind: .service, role: .service, descriptor: -1,
            maximumFrame: ServiceFrameRing.maximumFrameLength, receivesUnknown: false)
        fabric.attach(SwitchControl.servicePort, service, control.serviceCounters)
    }

    /// Another worker of the same switch, to be run beside the first one.
    package func makeWorker(_ index: Int) -> ForwardingWorker { ForwardingWorker(fabric, index: index) }

    private init(_ fabric: Fabric, index: Int) {
        self.fabric = fabric
        self.index = index
        ports = fabric.ports
        pollers = fabric.pollers
        dispatcher = Dispatcher(fabric, worker: index)
        batch = FrameBatch(capacity: ForwardingWorker.batchCapacity)
        receiver = ReceiveVector(for: batch)
        listeners = DatagramListenerState(for: batch)
    }

    /// Runs until `SwitchControl.stop`.
    package mutating func run() {
        while !isStopped { runOnce(timeout: timeout()) }
    }

    /// How long this worker may wait for frames; nil for ever.
    private mutating func timeout() -> TimeAmount? {
        let interval: TimeAmount? =
            !dispatcher.retrying.isEmpty
            ? Port.retryInterval
            : dispatcher.hasPausedIngress ? fabric.pauseLimit / 4 : hasLoopBlockedPorts ? .seconds(1) : nil
        guard dispatcher.deviceSchedule.deadline != .distantFuture else { return interval }
        let untilPoll = max(.zero, dispatcher.deviceSchedule.deadline - BootClock.now)
        return interval.map { min($0, untilPoll) } ?? untilPoll
    }

    /// Waits for up to `timeout` (nil: for ever), and serves the ports that are ready then.
    package mutating func runOnce(timeout: TimeAmount?) {
        let count = waitForEvents(timeout)
        fabric.topologyLock.lockShared()
        let now = BootClock.now
        dispatcher.now = now.coarse
        var hasCommands = false
        var last: Int?
        if generation == fabric.settings.generation {
            sampler.begin(at: now)
            for event in 0..<count {
                let (token, ready) = pollers[index].event(event)
                if token == ForwardingWorker.controlToken {
                    hasCommands = true
                } else {
                    serve(Int(token), ready)
                    last = Int(token)
                }
            }
        }
        generation = fabric.settings.generation
        isStopped = fabric.settings.isStopped
        if !dispatcher.retrying.isEmpty { retryFullPorts() }
        if dispatcher.hasPausedIngress { dispatcher.expirePauses(now: now) }
        // A device's work counts for the port whose frames have led to it.
        if dispatcher.pollDevice(now: now) && fabric.workerCount > 1, let last { sample(last) }
        fabric.topologyLock.unlock()
        // Last, so that no port is detached while an event of this run still names it.
        if index == 0 && (hasCommands || (hasLoopBlockedPorts && lastLoopCheck != dispatcher.now)) { runControl() }
        if sampler.isComplete { rebalance() }
    }

    private mutating func waitForEvents(_ timeout: TimeAmount?) -> Int {
        if maySpin && timeout != .zero {
            let count = pollers[index].spin(limit: ForwardingWorker.spinLimit)
            if count > 0 { return count }
        }
        let count = pollers[index].wait(
            until: timeout.map { .distantPast + $0 } ?? .distantFuture, now: .distantPast)
        maySpin = count > 0
        return count
    }

    private mutating func sample(_ number: Int) {
        sampler.add(to: &ports[number].ingress, now: BootClock.now)
    }

    // MARK: Under the exclusive lock

    /// Executes commands, and everything else that changes ports.
    private mutating func runControl() {
        exclusively { worker in
            worker.fabric.control.wakeup.drain()
            worker.takeOverRetries()
            if worker.hasLoopBlockedPorts { worker.dispatcher.retryBlockedPorts() }
            worker.executeCommands()
            worker.dispatchFromServices()
            _ = worker.dispatcher.pollDevice(now: BootClock.now)
            worker.hasLoopBlockedPorts = worker.fabric.tables.loopBlockedCount > 0
            worker.lastLoopCheck = worker.dispatcher.now
        }
    }

    /// Calls `body` while no other worker runs. The events of this worker's poller must be done with.
    mutating func exclusively(_ body: (inout ForwardingWorker) -> Void) {
        fabric.topologyLock.lockExclusive()
        body(&self)
        generation = fabric.settings.generation
        isStopped = fabric.settings.isStopped
        fabric.topologyLock.unlock()
    }

    // MARK: One port

    /// Does what a port's descriptor is ready for.
    private mutating func serve(_ number: Int, _ ready: Readiness) {
        if ready.contains(.writable) { drainQueue(number) }
        if !ready.isDisjoint(with: [.readable, .hangup]) {
            // The poller reports the hangup of a stream that is not read: what is in it waits while it is paused.
            if (dispatcher.hasPausedIngress || ready.contains(.hangup)) && fabric.maskIfPaused(PortNumber(number)) {
                return
            }
            if ports[number].endpoint.isPolled {
                dispatcher.scheduleDevice(PortNumber(number), isReadable: true)
            } else {
                if ports[number].needsWritable && ports[number].kind == .device { drainQueue(number) }
                drainPort(number)
            }
        }
        if fabric.workerCount > 1 { sample(number) }
    }

    /// Sends what waits for a receiver that has room, or may have. A device announces that as it does frames.
    private mutating func drainQueue(_ number: Int) {
        ports[number].egressLock.lock()
        let error = ports[number].egress.drainQueue(to: ports[number].endpoint, with: &dispatcher.sender)
        dispatcher.updateBackpressure(PortNumber(number), error)
        ports[number].egressLock.unlock()
    }

    /// Receives from a port and dispatches, until nothing is left or other ports are to be served.
    private mutating func drainPort(_ number: Int) {
        if ports[number].kind == .datagramListener { return drainListener(number) }
        var batches = 0
        // The frames in a stream's buffer are all dispatched: the poller would not report them again.
        while batches < ForwardingWorker.batchesPerPort || ports[number].ingress.stream.holdsFrame {
            batches += 1
            var error: Int32 = 0
            let hasMore = receive(number, &error)
            let isPaused = batch.count > 0 ? dispatcher.dispatch(&batch, from: number) : false
            if ports[number].ingress.receivedGoodbye && !ports[number].ingress.isGoodbyeReported {
                ports[number].ingress.isGoodbyeReported = true
                fabric.control.report(.goodbye(PortNumber(number)))
            }
            if ports[number].ingress.isOver { return endConnection(number) }
            if error != 0 {
                dispatcher.reportUnreachable(PortNumber(number), error)
                // A descriptor in error stays ready for ever; attaching the port again starts watching it again.
                if ports[number].ingress.failures >= 16 { pollers[index].remove(ports[number].endpoint.raw) }
            }
            if !hasMore { return }
            if isPaused && !ports[number].ingress.stream.holdsFrame { break }
        }
        // A device reports new frames, not those that are left.
        if let device = ports[number].endpoint.device { device.rearm() }
    }

    /// Fills the batch from a port. Returns false if nothing is left.
    private mutating func receive(_ number: Int, _ error: inout Int32) -> Bool {
        batch.removeAll()
        let serializesCalls = ports[number].endpoint.serializesCalls
        if serializesCalls { ports[number].egressLock.lock() }
        let hasMore = ports[number].ingress.receive(
            from: ports[number].endpoint, into: &batch, with: &receiver, error: &error)
        if serializesCalls { ports[number].egressLock.unlock() }
        return hasMore
    }

    /// A connection's peer has closed it, or has announced an impossible frame length.
    private func endConnection(_ number: Int) {
        ports[number].egressLock.lock()
        fabric.tablesLock.lock()
        ports[number].egress.hasEnded = true
        pollers[index].remove(ports[number].endpoint.raw)
        fabric.tablesLock.unlock()
        ports[number].egressLock.unlock()
        fabric.control.report(.ended(PortNumber(number), badLength: ports[number].ingress.stream.badLength))
    }

    // MARK: Full receivers that do not report room

    /// Tries them again.
    private mutating func retryFullPorts() {
        // By the clock, however busy the other ports are: a receiver is given up after a number of retries.
        let now = BootClock.now
        guard now >= nextRetry else { return }
        nextRetry = now + Port.retryInterval
        for index in 0..<dispatcher.retrying.count { retry(dispatcher.retrying[index]) }
        // The port with that number may be another one by now.
        let ports = ports
        dispatcher.retrying.removeAll {
            !ports.isAttached($0) || !ports[$0].needsWritable || ports[$0].endpoint.reportsWritability
        }
    }

    private mutating func retry(_ number: PortNumber) {
        guard ports.isAttached(number) else { return }
        ports[number].egressLock.lock()
        if ports[number].egress.isCongested {
            let error = ports[number].egress.retry(to: ports[number].endpoint, with: &dispatcher.sender)
            if ports[number].endpoint.isPolled { dispatcher.scheduleDevice(number, isReadable: false) }
            dispatcher.updateBackpressure(number, error)
        }
        ports[number].egressLock.unlock()
    }

    /// Takes over the full receivers of injection ports. Under the exclusive lock.
    private mutating func takeOverRetries() {
        for number in fabric.tables.retries where !dispatcher.retrying.contains(number) {
            dispatcher.retrying.append(number)
        }
        fabric.tables.retries.removeAll(keepingCapacity: true)
    }
}
