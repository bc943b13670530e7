// SPDX-License-Identifier: Apache-2.0
import CLibrary
import CPlatform
import Platform
import Wire

/// The data path of a front end: the rings that run, with what a worker needs to copy frames from and to them. Used
/// with the device's lock. It is one value, because each access to a property of the device's class is checked for
/// exclusivity, and that would take a third of the time of a short frame.
@safe
struct RunningRings: ~Copyable {
    /// Bytes of frames that are enough for a batch: less than what a port's queue holds.
    private static let batchBytes = 256 * 1024

    /// What the guest receives by; nil while that does not run.
    private(set) var receiving: SplitRing?
    /// What the guest sends by; nil while that does not run.
    private(set) var transmitting: SplitRing?
    /// The guest's memory, of which the rings are parts.
    var memory: GuestMemory?
    /// The eventfds for interrupts; -1 for none.
    var receiveCall: Int32 = -1
    var transmitCall: Int32 = -1
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
    private var discardsFrames = false
    private var writer = FrameWriter()
    private var pieces = PieceList()
    private var signaller = platform_vhost_signaller()

    init() { unsafe platform_vhost_open_signaller(&signaller) }

    deinit {
        var signaller = signaller
        unsafe platform_vhost_close_signaller(&signaller)
    }

    /// Stops both rings.
    mutating func stop() {
        receiving = nil
        transmitting = nil
    }

    /// Starts the ring that the guest receives by.
    mutating func receive(by ring: SplitRing) {
        receiving = ring
        _ = receiving!.announce(false)
    }

    /// Starts the ring that the guest sends by. If it is not enabled, its frames are discarded.
    mutating func transmit(by ring: SplitRing, isEnabled: Bool) {
        transmitting = ring
        discardsFrames = !isEnabled
    }

    private mutating func fail(_ reason: String) -> Int32 {
        if fault == nil { fault = reason }
        stop()
        return -Errno.badMessage
    }

    /// Interrupts the guest, without waiting for its front end.
    mutating func interrupt(_ call: Int32) { unsafe platform_vhost_signal(&signaller, call) }

    private var isLost: Bool { memory?.isLost ?? false }

    // MARK: From the guest

    /// Takes up to `count` frames that the guest sends. Returns how many there were; a negative error if the rings
    /// cannot be used any more.
    mutating func take(into frames: UnsafeMutablePointer<iovec>, _ count: Int) -> Int32 {
        guard transmitting != nil else { return fault == nil ? 0 : -Errno.badMessage }
        var filled = 0, taken = 0, bytes = 0
        while taken < count && bytes < RunningRings.batchBytes {
            guard let ready = transmitting!.availableCount() else { return fail("its ring has an impossible index") }
            if ready == 0 { break }
            for _ in 0..<min(ready, count - taken) {
                guard unsafe take(into: frames + filled) else { return fail("its ring has an impossible chain") }
                taken += 1
                guard !discardsFrames else { continue }
                unsafe bytes += frames[filled].iov_len
                filled += 1
                if bytes >= RunningRings.batchBytes { break }
            }
        }
        // Zeros were read instead. The guest may never announce anything again.
        if isLost { return fail("it has shortened its memory") }
        if transmitting!.publish(), transmitCall >= 0 { interrupt(transmitCall) }
        return Int32(filled)
    }

    /// Asks the guest to announce the next frame. Returns whether there is one already.
    mutating func announce() -> Bool { transmitting?.announce(true) ?? false }

    /// Copies the next frame, with its header in front. Returns false if the chain is impossible.
    private mutating func take(into frame: UnsafeMutablePointer<iovec>) -> Bool {
        pieces.removeAll()
        guard let head = transmitting!.take(),
            let length = transmitting!.collect(head, isWritable: false, into: &pieces)
        else { return false }
        transmitting!.complete(head, length: 0)
        if discardsFrames { return true }
        let body = length - headerLength, room = unsafe frame.pointee.iov_len - VirtioNetHeader.length
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
        guard receiving != nil else { return fault == nil ? -Errno.networkDown : -Errno.badMessage }
        var sent = 0
        var outcome = FrameWriter.Outcome.written
        while sent < count {
            outcome = unsafe writer.write(
                frames[sent * stride], to: &receiving!, features, headerLength: headerLength)
            // A guest that has filled its ring meanwhile may have announced that before it was asked to.
            if outcome == .full, receiving!.announce(true) {
                outcome = unsafe writer.write(
                    frames[sent * stride], to: &receiving!, features, headerLength: headerLength)
            }
            guard outcome == .written else { break }
            sent += 1
        }
        if isLost { return fail("it has shortened its memory") }
        if outcome == .broken { return fail("its ring has an impossible entry") }
        if outcome != .full && sent > 0 { _ = receiving!.announce(false) }
        if receiving!.publish(), receiveCall >= 0 { interrupt(receiveCall) }
        if sent > 0 { return Int32(sent) }
        return outcome == .tooLong ? -Errno.messageTooLong : -Errno.again
    }
}
