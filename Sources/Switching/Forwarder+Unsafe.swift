// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import Wire

/// One worker of the data path, alone on its thread: it receives from its ports in batches, looks up where each frame
/// goes, and sends in batches.
///
/// A turn: wait until ports are ready; fill the batch from one of them; note for each frame the ports it leaves by;
/// then each such port sends its frames in one go. A port that cannot take its frames queues or drops them by itself,
/// so nobody waits for anybody. Nothing on the way allocates, logs, throws or waits for more than another worker's
/// batch. A device with turns does its work behind that.
///
/// The first worker has all ports, and obeys the control thread; others get some of them when there is more to do than
/// one can (`ForwarderBalance`).
@safe
package struct Forwarder: ~Copyable {
    /// Frames received in one system call.
    package static let batchCapacity = 64
    /// Batches taken from one port before the next one's turn.
    static let turnBatches = 4
    static let controlToken = UInt64.max

    let fabric: Fabric
    /// Which worker this is.
    let index: Int
    var batch: FrameBatch
    var receiver: ReceiveVector
    var sender: SendVector
    var isStopped = false
    /// Seconds on the monotonic clock at the start of this turn.
    var now: UInt32 = 0
    /// Full receivers that do not tell when there is room again.
    var retrying: [PortNumber] = []
    var nextRetry: UInt64 = 0
    /// Senders may wait because this worker has let them.
    var isHolding = false
    /// Ports were closed because of a loop, when it was last looked; and when one was last looked at.
    var hasClosedPorts = false
    var lastTrial: UInt32 = 0
    var wantsProbes = false
    var device = DeviceTurn()
    var reception: DatagramListenerState
    /// Frames that are made here.
    var scratch = FrameBatch(capacity: 16)
    var origin = BatchOrigin(port: 0)
    /// `Fabric.State.generation` when what the poller tells was last good.
    private var generation: UInt64 = 0
    var balance = Balance()
    /// Whether the next wait may spin first: not after one in vain, until something has come.
    private var maySpin = false
    /// Nanoseconds for which to look for more after a frame, before sleeping: an answer mostly comes within that.
    private static let spinLimit: UInt64 = 50_000

    // The fabric's, whose memory stays where it is.
    let control: SwitchControl
    let shared: UnsafeMutablePointer<Fabric.State>
    let guarded: UnsafeMutablePointer<Fabric.Tables>
    let ports: UnsafeMutablePointer<Port>
    let active: UnsafeMutablePointer<PortNumber>
    let places: UnsafeMutablePointer<Int32>
    let held: UnsafeMutablePointer<Fabric.Holding>
    let pollers: UnsafeMutablePointer<Poller>

    /// Per port, the batch's frames that leave through it.
    let pending: UnsafeMutablePointer<Departure>
    let pendingCounts: UnsafeMutablePointer<UInt16>
    /// Ports with pending frames.
    let touched: UnsafeMutablePointer<PortNumber>
    var touchedCount = 0
    /// A neighbour solicitation to be sent behind the batch. In a place of its own, so that it can be noted while a
    /// frame of the batch is read.
    private let asked: UnsafeMutablePointer<SourceBindings.Question?>
    var question: SourceBindings.Question? {
        get { unsafe asked.pointee }
        nonmutating set { unsafe asked.pointee = newValue }
    }

    /// The first worker of a switch.
    /// - Parameters:
    ///   - workers: that it has in all; the others are made by `init(joining:_:)`.
    ///   - closingPause: seconds for which a port with a loop behind it stays closed before it is tried again.
    ///   - patience: nanoseconds for which a sender waits for a full receiver.
    package init(
        control: SwitchControl, workers: Int = 1, closingPause: UInt32 = 30,
        patience: UInt64 = 20 * MonotonicClock.millisecond
    ) throws(SystemError) {
        self.init(
            joining: try Fabric(control, workers: max(1, workers), closingPause: closingPause, patience: patience), 0)
        let service = PortConfiguration(
            name: "address service", kind: .service, role: .service, descriptor: -1,
            maximumFrame: FrameRing.slotCapacity, receivesUnknown: false)
        attach(SwitchControl.servicePort, service, control.serviceCounters)
    }

    /// The other workers of a switch, which are to be run side by side with this first one.
    package func makeHelper(_ index: Int) -> Forwarder { Forwarder(joining: fabric, index) }

    private init(joining fabric: Fabric, _ index: Int) {
        let capacity = SwitchControl.portCapacity
        self.fabric = fabric
        self.index = index
        control = fabric.control
        unsafe shared = fabric.state
        unsafe guarded = fabric.guarded
        unsafe ports = fabric.ports
        unsafe active = fabric.active
        unsafe places = fabric.places
        unsafe held = fabric.held
        unsafe pollers = fabric.pollers
        batch = FrameBatch(capacity: Forwarder.batchCapacity)
        receiver = ReceiveVector(for: batch)
        reception = DatagramListenerState(for: batch)
        sender = SendVector()
        unsafe pending = .allocate(capacity: capacity * Forwarder.batchCapacity)
        unsafe pendingCounts = .allocate(capacity: capacity)
        unsafe pendingCounts.initialize(repeating: 0, count: capacity)
        unsafe touched = .allocate(capacity: capacity)
        unsafe asked = .allocate(capacity: 1)
        unsafe asked.initialize(to: nil)
    }

    deinit {
        unsafe pending.deallocate()
        unsafe pendingCounts.deallocate()
        unsafe touched.deallocate()
        unsafe asked.deallocate()
    }

    /// Forwards until `control.stop()`.
    package mutating func run() {
        while !isStopped {
            let pause =
                !retrying.isEmpty
                ? Port.retryPause : isHolding ? fabric.patience / 4 : hasClosedPorts ? MonotonicClock.second : nil
            turn(
                timeout: device.deadline == .max
                    ? pause : min(pause ?? .max, device.deadline - min(device.deadline, MonotonicClock.now)))
        }
    }

    /// One turn: waits up to `timeout` nanoseconds (nil: for ever) and handles what is ready then.
    package mutating func turn(timeout: UInt64?) {
        let count = wait(timeout)
        fabric.gate.lockShared()
        let moment = MonotonicClock.now
        now = UInt32(truncatingIfNeeded: moment / MonotonicClock.second)
        var hasCommands = false
        var last: Int?
        // What was told of ports before some of them have changed is told again, where it is still so.
        if generation == state.generation {
            balance.begin(at: moment)
            for event in 0..<count {
                let (token, ready) = unsafe pollers[index].event(event)
                if token == Forwarder.controlToken {
                    hasCommands = true
                } else {
                    handle(Int(token), ready)
                    last = Int(token)
                }
            }
        }
        generation = state.generation
        isStopped = state.isStopped
        if !retrying.isEmpty { retryFullPorts() }
        if isHolding { losePatience(moment) }
        // What a device had to do counts as work for who has made it.
        if takeDeviceTurn() && fabric.workers > 1, let last { noteEffort(last) }
        fabric.gate.unlock()
        // Last, so that no port is detached while an event of this turn still names it.
        if index == 0 && (hasCommands || (hasClosedPorts && lastTrial != now)) { manage() }
        if balance.isDue { shareWork() }
    }

    /// What a port's descriptor is ready for.
    private mutating func handle(_ number: Int, _ ready: Readiness) {
        if ready.contains(.writable) {
            unsafe ports[number].sending.lock()
            let error = unsafe ports[number].egress.drainQueue(with: &sender)
            settle(number, error)
            unsafe ports[number].sending.unlock()
        }
        if !ready.isDisjoint(with: [.readable, .hangup]) {
            // A stream that its client has closed says so although it is not asked: what is in it waits like any other
            // sender's.
            if (isHolding || ready.contains(.hangup)) && silence(number) { return }
            if unsafe ports[number].takesTurns { noteTurn(number, isReadable: true) } else { drain(number) }
        }
        if fabric.workers > 1 { noteEffort(number) }
    }

    /// What the control thread has asked for, and what takes a worker that is alone.
    private mutating func manage() {
        alone { forwarder in
            forwarder.control.wakeup.drain()
            forwarder.takeRetries()
            if forwarder.hasClosedPorts { forwarder.tryClosedPorts() }
            forwarder.obey()
            forwarder.drainService()
            _ = forwarder.takeDeviceTurn()
            forwarder.hasClosedPorts = forwarder.tables.closedCount > 0
            forwarder.lastTrial = forwarder.now
        }
    }

    /// Does what no other worker may have a turn beside. What this worker's poller has told must be done with.
    mutating func alone(_ body: (inout Forwarder) -> Void) {
        fabric.gate.lockExclusive()
        body(&self)
        generation = state.generation
        isStopped = state.isStopped
        fabric.gate.unlock()
    }

    private mutating func wait(_ timeout: UInt64?) -> Int {
        if maySpin && timeout != 0 {
            let count = unsafe pollers[index].spin(limit: Forwarder.spinLimit)
            if count > 0 { return count }
        }
        let count = unsafe pollers[index].wait(timeout: timeout)
        maySpin = count > 0
        return count
    }

    // MARK: One port's turn

    private mutating func drain(_ number: Int) {
        if unsafe ports[number].kind == .datagramListener { return drainListener(number) }
        var batches = 0
        // What lies in a stream's buffer is all sent on: nothing would tell of it again.
        while unsafe batches < Forwarder.turnBatches || ports[number].ingress.incoming.holdsFrame {
            batches += 1
            batch.removeAll()
            var error: Int32 = 0
            let isAlone = unsafe ports[number].takesOneCallAtATime
            if isAlone { unsafe ports[number].sending.lock() }
            let hasMore = unsafe ports[number].ingress.receive(into: &batch, with: &receiver, error: &error)
            if isAlone { unsafe ports[number].sending.unlock() }
            let isHeld = batch.count > 0 ? forward(from: number) : false
            if unsafe ports[number].ingress.saidGoodbye && !ports[number].ingress.isGoodbyeReported {
                unsafe ports[number].ingress.isGoodbyeReported = true
                control.report(.goodbye(PortNumber(number)))
            }
            if unsafe ports[number].ingress.incoming.isOver { return endStream(number) }
            if error != 0 {
                report(number, error)
                // A descriptor in error stays ready for ever. What is still wanted of it can be had by attaching it
                // anew.
                if unsafe ports[number].ingress.failures >= 16 { unsafe pollers[index].remove(ports[number].raw) }
            }
            if unsafe !hasMore || (isHeld && !ports[number].ingress.incoming.holdsFrame) { return }
        }
        // A device tells of what is new, not of what is left.
        if let device = unsafe ports[number].configuration.device { device.comeBack() }
    }

    /// Tells once that a port's other end is not there. Without `tables`.
    func report(_ number: Int, _ error: Int32) {
        fabric.tables.lock()
        // The end of a stream is heard behind the last that was sent on it.
        let isExpected =
            unsafe ports[number].kind == .stream && !ports[number].hasEnded
            && (error == Errno.brokenPipe || error == Errno.reset)
        let isNews = unsafe !ports[number].isReported && !isExpected
        if isNews { unsafe ports[number].isReported = true }
        fabric.tables.unlock()
        if isNews { control.report(.unreachable(PortNumber(number), error)) }
    }

    /// After a port has sent, with its `sending`: watch for room, or stop watching, and report an absent receiver.
    mutating func settle(_ number: Int, _ error: Int32) {
        if error != 0 { report(number, error) }
        let isBlocked = unsafe ports[number].egress.isBlocked
        if unsafe ports[number].isWatchingForRoom == isBlocked { return }
        fabric.tables.lock()
        unsafe ports[number].isWatchingForRoom = isBlocked
        if !isBlocked {
            unsafe ports[number].isSlow = false
            release(waitingFor: PortNumber(number))
        }
        if unsafe ports[number].tellsOfRoom { watch(number) }
        fabric.tables.unlock()
        if unsafe isBlocked && !ports[number].tellsOfRoom { retryLater(PortNumber(number)) }
    }
}
