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

/// A source and sink of frames that has no descriptor: C functions, which move many frames in a call and never block.
///
/// A device with a poll function is not read: it injects its frames (`FrameInjector`) while it is polled. The creator
/// keeps `context` alive as long as a port uses the device.
@safe
@usableFromInline
package struct FrameDevice: @unchecked Sendable {
    /// Fills buffers: `iov_len` is the room, and the frame's length afterwards. Returns how many, or a negative errno.
    package typealias Receive = @convention(c) (UnsafeMutableRawPointer?, UnsafeMutablePointer<iovec>?, Int32) -> Int32
    /// Takes frames, each in one piece, at every `stride`th element. Returns how many, or a negative errno if none.
    package typealias Send = @convention(c) (UnsafeMutableRawPointer?, UnsafePointer<iovec>?, Int32, Int32) -> Int32

    /// Takes one frame that lies in several pieces. Returns 0 or a negative errno.
    package typealias SendPieces = @convention(c) (UnsafeMutableRawPointer?, UnsafePointer<iovec>?, Int32) -> Int32

    /// Does the device's work, after it was attached, frames were sent or the port's descriptor became readable (the
    /// argument), or at the time that it has returned. Returns when it is to be polled next, in nanoseconds of the
    /// clock; `UINT64_MAX` for never.
    package typealias Poll = @convention(c) (UnsafeMutableRawPointer?, Int32) -> UInt64

    private let context: UnsafeMutableRawPointer
    private let poller: Poll?
    private let receiver: Receive?
    private let sender: Send
    private let piecesSender: SendPieces?
    /// Where a byte (or a count) makes the port's descriptor readable.
    private let signal: Int32
    /// Bytes of the virtio header in front of every frame: 0 or 12.
    package let headerLength: Int
    /// Bytes of the longest GSO frame; 0 if the device takes none.
    package let maximumGSOFrame: Int
    /// Bytes of the longest IP packet that needs no segmentation. Without a virtio header, a longer one is a GSO frame.
    package let mtu: Int
    /// Whether receiving and sending must not overlap.
    package let serializesCalls: Bool

    /// - Parameters:
    ///   - context: handed to the functions.
    ///   - receive: nil for a polled device.
    ///   - signal: the writing end of the port's wake-up; -1 for a polled device.
    @unsafe
    package init(
        context: UnsafeMutableRawPointer, receive: Receive? = nil, send: @escaping Send, sendPieces: SendPieces? = nil,
        poll: Poll? = nil, signal: Int32 = -1, headerLength: Int = 0, maximumGSOFrame: Int = 0, mtu: Int = 1500,
        serializesCalls: Bool = false
    ) {
        self.headerLength = headerLength
        self.maximumGSOFrame = maximumGSOFrame
        self.mtu = mtu
        self.serializesCalls = serializesCalls
        unsafe self.context = context
        unsafe receiver = receive
        unsafe poller = poll
        unsafe sender = send
        unsafe piecesSender = sendPieces
        self.signal = signal
    }

    func receive(_ frames: UnsafeMutablePointer<iovec>, _ count: Int) -> Int {
        Int(unsafe receiver?(context, frames, Int32(count)) ?? 0)
    }

    func send(_ frames: UnsafePointer<iovec>, stride: Int, _ count: Int) -> Int {
        Int(unsafe sender(context, frames, Int32(stride), Int32(count)))
    }

    /// Whether consecutive TCP segments are to be coalesced for the device.
    package var acceptsPieces: Bool { unsafe piecesSender != nil }

    func sendPieces(_ pieces: UnsafePointer<iovec>, _ count: Int) -> Int32 {
        unsafe -(piecesSender?(context, pieces, Int32(count)) ?? -Errno.notSupported)
    }

    /// Whether the device is polled instead of being read.
    package var isPolled: Bool { unsafe poller != nil }

    /// Polls the device. Returns when it is to be polled next.
    package func poll(isReadable: Bool) -> Instant {
        Instant(nanoseconds: Int64(clamping: unsafe poller?(context, isReadable ? 1 : 0) ?? .max))
    }

    /// Makes the port's descriptor readable again: there are more frames to receive, which the device has reported.
    package func rearm() { platform_wakeup_signal(signal) }

    /// Sends frame `index` of `batch`, behind its virtio header. Returns 0 or a positive errno.
    package func send(_ index: Int, of batch: inout FrameBatch) -> Int32 {
        batch.prependHeader(to: index, length: headerLength)
        let frame = batch[index]
        var piece = unsafe iovec(
            iov_base: batch.address(at: Int(frame.offset) - headerLength), iov_len: Int(frame.length) + headerLength)
        return unsafe sendPieces(&piece, 1)
    }
}
