// SPDX-License-Identifier: Apache-2.0
import CPlatform
import FrameIO
import Platform
import Switching

#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// A device without virtio headers that takes no GSO frames, such as a vmnet interface without offload. Records what is
/// sent to it.
final class PlainTestDevice: Sendable {
    private let sent = Mutex<[[UInt8]]>([])
    private let wakeup: Wakeup

    init() throws { wakeup = try Wakeup() }

    /// The frames that were sent since the last call.
    func takeFrames() -> [[UInt8]] {
        sent.withLock { frames in
            defer { frames = [] }
            return frames
        }
    }

    /// The device as a port, which must not outlive it.
    func configuration(maximumFrame: Int) throws -> PortConfiguration {
        var configuration = PortConfiguration(
            name: "plain device", kind: .device, role: .uplink,
            descriptor: try wakeup.descriptor.duplicate().release(), maximumFrame: maximumFrame)
        configuration.device = unsafe FrameDevice(
            context: Unmanaged.passUnretained(self).toOpaque(), receive: { _, _, _ in 0 },
            send: { context, pieces, stride, count in
                let device = unsafe Unmanaged<PlainTestDevice>.fromOpaque(context!).takeUnretainedValue()
                for index in 0..<Int(count) {
                    let piece = unsafe pieces![index * Int(stride)]
                    let bytes = unsafe [UInt8](UnsafeRawBufferPointer(start: piece.iov_base, count: piece.iov_len))
                    device.sent.withLock { $0.append(bytes) }
                }
                return count
            }, signal: wakeup.descriptor.raw, headerLength: 0, maximumGSOFrame: 0, mtu: 1500)
        return configuration
    }
}
