// SPDX-License-Identifier: Apache-2.0
import Atomics
import CPlatform
import FrameIO
import NetworkModel
import Platform
import Uplinks
import Wire

/// Why a user-mode NAT could not be started.
package enum UserFailure: Error, Sendable {
    /// libslirp is not installed.
    case noLibrary
    /// Its version is not one whose interface we know, or it refuses to start.
    case unusableLibrary(String)
    /// A port could not be published: its number, and the positive errno.
    case port(PublishedPort, UInt16, Int32)
    case system(SystemError)
}

/// A user-mode NAT: TCP by connections of ours, the rest by libslirp.
///
/// What is ours has no thread. It is a device that the forwarder gives turns: after frames have come for it, when its
/// sockets have something to say, and when it is time for something. The library has a thread of its own behind a
/// bounded ring, so that one that hangs costs its own frames. Behind each frame's virtio header, TCP may be in
/// super-frames both ways.
@safe
package final class UserNetwork: @unchecked Sendable {
    /// Bytes of what guests have sent and the next turn will take: enough for the windows of many connections.
    private static let guestCapacity = 8 << 20
    /// Bytes for the library: UDP, pings, and neighbour discovery.
    private static let libraryCapacity = 4 << 20
    /// Frames that are taken before other ports of the switch have their turn: each may ask for a connection.
    private static let turnFrames = 64
    /// Frames for the library before its sockets have their turn.
    private static let libraryFrames = 256

    package let libraryVersion: String
    private let stack: OpaquePointer
    private let sink: any FrameInjector
    /// Appended to by who sends to the port, emptied by who has the turn.
    private let fromGuests = SPSCFrameRing(capacity: UserNetwork.guestCapacity)
    /// Appended to by who has the turn, emptied by the library's thread.
    private let toLibrary = SPSCFrameRing(capacity: UserNetwork.libraryCapacity)
    /// Wakes the library's thread.
    private let wakeup: Wakeup
    private let isWaiting = ManagedAtomic<Bool>(false)
    private let isStopping = ManagedAtomic<Bool>(false)
    private let ended: Wakeup
    private var isRunning = false
    /// TCP connections, and parts of their streams that were sent again, a second ago at most.
    private let connections = ManagedAtomic<Int>(0)
    private let repeated = ManagedAtomic<Int>(0)
    private let drops = Mutex([Int](repeating: 0, count: UserDrop.allCases.count))

    /// Who has the turn. Whoever has it does not come into the sink any more, and does not let the library work: both
    /// is done before.
    private let turn = TurnLatch()
    // What belongs to the turn.
    private let output: GuestOutput
    private var gateway: UserGateway
    /// The gateway's own addresses.
    package let gatewayIPv6: [IPv6Address]
    private let relay: TCPRelay
    /// Seconds.
    private var now: UInt64 = 0
    private var nextAdvertisement: UInt64 = 0

    /// Starts the library and publishes ports; frames move after `start`.
    /// - Parameter names: takes guests' connections to the name server.
    package init(
        _ options: UserGateway.Options, publishing published: [PublishedPort], names: NameInlet? = nil,
        to sink: any FrameInjector
    ) throws(UserFailure) {
        self.sink = sink
        output = GuestOutput(to: sink, mtu: options.mtu)
        gateway = UserGateway(options)
        gateway.locate = { sink.origin(of: $0) }
        gatewayIPv6 = options.prefix.map { [.customaryGateway, IPv6Address($0, 1)] } ?? []
        do throws(SystemError) {
            wakeup = try Wakeup()
            ended = try Wakeup()
            relay = try TCPRelay(options, names: names, to: output)
        } catch {
            throw .system(error)
        }
        var raw = unsafe platform_slirp_options()
        unsafe raw.network = options.network.network.base.value
        unsafe raw.mask = options.network.network.mask.value
        unsafe raw.host = options.network.gateway.value
        unsafe raw.mtu = UInt32(options.mtu)
        if let prefix = options.prefix {
            unsafe raw.prefix_length = 64
            unsafe withUnsafeMutableBytes(of: &raw.prefix) { unsafe $0.copyBytes(from: IPv6Address(prefix, 0).bytes) }
            unsafe withUnsafeMutableBytes(of: &raw.host6) { unsafe $0.copyBytes(from: IPv6Address(prefix, 1).bytes) }
        }
        let callback = Callback()
        self.callback = callback
        unsafe raw.context = Unmanaged.passUnretained(callback).toOpaque()
        unsafe raw.send = { context, bytes, length in
            guard let context = unsafe context, let bytes = unsafe bytes else { return }
            unsafe Unmanaged<Callback>.fromOpaque(context)._withUnsafeGuaranteedRef {
                unsafe $0.network?.receive(bytes, length)
            }
        }
        var started: OpaquePointer?
        let result = unsafe platform_slirp_open(&raw, &started)
        guard result == 0, let opened = unsafe started else {
            throw result == -Errno.noEntry
                ? .noLibrary : .unusableLibrary(SystemError(code: -result, "start libslirp").reason)
        }
        unsafe stack = opened
        libraryVersion = unsafe String(cString: platform_slirp_version(opened))
        unsafe callback.network = self
        for one in published {
            for (host, guest) in zip(one.ports, one.guestPorts) {
                let error = publish(one, host, guest)
                if error != 0 {
                    unsafe platform_slirp_close(stack)
                    unsafe callback.network = nil
                    throw .port(one, host, error)
                }
            }
        }
    }

    /// Returns 0 or a positive errno.
    private func publish(_ one: PublishedPort, _ host: UInt16, _ guest: UInt16) -> Int32 {
        if one.transport == .udp {
            return -min(0, unsafe platform_slirp_publish(stack, 1, one.bind.value, host, one.guest.value, guest))
        }
        do throws(SystemError) {
            try relay.publish(one.bind, host, to: one.guest, guest, following: one.followed)
            return 0
        } catch {
            return error.code
        }
    }

    /// Through which the library's frames find us.
    private final class Callback {
        unowned(unsafe) var network: UserNetwork?
    }

    private let callback: Callback

    // MARK: For the forwarder

    /// For a port of the forwarder. Not to be used after `stop`.
    package var device: FrameDevice {
        unsafe FrameDevice(
            context: Unmanaged.passUnretained(self).toOpaque(),
            send: { context, frames, stride, count in
                unsafe Unmanaged<UserNetwork>.fromOpaque(context!)._withUnsafeGuaranteedRef {
                    unsafe $0.fromGuests.append(frames!, stride: Int(stride), count: Int(count))
                }
            },
            sendPieces: { context, pieces, count in
                unsafe Unmanaged<UserNetwork>.fromOpaque(context!)._withUnsafeGuaranteedRef {
                    unsafe $0.take(UnsafeBufferPointer(start: pieces, count: Int(count)))
                }
            },
            poll: { context, isReadable in
                unsafe Unmanaged<UserNetwork>.fromOpaque(context!)._withUnsafeGuaranteedRef {
                    $0.takeTurn(isReadable: isReadable != 0)
                }
            },
            headerLength: VirtioNetHeader.length, maximumGSOFrame: FrameBatch.maximumFrameLength)
    }

    /// For the same port: a descriptor that is readable while sockets have something to say, which the caller owns.
    package func readyDescriptor() throws(SystemError) -> Descriptor { try relay.descriptor.duplicate() }

    /// Takes one frame in several pieces.
    private func take(_ pieces: UnsafeBufferPointer<iovec>) -> Int32 {
        let length = unsafe pieces.reduce(0) { unsafe $0 + $1.iov_len }
        return unsafe fromGuests.append(pieces, length: length) ? 0 : -Errno.noBuffers
    }

    // MARK: A turn

    /// Does what there is to do. From inside the sink. Returns when there is something to do though nothing has
    /// happened, in nanoseconds of the clock.
    /// - Parameter isReadable: sockets have something to say.
    private func takeTurn(isReadable: Bool) -> UInt64 {
        guard turn.tryBegin() else { return .max }
        let moment = MonotonicClock.now
        relay.begin(now: moment)
        if now != moment / MonotonicClock.second {
            now = moment / MonotonicClock.second
            relay.tick()
            gateway.tick(now: now)
            connections.store(relay.count, ordering: .relaxed)
            repeated.store(relay.repeated, ordering: .relaxed)
        }
        if now >= nextAdvertisement && sink.isAttached {
            nextAdvertisement = now + UserGateway.advertisementInterval
            gateway.advertise()
        }
        var count = 0
        while count < UserNetwork.turnFrames, fromGuests.removeFirst({ handle(&$0) }) != nil { count += 1 }
        if isReadable { relay.serve(&gateway) }
        // Guests do not wait for what sockets are still to get.
        output.send()
        relay.finishTurn(&gateway)
        flush()
        var deadline = fromGuests.hasFrames ? moment : relay.nextDeadline()
        if gateway.needsTick { deadline = min(deadline, (now + 1) * MonotonicClock.second) }
        turn.unlock()
        wake()
        return turn.takeMissed() ? moment : deadline
    }

    /// Wakes the library's thread, if it has something to do and does not know.
    private func wake() {
        // Either it sees what was appended before it sleeps, or we see that it is about to.
        atomicMemoryFence(ordering: .sequentiallyConsistent)
        if toLibrary.hasFrames, isWaiting.load(ordering: .relaxed), isWaiting.exchange(false, ordering: .relaxed) {
            wakeup.signal()
        }
    }

    // MARK: For the main thread

    /// Starts the thread.
    package func start() throws(SystemError) {
        try WorkerThread.start(named: "user network") { self.run() }
        isRunning = true
    }

    /// Ends it, and waits for that. Returns false if the library does not come back, whose memory is left to the end of
    /// the process then.
    package func stop() -> Bool {
        isStopping.store(true, ordering: .releasing)
        wakeup.signal()
        if isRunning {
            let deadline = MonotonicClock.now + MonotonicClock.second
            guard !ended.descriptor.wait(for: .readable, until: deadline).isEmpty else { return false }
        }
        unsafe platform_slirp_close(stack)
        unsafe callback.network = nil
        return true
    }

    /// Tells of leases that were given: address, client, its name, and the end in nanoseconds of the clock.
    package func note(_ given: [(IPv4Address, MACAddress, GuestName?, UInt64)]) {
        // Where a client is the switch knows.
        sink.lockShared()
        turn.lock()
        let moment = MonotonicClock.now
        for (address, hardware, name, end) in given {
            gateway.lease(address, to: hardware, until: end / MonotonicClock.second, now: now)
            if end > moment { relay.lease(address, to: hardware, named: name) }
        }
        turn.unlock()
        sink.unlock()
        // This is no turn: one that was wanted meanwhile is brought about by the library's thread.
        if turn.isMissed { wakeup.signal() }
    }

    /// How many TCP connections there are, and how many parts of their streams guests had to be sent again so far.
    package var streams: (count: Int, repeated: Int) {
        (connections.load(ordering: .relaxed), repeated.load(ordering: .relaxed))
    }

    /// How many frames went no further, by reason.
    package func dropped(_ reason: UserDrop) -> Int { drops.withLock { $0[reason.rawValue] } }

    // MARK: The library's thread

    private func run() {
        while !isStopping.load(ordering: .acquiring) {
            sink.lockShared()
            let deadline = takeTurn(isReadable: false)
            sink.unlock()
            var count = 0
            while count < UserNetwork.libraryFrames, toLibrary.removeFirst({ input($0.bytes) }) != nil { count += 1 }
            isWaiting.store(true, ordering: .relaxed)
            atomicMemoryFence(ordering: .sequentiallyConsistent)
            // What it has heard it may answer now; the answer goes at the beginning of the next turn.
            let mayWait = count == 0 && !toLibrary.hasFrames && !isStopping.load(ordering: .acquiring)
            if unsafe platform_slirp_turn(stack, wakeup.descriptor.raw, mayWait ? limit(deadline) : 0) != 0 {
                wakeup.drain()
            }
            isWaiting.store(false, ordering: .relaxed)
        }
        ended.signal()
    }

    /// Milliseconds until something is due.
    private func limit(_ deadline: UInt64) -> UInt32 {
        let moment = MonotonicClock.now
        return deadline <= moment ? 0 : UInt32(min(10_000, (deadline - moment) / MonotonicClock.millisecond + 1))
    }

    private func input(_ frame: RawSpan) {
        unsafe frame.withUnsafeBytes { unsafe platform_slirp_input(stack, $0.baseAddress, $0.count) }
    }

    /// Takes a frame of the library's, which is at work.
    private func receive(_ bytes: UnsafeRawPointer, _ length: Int) {
        var frame = unsafe MutableRawSpan(_unsafeStart: UnsafeMutableRawPointer(mutating: bytes), byteCount: length)
        sink.lockShared()
        turn.lock()
        switch gateway.fromStack(&frame, now: now) {
        case .pass: append(frame.bytes)
        case .drop(let reason): drop(reason)
        default: break
        }
        turn.unlock()
        sink.unlock()
    }

    // MARK: Frames, by who has the turn

    /// Handles a frame of a guest's, behind its virtio header.
    private func handle(_ bytes: inout MutableRawSpan) {
        guard bytes.byteCount > VirtioNetHeader.length + 14, let offload = VirtioNetHeader(parsing: bytes.bytes) else {
            return drop(.malformed)
        }
        // Of TCP nobody needs the checksum, where it is not there yet; what goes to the library must have it.
        let isTCP = offload.flags.contains(.needsChecksum) && offload.checksumOffset == 16
        if offload.segmentation == .udp { return cut(bytes.bytes.from(VirtioNetHeader.length), offload) }
        if !isTCP && !bytes.completeChecksum(offload, from: VirtioNetHeader.length) { return drop(.malformed) }
        judge(bytes.bytes.from(VirtioNetHeader.length), isComplete: !isTCP)
    }

    /// Handles a super-frame of UDP, piece by piece.
    private func cut(_ frame: RawSpan, _ offload: VirtioNetHeader) {
        guard var segmenter = Segmenter(frame, offload) else { return drop(.malformed) }
        var header = [UInt8](repeating: 0, count: Segmenter.maximumHeaderLength)
        while let segment = header.withMutableRawSpan({ segmenter.next(frame, header: &$0) }) {
            let whole =
                header[0..<segment.headerLength]
                + frame.extracting(segment.payloadOffset..<segment.payloadOffset + segment.payloadLength).copied()
            judge(Array(whole).rawSpan, isComplete: true)
        }
    }

    private func judge(_ frame: RawSpan, isComplete: Bool) {
        // A priority means nothing here: a kernel would take such tags out.
        if let plain = LinkHeader.withoutPriorityTags(frame) { return judge(plain.rawSpan, isComplete: isComplete) }
        switch gateway.fromGuest(frame, isComplete: isComplete, now: now) {
        case .pass: inject(frame)
        case .passInstead(let whole): inject(whole.rawSpan)
        case .tcp(let arrival): receive(frame, arrival)
        case .tcpInstead(let arrival, let whole): receive(whole.rawSpan, arrival)
        case .done: break
        case .drop(let reason): drop(reason)
        }
    }

    private func receive(_ frame: RawSpan, _ arrival: UserGateway.TCPArrival) {
        guard !relay.receive(frame, arrival, &gateway) else { return }
        _ = arrival.key.isIPv6 ? gateway.refuse6(frame, now: now) : gateway.refuse(frame, now: now)
        drop(.refused)
    }

    /// Hands a frame to the library.
    private func inject(_ frame: RawSpan) { if !toLibrary.append(frame) { drop(.queueFull) } }

    /// Sends on what the gateway itself has to say, and what else there is.
    private func flush() {
        for frame in gateway.toStack { inject(frame.rawSpan) }
        gateway.toStack.removeAll()
        for frame in gateway.toGuests { append(frame.rawSpan) }
        gateway.toGuests.removeAll()
        output.send()
    }

    private func append(_ frame: RawSpan) { output.append(length: frame.byteCount) { $0.put(frame, at: 0) } }

    private func drop(_ reason: UserDrop) { drops.withLock { $0[reason.rawValue] += 1 } }
}
