// SPDX-License-Identifier: Apache-2.0
import CPlatform
import FrameIO
import Timing
@testable import Platform

#if canImport(Darwin)
    import Darwin
#else
    import Glibc
#endif

/// A polled device that records its polls.
final class PolledTestDevice: Sendable {
    struct State {
        /// Frames since the last poll.
        var frames = 0
        /// For each poll, the number of frames before it, and whether the descriptor was readable.
        var polls: [Poll] = []
        /// Frames that the device accepts.
        var room = Int.max
        /// The result of the next poll.
        var deadline = Instant.distantFuture
    }

    struct Poll: Equatable {
        var frames: Int
        var isReadable: Bool
    }

    let state = Mutex(State())
    let wakeup: Wakeup

    init() throws { wakeup = try Wakeup() }

    var polls: [Poll] { state.withLock { $0.polls } }

    /// The polls since the last call.
    func takePolls() -> [Poll] {
        state.withLock { state in
            defer { state.polls = [] }
            return state.polls
        }
    }

    /// Lives no longer than this does.
    var device: FrameDevice {
        unsafe FrameDevice(
            context: Unmanaged.passUnretained(self).toOpaque(),
            send: { context, _, _, count in
                unsafe Unmanaged<PolledTestDevice>.fromOpaque(context!)._withUnsafeGuaranteedRef { device in
                    device.state.withLock { state in
                        let taken = min(Int(count), state.room)
                        state.room -= taken
                        state.frames += taken
                        return taken == 0 ? -Errno.noBuffers : Int32(taken)
                    }
                }
            },
            poll: { context, isReadable in
                unsafe Unmanaged<PolledTestDevice>.fromOpaque(context!)._withUnsafeGuaranteedRef { device in
                    device.state.withLock { state in
                        state.polls.append(Poll(frames: state.frames, isReadable: isReadable != 0))
                        state.frames = 0
                        state.room = .max
                        defer { state.deadline = .distantFuture }
                        return UInt64(bitPattern: state.deadline.nanoseconds)
                    }
                }
            })
    }
}
