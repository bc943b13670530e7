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
    /// Sends one frame that begins with a virtio header. Returns whether the device took it.
    func send(_ frame: [UInt8]) -> Bool {
        var frame = frame
        return unsafe frame.withUnsafeMutableBytes { bytes in
            var piece = unsafe iovec(iov_base: bytes.baseAddress, iov_len: bytes.count)
            return unsafe send(&piece, stride: 1, 1) == 1
        }
    }
}

/// Records frames for guests, each with its virtio header.
final class FrameRecorder: FrameInjector {
    private let frames = Mutex<[[UInt8]]>([])
    /// The switch's lock; exclusive here, so that a test can keep other threads out.
    private let mutex = Lock()
    /// Called for each batch.
    let hook = Mutex<(@Sendable () -> Void)?>(nil)

    func lockShared() { mutex.lock() }

    func unlock() { mutex.unlock() }

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

    /// Returns the port at which a hardware address was seen.
    let port = Mutex<(@Sendable (MACAddress) -> UInt16)?>(nil)

    func origin(of hardware: MACAddress) -> FrameOrigin? {
        port.withLock { $0 }.map { FrameOrigin(port: $0(hardware), isShared: false) }
    }

    /// Removes and returns the first frame; nil if there is none.
    func take() -> [UInt8]? { frames.withLock { $0.isEmpty ? nil : $0.removeFirst() } }

    /// Removes and returns the first frame, without its virtio header and with its checksum completed; nil if there is
    /// none.
    func takeComplete() -> [UInt8]? {
        guard var frame = take(), let offload = VirtioNetHeader(parsing: frame.rawSpan),
            frame.withMutableRawSpan({ $0.completeChecksum(offload, from: VirtioNetHeader.length) })
        else { return nil }
        return Array(frame[VirtioNetHeader.length...])
    }
}

/// The NAT's port, used as the forwarding workers use it.
struct NATPort {
    let recorder: FrameRecorder
    let device: FrameDevice

    /// Sends one frame that begins with a virtio header, and polls. Returns whether the device took it.
    func send(_ frame: [UInt8]) -> Bool {
        recorder.lockShared()
        defer { recorder.unlock() }
        let isTaken = device.send(frame)
        _ = device.poll(isReadable: false)
        return isTaken
    }

    /// Returns the first frame for a guest, after a poll if there is none; nil if there is still none.
    func take() -> [UInt8]? {
        if let frame = recorder.take() { return frame }
        recorder.lockShared()
        defer { recorder.unlock() }
        _ = device.poll(isReadable: true)
        return recorder.take()
    }
}
