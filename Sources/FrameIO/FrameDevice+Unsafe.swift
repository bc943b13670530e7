// SPDX-License-Identifier: Apache-2.0
import CPlatform
import Platform
import Timing
import Wire

#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// A source and sink of frames that has no descriptor: C functions, which move many frames in a call and never block,
/// or a polled device of this process.
///
/// Holds no reference: the creator keeps `context` or the polled device alive as long as a port uses the device.
@safe
@usableFromInline
package struct FrameDevice: @unchecked Sendable {
    /// Fills buffers: `iov_len` is the room, and the frame's length afterwards. Returns how many, or a negative errno.
    package typealias Receive = @convention(c) (UnsafeMutableRawPointer?, UnsafeMutablePointer<iovec>?, Int32) -> Int32
    /// Takes frames, each in one piece, at every `stride`th element. The stride is the third argument, the count the
    /// fourth. Returns how many, or a negative errno if none.
    package typealias Send = @convention(c) (UnsafeMutableRawPointer?, UnsafePointer<iovec>?, Int32, Int32) -> Int32

    @safe
    private struct Functions {
        let context: UnsafeMutableRawPointer
        let receive: Receive
        let send: Send
    }

    @safe
    private enum Kind {
        case functions(Functions)
        /// The inbox of a polled device, which is filled without a call through the protocol.
        case inbox(Unmanaged<SPSCFrameRing>)
    }

    private let kind: Kind
    private unowned(unsafe) let polled: (any PolledDevice)?
    /// Where a byte (or a count) makes the port's descriptor readable; -1 for a polled device.
    private let signal: Int32
    /// Whether the switch drains the port's descriptor before it receives. Otherwise the device does.
    package let drainsSignal: Bool
    /// Bytes of the virtio header before every frame: 0 or 12.
    package let headerLength: Int
    /// Bytes of the longest GSO frame; 0 if the device takes none.
    package let maximumGSOFrame: Int
    /// Bytes of the longest IP packet that needs no segmentation. Without a virtio header, a longer one is a GSO frame.
    package let mtu: Int
    /// Whether receiving and sending must not overlap.
    package let serializesCalls: Bool
    /// Whether consecutive TCP segments are to be coalesced for the device.
    package let coalescesSegments: Bool

    /// A device that consists of C functions, such as a vmnet interface.
    /// - Parameters:
    ///   - context: handed to the functions.
    ///   - signal: the writing end of the port's wake-up.
    ///   - drainsSignal: the switch drains the port's descriptor; false if `receive` does.
    @unsafe
    package init(
        context: UnsafeMutableRawPointer, receive: @escaping Receive, send: @escaping Send, signal: Int32,
        drainsSignal: Bool = true, headerLength: Int, maximumGSOFrame: Int, mtu: Int
    ) {
        unsafe kind = .functions(Functions(context: context, receive: receive, send: send))
        unsafe polled = nil
        self.signal = signal
        self.drainsSignal = drainsSignal
        self.headerLength = headerLength
        self.maximumGSOFrame = maximumGSOFrame
        self.mtu = mtu
        serializesCalls = true
        coalescesSegments = false
    }

    /// A polled device, which takes frames after a virtio header.
    package init(_ device: any PolledDevice) {
        unsafe kind = .inbox(Unmanaged.passUnretained(device.inbox))
        unsafe polled = device
        signal = -1
        drainsSignal = true
        headerLength = VirtioNetHeader.length
        maximumGSOFrame = FrameBatch.maximumFrameLength
        mtu = 1500
        serializesCalls = false
        coalescesSegments = device.coalescesSegments
    }

    /// Returns how many buffers were filled, or a negative errno. A polled device is not read.
    func receive(_ frames: UnsafeMutablePointer<iovec>, _ count: Int) -> Int {
        switch kind {
        case .functions(let functions): Int(unsafe functions.receive(functions.context, frames, Int32(count)))
        case .inbox: 0
        }
    }

    /// Returns how many frames were taken, or a negative errno if none.
    func send(_ frames: UnsafePointer<iovec>, stride: Int, _ count: Int) -> Int {
        switch kind {
        case .functions(let functions):
            Int(unsafe functions.send(functions.context, frames, Int32(stride), Int32(count)))
        case .inbox(let inbox):
            Int(unsafe inbox._withUnsafeGuaranteedRef { unsafe $0.append(frames, stride: stride, count: count) })
        }
    }

    /// Sends one frame that lies in several pieces. Returns 0 or a positive errno.
    func sendPieces(_ pieces: UnsafePointer<iovec>, _ count: Int) -> Int32 {
        guard case .inbox(let inbox) = kind else { return Errno.notSupported }
        let frame = unsafe UnsafeBufferPointer(start: pieces, count: count)
        let length = unsafe frame.reduce(0) { unsafe $0 + $1.iov_len }
        let isTaken = unsafe inbox._withUnsafeGuaranteedRef { unsafe $0.append(frame, length: length) }
        return isTaken ? 0 : Errno.noBuffers
    }

    /// Whether the device is polled instead of being read.
    package var isPolled: Bool { unsafe polled != nil }

    /// Polls the device. Returns when it is to be polled next.
    package func poll(isReadable: Bool) -> Instant { unsafe polled?.poll(isReadable: isReadable) ?? .distantFuture }

    /// Whether frames wait in the inbox of a polled device.
    package var hasWaitingFrames: Bool {
        guard case .inbox(let inbox) = kind else { return false }
        return unsafe inbox._withUnsafeGuaranteedRef { $0.hasFrames }
    }

    /// Makes the port's descriptor readable again: there are more frames to receive, which the device has reported.
    package func rearm() { platform_wakeup_signal(signal) }

    /// Sends frame `index` of `batch`, after its virtio header. Returns 0 or a positive errno.
    package func send(_ index: Int, of batch: inout FrameBatch) -> Int32 {
        batch.prependHeader(to: index, length: headerLength)
        let frame = batch[index]
        var piece = unsafe iovec(
            iov_base: batch.address(at: Int(frame.offset) - headerLength), iov_len: Int(frame.length) + headerLength)
        return unsafe sendPieces(&piece, 1)
    }
}
