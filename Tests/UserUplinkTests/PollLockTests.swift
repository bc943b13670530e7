// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import TestSupport
import Testing
import Wire

@testable import UserUplink

/// A worker that finds the lock taken goes on with its ports, unless many frames wait already.
@Suite struct PollLockTests {
    private final class Scene: Sendable {
        let lock = PollLock()
        let inbox = SPSCFrameRing(capacity: 1 << 16)
        /// Whether the other thread got the lock; nil while it has no result.
        let outcome = Mutex<Bool?>(nil)

        init(frames: Int) {
            let frame: [UInt8] = [1, 2, 3]
            for _ in 0..<frames where !inbox.append(frame.rawSpan) { Issue.record("the inbox is full") }
        }

        /// Another thread tries to poll.
        func start() throws {
            try WorkerThread.start(named: "second") { [self] in
                let isLocked = lock.lock(for: inbox)
                if isLocked { lock.unlock() }
                outcome.withLock { $0 = isLocked }
            }
        }
    }

    @Test func threadGoesOnWhileFewFramesWait() throws {
        let scene = Scene(frames: 256)
        scene.lock.lock()
        try scene.start()
        try eventually("the other thread") { scene.outcome.withLock { $0 } != nil }
        #expect(scene.outcome.withLock { $0 } == false && scene.lock.isPollRequested)
        scene.lock.unlock()
    }

    @Test func threadWaitsWhileManyFramesDo() throws {
        let scene = Scene(frames: 257)
        scene.lock.lock()
        try scene.start()
        try eventually("the other thread") { scene.lock.isPollRequested }
        #expect(scene.outcome.withLock { $0 } != false)
        scene.lock.unlock()
        try eventually("the other thread") { scene.outcome.withLock { $0 } != nil }
        #expect(scene.outcome.withLock { $0 } == true)
    }
}
