// SPDX-License-Identifier: Apache-2.0
import CPlatform
import Platform
import Wire

#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// The port by which a sender's frames come in.
package struct FrameOrigin: Equatable, Sendable {
    package let port: UInt16
    /// Further senders may be behind it.
    package let isShared: Bool

    package init(port: UInt16, isShared: Bool) {
        self.port = port
        self.isShared = isShared
    }
}

/// Where a device that sends on by itself what it has for machines does so.
package protocol FrameSink: AnyObject, Sendable {
    /// Comes in beside the forwarder's workers: who changes ports waits until `leave`. For a thread that is none of
    /// them, and is not inside yet.
    func enter()
    func leave()
    /// Whether there is somebody to send to. From inside.
    var isAttached: Bool { get }
    /// Sends frames on as if they had come in at the device's port; nowhere, before it is attached and afterwards. From
    /// inside, one thread at a time.
    /// - Parameter frames: 64 at most; not to be read afterwards, for ports may have changed them in place.
    func forward(_ frames: inout FrameBatch)
    /// Where the sender with this hardware address was last seen; nil if that is not known. From inside.
    func origin(of hardware: MACAddress) -> FrameOrigin?
}

/// A source and sink of frames that has no descriptor: functions of C, which move many frames in a call and never wait.
/// One with turns is not asked for frames, but sends them on by itself (`FrameSink`). Whoever made it keeps it alive
/// for as long as a port uses it.
@safe
@usableFromInline
package struct FrameDevice: @unchecked Sendable {
    /// Fills buffers: `iov_len` is the room, and the frame's length afterwards. Returns how many, or a negative errno.
    package typealias Receive = @convention(c) (UnsafeMutableRawPointer?, UnsafeMutablePointer<iovec>?, Int32) -> Int32
    /// Takes frames, each in one piece, at every `stride`th element. Returns how many, or a negative errno if none.
    package typealias Send = @convention(c) (UnsafeMutableRawPointer?, UnsafePointer<iovec>?, Int32, Int32) -> Int32

    /// Takes one frame that lies in several pieces. Returns 0 or a negative errno.
    package typealias SendPieces = @convention(c) (UnsafeMutableRawPointer?, UnsafePointer<iovec>?, Int32) -> Int32

    /// Does what there is to do, after it was attached, frames were sent or the port's descriptor became readable,
    /// which the argument tells, or when it is time. Returns when it is next, in nanoseconds of the clock; `UINT64_MAX`
    /// for never.
    package typealias Turn = @convention(c) (UnsafeMutableRawPointer?, Int32) -> UInt64

    private let context: UnsafeMutableRawPointer
    private let turnTaker: Turn?
    private let receiver: Receive?
    private let sender: Send
    private let piecesSender: SendPieces?
    /// Where a byte (or a count) makes the port's descriptor readable.
    private let signal: Int32
    /// Bytes of the virtio header in front of every frame: 0 or 12.
    package let headerLength: Int
    /// Bytes of the longest super-frame; 0 where there are none.
    package let maximumSuperFrame: Int
    /// Bytes of the longest IP packet that is no super-frame. Where there is no header to say so, one that is longer is
    /// a super-frame.
    package let mtu: Int
    /// Whether receiving and sending must not overlap.
    package let takesOneCallAtATime: Bool

    /// - Parameters:
    ///   - context: handed to the functions.
    ///   - receive: nil for a device with turns.
    ///   - signal: the writing end of the port's wake-up; -1 for a device with turns.
    @unsafe
    package init(
        context: UnsafeMutableRawPointer, receive: Receive? = nil, send: @escaping Send, sendPieces: SendPieces? = nil,
        turn: Turn? = nil, signal: Int32 = -1, headerLength: Int = 0, maximumSuperFrame: Int = 0, mtu: Int = 1500,
        takesOneCallAtATime: Bool = false
    ) {
        self.headerLength = headerLength
        self.maximumSuperFrame = maximumSuperFrame
        self.mtu = mtu
        self.takesOneCallAtATime = takesOneCallAtATime
        unsafe self.context = context
        unsafe receiver = receive
        unsafe turnTaker = turn
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

    /// Whether segments of TCP that follow each other are to be put together for it.
    package var takesPieces: Bool { unsafe piecesSender != nil }

    func sendPieces(_ pieces: UnsafePointer<iovec>, _ count: Int) -> Int32 {
        unsafe -(piecesSender?(context, pieces, Int32(count)) ?? -Errno.notSupported)
    }

    package var takesTurns: Bool { unsafe turnTaker != nil }

    package func turn(isReadable: Bool) -> UInt64 { unsafe turnTaker?(context, isReadable ? 1 : 0) ?? .max }

    /// Makes the port's turn come again: there is more to read, of which nobody will tell.
    package func comeBack() { platform_wakeup_signal(signal) }
}
