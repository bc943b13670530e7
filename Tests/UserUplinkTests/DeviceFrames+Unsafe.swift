// SPDX-License-Identifier: Apache-2.0
import CPlatform
import Platform
import Wire

@testable import FrameIO

#if canImport(Darwin)
    import Darwin
#else
    import Glibc
#endif

extension FrameDevice {
    /// Hands over a frame with its virtio header. Returns whether it was taken.
    func give(_ frame: [UInt8]) -> Bool {
        var frame = frame
        return unsafe frame.withUnsafeMutableBytes { bytes in
            var piece = unsafe iovec(iov_base: bytes.baseAddress, iov_len: bytes.count)
            return unsafe send(&piece, stride: 1, 1) == 1
        }
    }
}

/// A guest's ears: takes what guests are sent, each frame behind its virtio header.
final class Ears: FrameInjector {
    private let frames = Mutex<[[UInt8]]>([])
    /// Held by who is inside, so that a test can keep others out.
    private let listener = Lock()
    /// Called when frames come.
    let hook = Mutex<(@Sendable () -> Void)?>(nil)

    func lockShared() { listener.lock() }

    func unlock() { listener.unlock() }

    var isAttached: Bool { true }

    func inject(_ batch: inout FrameBatch) {
        hook.withLock { $0 }?()
        for index in 0..<batch.count {
            let frame = batch[index]
            var whole = [UInt8](repeating: 0, count: VirtioNetHeader.length)
            whole.withMutableRawSpan { frame.offload.emit(into: &$0) }
            let bytes = whole + batch.bytes(of: frame).copied()
            frames.withLock { $0.append(bytes) }
        }
    }

    /// At which port a hardware address was seen.
    let port = Mutex<(@Sendable (MACAddress) -> UInt16)?>(nil)

    func origin(of hardware: MACAddress) -> FrameOrigin? {
        port.withLock { $0 }.map { FrameOrigin(port: $0(hardware), isShared: false) }
    }

    /// Takes the first frame; nil if there is none.
    func take() -> [UInt8]? { frames.withLock { $0.isEmpty ? nil : $0.removeFirst() } }
}

/// The NAT as a forwarder has it.
struct NetworkPort {
    let ears: Ears
    let device: FrameDevice

    /// Hands over a frame with its virtio header. Returns whether it was taken.
    func give(_ frame: [UInt8]) -> Bool {
        ears.lockShared()
        defer { ears.unlock() }
        let isTaken = device.give(frame)
        _ = device.poll(isReadable: false)
        return isTaken
    }

    /// Gives it a turn. Returns the first frame for a guest; nil if there is none.
    func take() -> [UInt8]? {
        if let frame = ears.take() { return frame }
        ears.lockShared()
        defer { ears.unlock() }
        _ = device.poll(isReadable: true)
        return ears.take()
    }
}
