// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import Timing
import Wire

/// A polled device that records its polls.
final class PolledTestDevice: PolledDevice {
    struct State {
        /// Frames that were removed from the inbox since the last poll.
        var frames = 0
        /// For each poll, the number of frames before it, and whether the descriptor was readable.
        var polls: [Poll] = []
        /// Frames that a poll removes at most; it is due again while more are left.
        var framesPerPoll = Int.max
        /// The result of the next poll.
        var deadline = Instant.distantFuture
    }

    struct Poll: Equatable {
        var frames: Int
        var isReadable: Bool
    }

    /// The tag of a frame that only takes up room.
    private static let placeholder: UInt32 = 1

    let inbox = SPSCFrameRing(capacity: 1 << 20)
    let coalescesSegments = false
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

    /// Fills the inbox, but for room for `count` frames of this length, until it is emptied.
    /// - Parameter length: of each frame in bytes, virtio header included.
    func leaveRoom(for count: Int, framesOf length: Int) {
        let bytes = [UInt8](repeating: 0, count: length)
        state.withLock { state in
            while inbox.append(bytes.rawSpan, tag: PolledTestDevice.placeholder) {}
            for _ in 0..<count { removeFirst(&state) }
        }
    }

    /// Empties the inbox. Returns how many frames of the switch it has held since the last poll.
    @discardableResult
    func emptyInbox() -> Int {
        state.withLock { state in
            while inbox.hasFrames { removeFirst(&state) }
            return state.frames
        }
    }

    private func removeFirst(_ state: inout State) {
        guard let tag = inbox.removeFirst({ (_, tag: UInt32) in tag }) else { return }
        if tag != PolledTestDevice.placeholder { state.frames += 1 }
    }

    func poll(isReadable: Bool) -> Instant {
        state.withLock { state in
            while inbox.hasFrames, state.frames < state.framesPerPoll { removeFirst(&state) }
            if inbox.hasFrames { state.deadline = BootClock.now }
            state.polls.append(Poll(frames: state.frames, isReadable: isReadable))
            state.frames = 0
            defer { state.deadline = .distantFuture }
            return state.deadline
        }
    }
}
