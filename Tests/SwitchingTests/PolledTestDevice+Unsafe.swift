// SPDX-License-Identifier: Apache-2.0
import CPlatform
import FrameIO
@testable import Platform

#if canImport(Darwin)
    import Darwin
#else
    import Glibc
#endif

/// A device with turns that notes what happens to it.
final class PolledTestDevice: Sendable {
    struct Heard {
        /// Frames since the last turn.
        var frames = 0
        /// For each turn, how many frames it has found, and whether its descriptor was readable.
        var turns: [Turn] = []
        /// How many frames it takes.
        var room = Int.max
        /// What its next turn returns.
        var deadline = UInt64.max
    }

    struct Turn: Equatable {
        var frames: Int
        var isReadable: Bool
    }

    let heard = Mutex(Heard())
    let wakeup: Wakeup

    init() throws { wakeup = try Wakeup() }

    var turns: [Turn] { heard.withLock { $0.turns } }

    /// The turns so far, which are forgotten.
    func takeTurns() -> [Turn] {
        heard.withLock { heard in
            defer { heard.turns = [] }
            return heard.turns
        }
    }

    /// Lives no longer than this does.
    var device: FrameDevice {
        unsafe FrameDevice(
            context: Unmanaged.passUnretained(self).toOpaque(),
            send: { context, _, _, count in
                unsafe Unmanaged<PolledTestDevice>.fromOpaque(context!)._withUnsafeGuaranteedRef { device in
                    device.heard.withLock { heard in
                        let taken = min(Int(count), heard.room)
                        heard.room -= taken
                        heard.frames += taken
                        return taken == 0 ? -Errno.noBuffers : Int32(taken)
                    }
                }
            },
            poll: { context, isReadable in
                unsafe Unmanaged<PolledTestDevice>.fromOpaque(context!)._withUnsafeGuaranteedRef { device in
                    device.heard.withLock { heard in
                        heard.turns.append(Turn(frames: heard.frames, isReadable: isReadable != 0))
                        heard.frames = 0
                        heard.room = .max
                        defer { heard.deadline = .max }
                        return heard.deadline
                    }
                }
            })
    }
}
