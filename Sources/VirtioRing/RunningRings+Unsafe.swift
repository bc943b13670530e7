// SPDX-License-Identifier: Apache-2.0
import CLibrary
import CPlatform
import Platform
import Wire

/// One queue pair while it runs.
@safe
struct QueuePair {
    /// What the guest receives by; nil while that does not run.
    var receiving: GuestRing?
    /// What the guest sends by; nil while that does not run.
    var transmitting: GuestRing?
    /// The eventfds for interrupts; -1 for none.
    var receiveCall: Int32 = -1
    var transmitCall: Int32 = -1
    /// What the guest sends is discarded.
    var discardsFrames = false
}

/// The data path of a front end: the rings that run, with what a worker needs to copy frames from and to them. Used
/// with the device's lock. It is one value, because each access to a property of the device's class is checked for
/// exclusivity, and that would take a third of the time of a short frame.
@safe
struct RunningRings: ~Copyable {
    /// Bytes of frames that are enough for a batch: less than what a port's queue holds.
    private static let batchBytes = 256 * 1024

    /// How many entries ahead buffers are loaded into the cache.
    private static let prefetchDistance = 4

    private let pairs: UnsafeMutablePointer<QueuePair>
    /// Pairs from the first one to the last one that runs; at least one.
    private var pairCount = 1
    /// The pair that frames were taken from last.
    private var lastPair = 0
    /// For each `FlowHash`: the pair by which the guest has sent such a flow last, so that it receives the flow there
    /// (virtio 1.2 section 5.1.6.5.6.1).
    private let steering: UnsafeMutablePointer<UInt8>

    /// The guest's memory, of which the rings are parts.
    var memory: GuestMemory?
    /// Where the rings mark the pages that they write.
    var log: DirtyLog?
    /// What the guest has negotiated.
    var features = VirtioFeatures() {
        didSet {
            headerLength =
                features.isDisjoint(with: [.version1, .mergeableBuffers])
                ? VirtioNetHeader.shortLength : VirtioNetHeader.length
        }
    }
    /// Why the rings cannot be used any more; nil if they can.
    private(set) var fault: String?
    private var headerLength = VirtioNetHeader.length
    private var writer = FrameWriter()
    private var pieces = PieceList()
    private var signaller = platform_vhost_signaller()

    init() {
        unsafe pairs = .allocate(capacity: VhostDevice.maximumPairs)
        unsafe pairs.initialize(repeating: QueuePair(), count: VhostDevice.maximumPairs)
        unsafe steering = .allocate(capacity: FlowHash.count)
        unsafe steering.initialize(repeating: 0, count: FlowHash.count)
        unsafe platform_vhost_open_signaller(&signaller)
    }

    deinit {
        var signaller = signaller
        unsafe platform_vhost_close_signaller(&signaller)
        unsafe pairs.deallocate()
        unsafe steering.deallocate()
    }

    // MARK: Control

    /// Stops all rings.
    mutating func stop() {
        for index in 0..<VhostDevice.maximumPairs { unsafe (pairs + index).pointee = QueuePair() }
        pairCount = 1
        lastPair = 0
    }

    /// Where a ring has come to (`RingPlace.base`); nil if the ring does not run.
    func base(of ring: Int) -> UInt32? {
        let pair = unsafe pairs[ring / 2]
        return ring % 2 == VhostDevice.receiveRing ? pair.receiving?.base : pair.transmitting?.base
    }

    /// Sets the eventfd of a ring's interrupts; -1 for none.
    mutating func setCall(of ring: Int, _ call: Int32) {
        if ring % 2 == VhostDevice.receiveRing {
            unsafe pairs[ring / 2].receiveCall = call
        } else {
            unsafe pairs[ring / 2].transmitCall = call
        }
    }

    /// Starts a ring. The guest receives nothing by one that is not enabled, and what it sends by it is discarded.
    mutating func start(_ index: Int, _ ring: GuestRing, isEnabled: Bool) {
        if index % 2 == VhostDevice.receiveRing {
            guard isEnabled else { return }
            unsafe pairs[index / 2].receiving = ring
            _ = unsafe pairs[index / 2].receiving!.announce(false)
        } else {
            unsafe pairs[index / 2].transmitting = ring
            unsafe pairs[index / 2].discardsFrames = !isEnabled
        }
        pairCount = max(pairCount, index / 2 + 1)
    }

    private mutating func fail(_ reason: String) -> Int32 {
        if fault == nil { fault = reason }
        stop()
        return -Errno.badMessage
    }

    /// Interrupts the guest, without waiting for its front end.
    mutating func interrupt(_ call: Int32) {
        if call >= 0 { unsafe platform_vhost_signal(&signaller, call) }
    }

    private var isLost: Bool { memory?.isLost ?? false || log?.isLost ?? false }

    // MARK: From the guest

    private enum Taken {
        case frames
        case impossibleIndex
        case impossibleChain
    }

    /// Takes up to `count` frames that the guest sends. Returns how many there were; a negative error if the rings
    /// cannot be used any more.
    mutating func take(into frames: UnsafeMutablePointer<iovec>, _ count: Int) -> Int32 {
        guard fault == nil else { return -Errno.badMessage }
        var filled = 0, bytes = 0
        for _ in 0..<pairCount where filled < count && bytes < RunningRings.batchBytes {
            lastPair = lastPair + 1 < pairCount ? lastPair + 1 : 0
            switch unsafe take(from: lastPair, into: frames, count, &filled, &bytes) {
            case .frames: break
            case .impossibleIndex: return fail("its ring has an impossible index")
            case .impossibleChain: return fail("its ring has an impossible chain")
            }
        }
        // Zeros were read instead. The guest may never announce anything again.
        if isLost { return fail("it has shortened its memory") }
        for index in 0..<pairCount where unsafe pairs[index].transmitting?.publish() == true {
            unsafe interrupt(pairs[index].transmitCall)
        }
        return Int32(filled)
    }

