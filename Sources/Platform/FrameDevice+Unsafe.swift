// SPDX-License-Identifier: Apache-2.0
import CPlatform
import Frames

#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// A source and sink of plain frames that has no descriptor: functions of C, which move many frames in a call and never wait.
/// Whoever made it keeps it alive for as long as a port uses it.
@safe
@usableFromInline
package struct FrameDevice: @unchecked Sendable {
    /// Fills buffers: `iov_len` is the room, and the frame's length afterwards. Returns how many, or a negative errno.
    package typealias Receive = @convention(c) (UnsafeMutableRawPointer?, UnsafeMutablePointer<iovec>?, Int32) -> Int32
    /// Takes frames, each in one piece, at every `stride`th element. Returns how many, or a negative errno if none.
    package typealias Send = @convention(c) (UnsafeMutableRawPointer?, UnsafePointer<iovec>?, Int32, Int32) -> Int32

    /// Takes one frame that lies in several pieces. Returns 0 or a negative errno.
    package typealias SendPieces = @convention(c) (UnsafeMutableRawPointer?, UnsafePointer<iovec>?, Int32) -> Int32

    private let context: UnsafeMutableRawPointer
    private let receiver: Receive
    private let sender: Send
    private let piecesSender: SendPieces?
    /// Where a byte (or a count) makes the port's descriptor readable.
    private let signal: Int32
    /// Bytes of the virtio header in front of every frame: 0 or 12.
    package let headerLength: Int
    /// Bytes of the longest super-frame; 0 where there are none.
    package let maximumSuperFrame: Int
    /// Bytes of the longest IP packet that is no super-frame. Where there is no header to say so, one that is longer is a super-frame.
    package let mtu: Int
    /// Whether receiving and sending must not overlap.
    package let takesOneCallAtATime: Bool

    /// - Parameters:
    ///   - context: handed to the functions.
    ///   - signal: the writing end of the port's wake-up.
    @unsafe
    package init(
        context: UnsafeMutableRawPointer, receive: @escaping Receive, send: @escaping Send, sendPieces: SendPieces? = nil, signal: Int32, headerLength: Int = 0, maximumSuperFrame: Int = 0, mtu: Int = 1500,
        takesOneCallAtATime: Bool = false
    ) {
        self.headerLength = headerLength
        self.maximumSuperFrame = maximumSuperFrame
        self.mtu = mtu
        self.takesOneCallAtATime = takesOneCallAtATime
        unsafe self.context = context
        unsafe receiver = receive
        unsafe sender = send
        unsafe piecesSender = sendPieces
        self.signal = signal
    }

    func receive(_ frames: UnsafeMutablePointer<iovec>, _ count: Int) -> Int { Int(unsafe receiver(context, frames, Int32(count))) }

    func send(_ frames: UnsafePointer<iovec>, stride: Int, _ count: Int) -> Int { Int(unsafe sender(context, frames, Int32(stride), Int32(count))) }

    /// Whether segments of TCP that follow each other are to be put together for it.
    package var takesPieces: Bool { unsafe piecesSender != nil }

    func sendPieces(_ pieces: UnsafePointer<iovec>, _ count: Int) -> Int32 { unsafe -(piecesSender?(context, pieces, Int32(count)) ?? -Errno.notSupported) }

    /// Makes the port's turn come again: there is more to read, of which nobody will tell.
    package func comeBack() { platform_wakeup_signal(signal) }
}
