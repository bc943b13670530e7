// SPDX-License-Identifier: Apache-2.0
import Frames
import Platform
import Wire

/// The data path: one thread that receives from its ports in batches, looks up where each frame goes, and sends in batches.
///
/// A round: wait until ports are ready; fill the batch from one of them; note for each frame the ports it leaves by; then each such port
/// sends its frames in one go. A port that cannot take its frames queues or drops them by itself, so nobody waits for anybody.
/// Nothing on the way allocates, logs, throws or waits.
@safe
package struct Forwarder: ~Copyable {
    /// Frames received in one system call.
    package static let batchCapacity = 64
    /// Batches taken from one port before the next one's turn.
    static let turnBatches = 4
    private static let controlToken = UInt64.max

    let control: ForwarderControl
    var poller: Poller
    var batch: FrameBatch
    var receiver: ReceiveVector
    var sender: SendVector
    var table: AddressTable
    var membership: VLANMembership
    var loopGuard: LoopGuard
    var policy = ServicePolicy()
    /// In force while we give out addresses.
    var addressGuard = AddressGuard()
    /// Copies every frame to every port.
    var isHub = false
    /// Looks at tags, and keeps VLANs apart; else tags are passed on as they are.
    var isVLANAware = false
    /// Keeps guests from each other.
    var isIsolating = false
    var isStopped = false
    /// Seconds on the monotonic clock at the start of this round.
    var now: UInt32 = 0
    /// Addresses that are tied to a port.
    var pins: [(address: MACAddress, port: PortNumber)] = []
    /// Ports that are closed because of a loop.
    var closedCount = 0
    let closingPause: UInt32
    let patience: UInt64
    /// Full receivers that do not tell when there is room again.
    var retrying: [PortNumber] = []
    var nextRetry: UInt64 = 0
    var wantsProbes = false
    var reception: DoorReception
    /// Frames that are made here.
    var scratch = FrameBatch(capacity: 16)
    var origin = BatchOrigin(port: 0)
    /// Whether the next wait may spin first: not after one in vain, until something has come.
    private var maySpin = false
    /// Nanoseconds for which to look for more after a frame, before sleeping: an answer mostly comes within that.
    private static let spinLimit: UInt64 = 50_000

    let ports: UnsafeMutablePointer<Port>
    /// Numbers of the attached ports, in no order.
    let active: UnsafeMutablePointer<PortNumber>
    var activeCount = 0
    /// Place of each port in `active`, -1 if it is not attached.
    let places: UnsafeMutablePointer<Int32>
    /// Per port, the batch's frames that leave through it.
    private let pending: UnsafeMutablePointer<Departure>
    private let pendingCounts: UnsafeMutablePointer<UInt16>
    /// Ports with pending frames.
    private let touched: UnsafeMutablePointer<PortNumber>
    private var touchedCount = 0
    /// Ports that are not read for a moment, and the full receivers because of which.
    let held: UnsafeMutablePointer<(ingress: PortNumber, egress: PortNumber)>
    var heldCount = 0

    /// - Parameters:
    ///   - closingPause: seconds for which a port with a loop behind it stays closed before it is tried again.
    ///   - patience: nanoseconds for which a sender waits for a full receiver.
    package init(control: ForwarderControl, closingPause: UInt32 = 30, patience: UInt64 = 20 * MonotonicClock.millisecond) throws(SystemError) {
        let capacity = ForwarderControl.portCapacity
        let poller = try Poller()
        try poller.add(control.wakeup.descriptor.raw, token: Forwarder.controlToken, for: .readable)
        self.poller = poller
        self.control = control
        self.closingPause = closingPause
        self.patience = patience
        batch = FrameBatch(capacity: Forwarder.batchCapacity)
        receiver = ReceiveVector(for: batch)
        reception = DoorReception(for: batch)
        sender = SendVector()
        table = AddressTable(ports: capacity)
        membership = VLANMembership(ports: capacity)
        loopGuard = LoopGuard()
        unsafe ports = .allocate(capacity: capacity)
        unsafe active = .allocate(capacity: capacity)
        unsafe places = .allocate(capacity: capacity)
        unsafe places.initialize(repeating: -1, count: capacity)
        unsafe pending = .allocate(capacity: capacity * Forwarder.batchCapacity)
        unsafe pendingCounts = .allocate(capacity: capacity)
        unsafe pendingCounts.initialize(repeating: 0, count: capacity)
        unsafe touched = .allocate(capacity: capacity)
        unsafe held = .allocate(capacity: capacity)
        let service = PortConfiguration(name: "address service", kind: .service, role: .service, descriptor: -1, maximumFrame: FrameRing.slotCapacity, receivesUnknown: false)
        attach(ForwarderControl.servicePort, service, control.serviceCounters)
    }

    deinit {
        for place in 0..<activeCount { unsafe (ports + Int(active[place])).deinitialize(count: 1) }
        unsafe ports.deallocate()
        unsafe active.deallocate()
        unsafe places.deallocate()
        unsafe pending.deallocate()
        unsafe pendingCounts.deallocate()
        unsafe touched.deallocate()
        unsafe held.deallocate()
    }

    /// Forwards until `control.stop()`.
    package mutating func run() {
        while !isStopped {
            turn(timeout: !retrying.isEmpty ? Port.retryPause : heldCount > 0 ? patience / 4 : closedCount > 0 ? MonotonicClock.second : nil)
        }
    }

    /// One round: waits up to `timeout` nanoseconds (nil: for ever) and handles what is ready then.
    package mutating func turn(timeout: UInt64?) {
        let count = wait(timeout)
        let moment = MonotonicClock.now
        now = UInt32(truncatingIfNeeded: moment / MonotonicClock.second)
        var hasCommands = false
        for index in 0..<count {
            let (token, ready) = poller.event(index)
            if token == Forwarder.controlToken {
                hasCommands = true
                continue
            }
            let number = Int(token)
            if ready.contains(.writable) {
                let error = unsafe ports[number].drainQueue(with: &sender)
                settle(number, error)
            }
            if !ready.isDisjoint(with: [.readable, .hangup]) {
                // A stream that its client has closed says so although it is not asked: what is in it waits like any other sender's.
                if unsafe ports[number].isHeld { silence(number) } else { drain(number) }
            }
        }
        if closedCount > 0 { tryClosedPorts() }
        if !retrying.isEmpty { retryFullPorts() }
        if heldCount > 0 { losePatience(moment) }
        // Last, so that no port is detached while an event of this round still names it.
        if hasCommands {
            control.wakeup.drain()
            obey()
            drainService()
        }
    }

    private mutating func wait(_ timeout: UInt64?) -> Int {
        if maySpin && timeout != 0 {
            let count = poller.spin(limit: Forwarder.spinLimit)
            if count > 0 { return count }
        }
        let count = poller.wait(timeout: timeout)
        maySpin = count > 0
        return count
    }

    // MARK: One port's turn

    private mutating func drain(_ number: Int) {
        if unsafe ports[number].kind == .datagramDoor { return drainDoor(number) }
        var batches = 0
        // What lies in a stream's buffer is all sent on: nothing would tell of it again.
        while unsafe batches < Forwarder.turnBatches || ports[number].incoming.holdsFrame {
            batches += 1
            batch.removeAll()
            var error: Int32 = 0
            let hasMore = unsafe ports[number].receive(into: &batch, with: &receiver, error: &error)
            if batch.count > 0 { forward(from: number) }
            if unsafe ports[number].saidGoodbye && !ports[number].isGoodbyeReported {
                unsafe ports[number].isGoodbyeReported = true
                control.report(.goodbye(PortNumber(number)))
            }
            if unsafe ports[number].incoming.isOver { return endStream(number) }
            if error != 0 {
                report(number, error)
                // A descriptor in error stays ready for ever. What is still wanted of it can be had by attaching it anew.
                if unsafe ports[number].failures >= 16 { unsafe poller.remove(ports[number].raw) }
            }
            if unsafe !hasMore || (ports[number].isHeld && !ports[number].incoming.holdsFrame) { return }
        }
        // A device tells of what is new, not of what is left.
        if let device = unsafe ports[number].configuration.device { device.comeBack() }
    }

    func report(_ number: Int, _ error: Int32) {
        if unsafe ports[number].isReported { return }
        // The end of a stream is heard behind the last that was sent on it.
        if unsafe ports[number].kind == .stream && !ports[number].incoming.isOver && (error == Errno.brokenPipe || error == Errno.reset) { return }
        unsafe ports[number].isReported = true
        control.report(.unreachable(PortNumber(number), error))
    }

    /// After a port has sent: watch for room, or stop watching, and report an absent receiver.
    mutating func settle(_ number: Int, _ error: Int32) {
        if error != 0 { report(number, error) }
        let isBlocked = unsafe ports[number].isBlocked
        if unsafe ports[number].isWatchingForRoom != isBlocked {
            unsafe ports[number].isWatchingForRoom = isBlocked
            if !isBlocked {
                unsafe ports[number].isSlow = false
                release(waitingFor: PortNumber(number))
            }
            if unsafe ports[number].tellsOfRoom {
                watch(number)
            } else if isBlocked {
                retrying.append(PortNumber(number))
            } else {
                retrying.removeAll { $0 == PortNumber(number) }
            }
        }
    }

    // MARK: The batch

    /// A frame on its way through.
    struct Passage: BitwiseCopyable {
        let index: Int
        let ingress: Int
        let role: PortRole
        let isGroup: Bool
        /// Not for the uplink.
        var isWithheld = false
        var isTagged: Bool
        /// The VLAN that it is in; where VLANs are not looked at, what its tag says.
        var vlan: UInt16
    }

    /// Sends every frame of the batch, or some of them, where it belongs.
    mutating func forward(from ingress: Int, _ part: Range<Int>? = nil) {
        let role = unsafe ports[ingress].role
        origin = BatchOrigin(port: ingress)
        let looksAtVLANs = isVLANAware && !isHub
        var frames = 0, bytes = 0
        // Frames of a burst mostly share both addresses: the last answer is tried first.
        var lastDestination: AddressTable.Key = 0, lastSource: AddressTable.Key = 0
        var lastEgress: PortNumber? = nil
        // A full receiver of more than copies.
        var obstacle: PortNumber? = nil
        for index in part ?? 0..<batch.count {
            let frame = batch[index]
            guard frame.length >= 14 else {
                if frame.length > 0 { unsafe ports[ingress].counters.dropped(.runt) }
                continue
            }
            frames &+= 1
            bytes &+= Int(frame.length)
            let header = FrameHeader(batch.bytes(of: frame), role: role)
            if header.service == .probe, let origin = loopGuard.origin(of: batch.bytes(of: frame)) {
                close(becauseOf: origin, at: ingress)
                continue
            }
            if unsafe ports[ingress].isClosed {
                unsafe ports[ingress].counters.dropped(.loop)
                continue
            }
            var passage = Passage(
                index: index, ingress: ingress, role: role, isGroup: header.destination.isGroup, isTagged: header.isTagged, vlan: header.vlan)
            if looksAtVLANs && !admit(&passage) {
                unsafe ports[ingress].counters.dropped(.vlan)
                continue
            }
            let sourceKey = AddressTable.key(header.source, vlan: passage.vlan)
            if role != .service && sourceKey != lastSource {
                guard !header.source.isGroup, header.source.value != 0 else {
                    unsafe ports[ingress].counters.dropped(.malformed)
                    continue
                }
                switch table.learn(sourceKey, at: PortNumber(ingress), now: now) {
                case .accepted: break
                case .moved: if loopGuard.addressMoved(now: now) { wantsProbes = true }
                case .belongsElsewhere:
                    unsafe ports[ingress].counters.dropped(.spoofed)
                    continue
                }
                lastSource = sourceKey
                lastDestination = 0
            }
            if header.service != .none && take(header.service, passage) { continue }
            if role == .guest && policy.takesDHCP, let claim = AddressGuard.Claim(batch.bytes(of: frame), header) {
                guard addressGuard.admits(claim, from: header.source, now: now) else {
                    unsafe ports[ingress].counters.dropped(.spoofed)
                    continue
                }
            }
            passage.isWithheld = header.service == .dhcpRequest && policy.withholdsDHCP

            let destinationKey = AddressTable.key(header.destination, vlan: passage.vlan)
            if destinationKey != lastDestination {
                lastDestination = destinationKey
                lastEgress = passage.isGroup || isHub ? nil : table.lookup(destinationKey, now: now)
            }
            if let egress = lastEgress {
                deliver(passage, to: egress)
                if unsafe ports[Int(egress)].isBlocked { obstacle = egress }
            } else {
                flood(passage)
            }
        }
        unsafe ports[ingress].counters.received(frames: frames, bytes: bytes)
        if unsafe !ports[ingress].hasReceived {
            unsafe ports[ingress].hasReceived = true
            if role != .service { control.report(.firstFrame(PortNumber(ingress))) }
        }
        transmit()
        if let egress = obstacle ?? lastEgress { hold(ingress, for: egress) }
        if wantsProbes && part == nil { sendProbes() }
    }

    func isMember(_ port: Int, _ vlan: UInt16) -> Bool { unsafe ports[port].untaggedVLAN == vlan || membership.contains(port, vlan) }

    private func isAllowed(_ passage: Passage, to egress: PortNumber) -> Bool {
        let ingress = passage.role, egress = unsafe ports[Int(egress)].role
        // The service speaks to guests only; what guests say to it is noted by `take`.
        return egress != .service && (ingress != .service || egress == .guest) && !(isIsolating && ingress == .guest && egress == .guest)
            && !(passage.isWithheld && egress == .uplink)
    }

    /// Back to where it came from: the stations are on the same side and have heard each other.
    private func isSameSide(_ ingress: Int, _ egress: Int) -> Bool {
        unsafe ingress == egress || (ports[ingress].bundle != 0 && ports[ingress].bundle == ports[egress].bundle)
    }

    private mutating func deliver(_ passage: Passage, to egress: PortNumber) {
        guard !isSameSide(passage.ingress, Int(egress)) else { return }
        guard isAllowed(passage, to: egress) else {
            if passage.role == .guest { unsafe ports[passage.ingress].counters.dropped(.isolated) }
            return
        }
        var end = egress
        repeat {
            send(passage, to: end)
            end = unsafe ports[Int(end)].sibling
        } while end != egress
    }

    private mutating func flood(_ passage: Passage) {
        origin.flooded |= 1 << UInt64(passage.index)
        for place in 0..<activeCount {
            let egress = unsafe active[place]
            if unsafe (passage.isGroup || isHub || ports[Int(egress)].configuration.receivesUnknown)
                && !isSameSide(passage.ingress, Int(egress)) && isAllowed(passage, to: egress) { send(passage, to: egress) }
        }
    }

    private mutating func send(_ passage: Passage, to egress: PortNumber) {
        if unsafe ports[Int(egress)].isClosed { return }
        guard isVLANAware && !isHub else { return note(passage.index, .keep, for: egress) }
        guard isMember(Int(egress), passage.vlan) else { return }
        let wantsTag = unsafe ports[Int(egress)].untaggedVLAN != passage.vlan
        note(passage.index, wantsTag == passage.isTagged ? .keep : wantsTag ? .insert : .strip, for: egress)
    }

    mutating func note(_ index: Int, _ edit: TagEdit, for egress: PortNumber) {
        let count = unsafe Int(pendingCounts[Int(egress)])
        if count == 0 {
            unsafe touched[touchedCount] = egress
            touchedCount += 1
        }
        unsafe pending[Int(egress) * Forwarder.batchCapacity + count] = Departure(index, edit)
        unsafe pendingCounts[Int(egress)] = UInt16(count + 1)
    }

    mutating func transmit() {
        for place in 0..<touchedCount {
            let egress = unsafe Int(touched[place])
            var departures = unsafe UnsafeBufferPointer(start: pending + egress * Forwarder.batchCapacity, count: Int(pendingCounts[egress]))
            unsafe pendingCounts[egress] = 0
            if egress == Int(ForwarderControl.servicePort) {
                unsafe deliverToService(departures)
            } else {
                while true {
                    let error = unsafe ports[egress].transmit(departures, of: &batch, with: &sender)
                    settle(egress, error)
                    if unsafe ports[egress].refused < 0 { break }
                    unsafe departures = handleOversize(departures, egress)
                }
            }
        }
        touchedCount = 0
    }
}