    /// Requests that the guest announce the next frame of each ring. Returns whether there is one already.
    mutating func announce() -> Bool {
        var hasFrames = false
        for index in 0..<pairCount where unsafe pairs[index].transmitting?.announce(true) == true { hasFrames = true }
        return hasFrames
    }

    /// Appends the frames of one ring to the first `filled` ones.
    private mutating func take(
        from pair: Int, into frames: UnsafeMutablePointer<iovec>, _ count: Int, _ filled: inout Int,
        _ bytes: inout Int
    ) -> Taken {
        guard unsafe pairs[pair].transmitting != nil else { return .frames }
        let discardsFrames = unsafe pairs[pair].discardsFrames
        var rest = count - filled
        while rest > 0 && bytes < RunningRings.batchBytes {
            guard let ready = unsafe pairs[pair].transmitting!.availableCount() else { return .impossibleIndex }
            if ready == 0 { break }
            for _ in 0..<min(ready, rest) {
                let frame = unsafe frames + filled
                unsafe pairs[pair].transmitting!.prefetch(RunningRings.prefetchDistance, isWritable: false)
                guard unsafe take(from: pair, into: frame, discardsFrames) else { return .impossibleChain }
                rest -= 1
                guard !discardsFrames else { continue }
                unsafe bytes += frame.pointee.iov_len
                filled += 1
                if pairCount > 1 { unsafe steer(frame.pointee, to: pair) }
                if bytes >= RunningRings.batchBytes { break }
            }
        }
        return .frames
    }

    /// Copies the next frame, with its header before it. Returns false if the chain is impossible.
    private mutating func take(
        from pair: Int, into frame: UnsafeMutablePointer<iovec>, _ discardsFrames: Bool
    ) -> Bool {
        pieces.removeAll()
        guard let chain = unsafe pairs[pair].transmitting!.take(isWritable: false, into: &pieces) else { return false }
        unsafe pairs[pair].transmitting!.complete(chain, length: 0)
        if discardsFrames { return true }
        let body = chain.length - headerLength, room = unsafe frame.pointee.iov_len - VirtioNetHeader.length
        guard body > 0, body <= room else {
            // The worker counts it as no frame.
            unsafe frame.pointee.iov_len = 0
            return true
        }
        let start = unsafe frame.pointee.iov_base!
        unsafe pieces.read(into: start, headerLength)
        unsafe pieces.read(into: start + VirtioNetHeader.length, body)
        unsafe frame.pointee.iov_len = body + VirtioNetHeader.length
        return true
    }

    // MARK: To the guest

    /// Puts frames into the guest's buffers. Returns how many fitted; a negative error if not even the first one did.
    mutating func put(_ frames: UnsafePointer<iovec>, stride: Int, _ count: Int) -> Int32 {
        guard unsafe pairs[0].receiving != nil else { return fault == nil ? -Errno.networkDown : -Errno.badMessage }
        var sent = 0, last = 0
        var outcome = FrameWriter.Outcome.written
        while sent < count {
            let frame = unsafe frames[sent * stride]
            last = pairCount > 1 ? unsafe pair(of: frame) : 0
            outcome = unsafe writer.write(frame, to: &pairs[last].receiving!, features, headerLength: headerLength)
            // A guest that has filled its ring meanwhile may have announced that before the request.
            if outcome == .full, unsafe pairs[last].receiving!.announce(true) {
                outcome = unsafe writer.write(frame, to: &pairs[last].receiving!, features, headerLength: headerLength)
            }
            guard outcome == .written else { break }
            sent += 1
        }
        if isLost { return fail("it has shortened its memory") }
        if outcome == .broken { return fail("its ring has an impossible entry") }
        for index in 0..<pairCount where unsafe pairs[index].receiving?.unpublished ?? 0 > 0 {
            if outcome != .full || index != last { _ = unsafe pairs[index].receiving!.announce(false) }
            if unsafe pairs[index].receiving!.publish() { unsafe interrupt(pairs[index].receiveCall) }
        }
        if sent > 0 { return Int32(sent) }
        return outcome == .tooLong ? -Errno.messageTooLong : -Errno.again
    }

    // MARK: Flows

    private static func hash(of frame: iovec) -> Int {
        guard let start = unsafe frame.iov_base, unsafe frame.iov_len > VirtioNetHeader.length else { return 0 }
        let bytes = unsafe RawSpan(
            _unsafeStart: start + VirtioNetHeader.length, byteCount: frame.iov_len - VirtioNetHeader.length)
        return FlowHash.symmetric(bytes)
    }

    private mutating func steer(_ frame: iovec, to pair: Int) {
        unsafe steering[RunningRings.hash(of: frame)] = UInt8(pair)
    }

    /// The pair for a frame to the guest: the first one if the flow's own does not run.
    private func pair(of frame: iovec) -> Int {
        let pair = unsafe Int(steering[RunningRings.hash(of: frame)])
        return unsafe pair < pairCount && pairs[pair].receiving != nil ? pair : 0
    }
}
