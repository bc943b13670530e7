// SPDX-License-Identifier: Apache-2.0
import CPlatform
import FrameIO
import Platform
import Timing
import Wire

// How NAT and DNS terminator appear to the switch: as polled devices with a ring for the frames of guests.

extension UserNAT {
    /// For a port of the switch. Not to be used after `stop`.
    package var device: FrameDevice {
        unsafe FrameDevice(
            context: Unmanaged.passUnretained(self).toOpaque(),
            send: { context, frames, stride, count in
                unsafe Unmanaged<UserNAT>.fromOpaque(context!)._withUnsafeGuaranteedRef {
                    unsafe $0.fromGuests.append(frames!, stride: Int(stride), count: Int(count))
                }
            },
            sendPieces: { context, pieces, count in
                unsafe Unmanaged<UserNAT>.fromOpaque(context!)._withUnsafeGuaranteedRef {
                    let frame = unsafe UnsafeBufferPointer(start: pieces, count: Int(count))
                    let length = unsafe frame.reduce(0) { unsafe $0 + $1.iov_len }
                    return unsafe $0.fromGuests.append(frame, length: length) ? 0 : -Errno.noBuffers
                }
            },
            poll: { context, isReadable in
                unsafe Unmanaged<UserNAT>.fromOpaque(context!)._withUnsafeGuaranteedRef {
                    $0.poll(isReadable: isReadable != 0).deadline
                }
            },
            headerLength: VirtioNetHeader.length, maximumGSOFrame: FrameBatch.maximumFrameLength)
    }
}

extension DNSTCPTerminator {
    /// For a port of the switch, while the switch forwards.
    package var device: FrameDevice {
        unsafe FrameDevice(
            context: Unmanaged.passUnretained(self).toOpaque(),
            send: { context, frames, stride, count in
                unsafe Unmanaged<DNSTCPTerminator>.fromOpaque(context!)._withUnsafeGuaranteedRef {
                    unsafe $0.fromGuests.append(frames!, stride: Int(stride), count: Int(count))
                }
            },
            poll: { context, isReadable in
                unsafe Unmanaged<DNSTCPTerminator>.fromOpaque(context!)._withUnsafeGuaranteedRef {
                    $0.poll(isReadable: isReadable != 0).deadline
                }
            },
            headerLength: VirtioNetHeader.length, maximumGSOFrame: FrameBatch.maximumFrameLength)
    }
}

extension Instant {
    /// Nanoseconds of the clock, and `UINT64_MAX` for never, as the device's function returns it.
    fileprivate var deadline: UInt64 { self == .distantFuture ? .max : UInt64(max(0, nanoseconds)) }
}
