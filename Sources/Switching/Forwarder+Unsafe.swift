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
    private static let turnBatches = 4
    private static let controlToken = UInt64.max

    private let control: ForwarderControl
    private var poller: Poller
    private var batch: FrameBatch
    private var receiver: ReceiveVector
    private var sender: SendVector
    private var table: AddressTable
    private var policy = ServicePolicy()
    private var isStopped = false
    /// Seconds on the monotonic clock at the start of this round.
    private var now: UInt32 = 0

    private let ports: UnsafeMutablePointer<Port>
    /// Numbers of the attached ports, in no order.
    private let active: UnsafeMutablePointer<PortNumber>
    private var activeCount = 0
    /// Place of each port in `active`, -1 if it is not attached.
    private let places: UnsafeMutablePointer<Int32>
    /// Per port, the indices of the batch's frames that leave through it.
    private let pending: UnsafeMutablePointer<UInt16>
    private let pendingCounts: UnsafeMutablePointer<UInt16>
    /// Ports with pending frames.
    private let touched: UnsafeMutablePointer<PortNumber>
    private var touchedCount = 0

    package init(control: ForwarderControl) throws(SystemError) {
        let capacity = ForwarderControl.portCapacity
        let poller = try Poller()
        try poller.add(control.wakeup.descriptor.raw, token: Forwarder.controlToken, for: .readable)
        self.poller = poller
        self.control = control
        batch = FrameBatch(capacity: Forwarder.batchCapacity)
        receiver = ReceiveVector(for: batch)
        sender = SendVector()
        table = AddressTable(ports: capacity)
        unsafe ports = .allocate(capacity: capacity)
        unsafe active = .allocate(capacity: capacity)
        unsafe places = .allocate(capacity: capacity)
        unsafe places.initialize(repeating: -1, count: capacity)
        unsafe pending = .allocate(capacity: capacity * Forwarder.batchCapacity)
        unsafe pendingCounts = .allocate(capacity: capacity)
        unsafe pendingCounts.initialize(repeating: 0, count: capacity)
        unsafe touched = .allocate(capacity: capacity)
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
    }

    /// Starts a thread that runs a forwarder until `control.stop()`.
    package static func start(control: ForwarderControl, onEnd: @escaping @Sendable () -> Void = {}) throws(SystemError) {
        let forwarder = OneTimeBox(try Forwarder(control: control))
        try WorkerThread.start(named: "forwarder") {
            var forwarder = forwarder.take()
            forwarder.run()
            onEnd()
        }
    }

    /// Forwards until `control.stop()`.
    package mutating func run() {
        while !isStopped { turn(timeout: nil) }
    }

    /// One round: waits up to `timeout` nanoseconds (nil: for ever) and handles what is ready then.
    package mutating func turn(timeout: UInt64?) {
        let count = poller.wait(timeout: timeout)
        now = UInt32(truncatingIfNeeded: MonotonicClock.now / MonotonicClock.second)
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
            if !ready.isDisjoint(with: [.readable, .hangup]) { drain(number) }
        }
        // Last, so that no port is detached while an event of this round still names it.
        if hasCommands {
            control.wakeup.drain()
            obey()
            drainService()
        }
    }

    // MARK: Commands

    private mutating func obey() {
        for command in control.takeCommands() {
            switch command {
            case .attach(let number, let configuration, let counters): attach(number, configuration, counters)
            case .detach(let number): detach(number)
            case .rearm(let number):
                guard unsafe places[Int(number)] >= 0 else { continue }
                unsafe ports[Int(number)].isReported = false
                unsafe ports[Int(number)].hasReceived = false
            case .pin(let address, let number): table.pin(AddressTable.key(address, vlan: 0), to: number)
            case .policy(let policy): self.policy = policy
            case .stop: isStopped = true
            }
        }
    }

    private mutating func attach(_ number: PortNumber, _ configuration: PortConfiguration, _ counters: PortCounters) {
        unsafe (ports + Int(number)).initialize(to: Port(number, configuration, counters))
        unsafe places[Int(number)] = Int32(activeCount)
        unsafe active[activeCount] = number
        activeCount += 1
        guard configuration.descriptor >= 0 else { return }
        do {
            try poller.add(configuration.descriptor, token: UInt64(number), for: .readable)
        } catch {
            control.report(.unreachable(number, error.code))
        }
    }

    private mutating func detach(_ number: PortNumber) {
        let place = unsafe Int(places[Int(number)])
        guard place >= 0 else { return }
        table.forget(number)
        unsafe poller.remove(ports[Int(number)].raw)
        unsafe (ports + Int(number)).deinitialize(count: 1)
        activeCount -= 1
        let moved = unsafe active[activeCount]
        unsafe active[place] = moved
        unsafe places[Int(moved)] = Int32(place)
        unsafe places[Int(number)] = -1
    }

    // MARK: One port's turn

    private mutating func drain(_ number: Int) {
        for _ in 0..<Forwarder.turnBatches {
            batch.removeAll()
            var error: Int32 = 0
            let hasMore = unsafe ports[number].receive(into: &batch, with: &receiver, error: &error)
            if batch.count > 0 { forward(from: number) }
            if unsafe ports[number].saidGoodbye { control.report(.goodbye(PortNumber(number))) }
            if error != 0 {
                report(number, error)
                // A descriptor in error stays ready for ever. What is still wanted of it can be had by attaching it anew.
                if unsafe ports[number].failures >= 16 { unsafe poller.remove(ports[number].raw) }
            }
            if !hasMore { return }
        }
    }

    private mutating func drainService() {
        let number = Int(ForwarderControl.servicePort)
        while true {
            batch.removeAll()
            while batch.count < batch.capacity {
                guard let frame = control.fromService.takeFirst({ $0.copied() }) else { break }
                batch.append(copying: frame.rawSpan)
            }
            if batch.count == 0 { return }
            forward(from: number)
        }
    }

    private func report(_ number: Int, _ error: Int32) {
        if unsafe ports[number].isReported { return }
        unsafe ports[number].isReported = true
        control.report(.unreachable(PortNumber(number), error))
    }

    /// After a port has sent: watch for room, or stop watching, and report an absent receiver.
    private mutating func settle(_ number: Int, _ error: Int32) {
        if error != 0 { report(number, error) }
        let isBlocked = unsafe ports[number].isBlocked
        if unsafe ports[number].isWatchingForRoom != isBlocked {
            unsafe ports[number].isWatchingForRoom = isBlocked
            unsafe poller.modify(ports[number].raw, token: UInt64(number), for: isBlocked ? [.readable, .writable] : .readable)
        }
    }

    // MARK: The batch

    /// Sends every frame of the batch where it belongs.
    private mutating func forward(from ingress: Int) {
        let role = unsafe ports[ingress].role
        var bytes = 0
        // Frames of a burst mostly share both addresses: the last answer is tried first.
        var lastDestination: AddressTable.Key = 0, lastSource: AddressTable.Key = 0
        var lastEgress: PortNumber? = nil
        for index in 0..<batch.count {
            let frame = batch[index]
            bytes &+= Int(frame.length)
            guard frame.length >= 14 else {
                if frame.length > 0 { unsafe ports[ingress].counters.dropped(.runt) }
                continue
            }
            let header = FrameHeader(batch.bytes(of: frame), role: role)
            let sourceKey = AddressTable.key(header.source, vlan: header.vlan)
            if role != .service && sourceKey != lastSource {
                guard !header.source.isGroup else {
                    unsafe ports[ingress].counters.dropped(.malformed)
                    continue
                }
                guard table.learn(sourceKey, at: PortNumber(ingress), now: now) == .accepted else {
                    unsafe ports[ingress].counters.dropped(.spoofed)
                    continue
                }
                lastSource = sourceKey
                lastDestination = 0
            }
            if header.service != .none && take(header.service, index) { continue }

            let destinationKey = AddressTable.key(header.destination, vlan: header.vlan)
            if destinationKey != lastDestination {
                lastDestination = destinationKey
                lastEgress = header.destination.isGroup ? nil : table.lookup(destinationKey, now: now)
            }
            if let egress = lastEgress {
                // Back to where it came from: the stations are on the same side and have heard each other.
                if unsafe isAllowed(from: role, to: ports[Int(egress)].role), Int(egress) != ingress { note(index, for: egress) }
            } else {
                flood(index, from: ingress, role: role, isGroup: header.destination.isGroup)
            }
        }
        unsafe ports[ingress].counters.received(frames: batch.count, bytes: bytes)
        if unsafe !ports[ingress].hasReceived {
            unsafe ports[ingress].hasReceived = true
            if role != .service { control.report(.firstFrame(PortNumber(ingress))) }
        }
        transmit()
    }

    /// Hands a guest's frame to the address service if it wants it. Returns true if nobody else is to have it.
    private mutating func take(_ service: ServiceClass, _ index: Int) -> Bool {
        switch service {
        case .none:
            return false
        case .arp:
            if policy.watchesARP { note(index, for: ForwarderControl.servicePort) }
            return false
        case .dhcpRequest:
            if policy.takesDHCP { note(index, for: ForwarderControl.servicePort) }
            return policy.takesDHCP
        case .dhcpReply:
            if policy.watchesDHCP { note(index, for: ForwarderControl.servicePort) }
            return false
        }
    }

    private func isAllowed(from ingress: PortRole, to egress: PortRole) -> Bool {
        // The service speaks to guests only; what guests say to it is noted by `take`.
        egress != .service && (ingress != .service || egress == .guest)
    }

    private mutating func flood(_ index: Int, from ingress: Int, role: PortRole, isGroup: Bool) {
        for place in 0..<activeCount {
            let egress = unsafe active[place]
            guard Int(egress) != ingress, unsafe isAllowed(from: role, to: ports[Int(egress)].role),
                unsafe isGroup || ports[Int(egress)].configuration.receivesUnknown
            else { continue }
            note(index, for: egress)
        }
    }

    private mutating func note(_ index: Int, for egress: PortNumber) {
        let count = unsafe Int(pendingCounts[Int(egress)])
        if count == 0 {
            unsafe touched[touchedCount] = egress
            touchedCount += 1
        }
        unsafe pending[Int(egress) * Forwarder.batchCapacity + count] = UInt16(index)
        unsafe pendingCounts[Int(egress)] = UInt16(count + 1)
    }

    private mutating func transmit() {
        for place in 0..<touchedCount {
            let egress = unsafe Int(touched[place])
            let indices = unsafe UnsafeBufferPointer(start: pending + egress * Forwarder.batchCapacity, count: Int(pendingCounts[egress]))
            unsafe pendingCounts[egress] = 0
            if egress == Int(ForwarderControl.servicePort) {
                unsafe deliverToService(indices)
            } else {
                let error = unsafe ports[egress].transmit(indices, of: &batch, with: &sender)
                settle(egress, error)
            }
        }
        touchedCount = 0
    }

    private mutating func deliverToService(_ indices: UnsafeBufferPointer<UInt16>) {
        for unsafe entry in unsafe indices {
            guard batch.completeChecksum(of: Int(entry)) else { continue }
            let frame = batch[Int(entry)]
            if control.toService.append(batch.bytes(of: frame)) {
                control.serviceCounters.sent(frames: 1, bytes: Int(frame.length))
            } else {
                control.serviceCounters.dropped(Int(frame.length) > FrameRing.slotCapacity ? .oversize : .queueFull)
            }
        }
        control.notification.signal()
    }
}

/// Carries a value that cannot be copied into a thread's closure.
private final class OneTimeBox: @unchecked Sendable {
    private var value: Forwarder?

    init(_ value: consuming Forwarder) { self.value = consume value }

    func take() -> Forwarder { value.take()! }
}
