// SPDX-License-Identifier: Apache-2.0
import Atomics
import FrameIO
import Platform
import Timing
import Wire

// Theory of operation
// ===================
//
// libslirp carries pings. It is foreign code, and some of its calls can block: name resolution, a full socket,
// a bug. So it has its own thread behind a bounded ring; if it hangs, pings stop, and TCP and UDP go on.
//
//     thread              may block in      locks
//     forwarding worker   nothing           switch (shared), NAT lock (tryLock)
//     libslirp thread     libslirp, poll    none during a call; switch (shared), then NAT lock, in callbacks and polls
//     control thread      the 1 s of stop   switch (shared), then NAT lock
//
// Lock order: the switch's shared lock, then the NAT lock. A worker holds the first one already.
// Neither is held while libslirp is entered, so that a call that hangs holds nothing.
//
//     guest -> libslirp   the NAT's poll appends to `ring`, then wakes the thread if it sleeps
//     libslirp -> guest   `onFrame`, during a call, locks and appends to the guests' output; the thread's own poll at
//                         the start of the next iteration sends it
//
// The thread polls the NAT itself, so its frames and timers do not depend on traffic of the switch.

/// The thread that runs libslirp, and the ring of frames for it.
final class SlirpThread: @unchecked Sendable {
    /// Bytes of frames that wait for libslirp: pings and neighbor discovery.
    private static let ringCapacity = 4 << 20
    /// Frames handed over before libslirp's sockets are served.
    private static let batchSize = 256
    /// The longest wait in libslirp, in milliseconds.
    private static let maximumWait: Int64 = 10_000
    /// How long `stop` waits for the thread.
    private static let stopTimeout = TimeAmount.seconds(1)

    /// For the libslirp thread, once that has started.
    let stack: SlirpStack
    /// Filled under the NAT lock, emptied by the thread.
    private let ring = SPSCFrameRing(capacity: SlirpThread.ringCapacity)
    private let wakeup: Wakeup
    /// The thread waits, or is about to, and has not been woken.
    private let isWaiting = ManagedAtomic<Bool>(false)
    private let isStopping = ManagedAtomic<Bool>(false)
    /// Signaled at the thread's end.
    private let ended: Wakeup
    private var isRunning = false

    init(_ options: NATGateway.Options) throws(UserNATError) {
        do throws(SystemError) {
            wakeup = try Wakeup()
            ended = try Wakeup()
        } catch {
            throw .system(error)
        }
        stack = try SlirpStack(options)
    }

    // MARK: From other threads

    /// Appends a frame for libslirp. Returns false if the ring is full. Under the NAT lock.
    func append(_ frame: RawSpan) -> Bool { ring.append(frame) }

    /// Wakes the thread if it sleeps and there are frames for it.
    func wakeIfNeeded() {
        // Pairs with the fence in `run`: either the thread sees the frame before it sleeps, or this sees that it is
        // about to sleep.
        atomicMemoryFence(ordering: .sequentiallyConsistent)
        if ring.hasFrames, isWaiting.load(ordering: .relaxed), isWaiting.exchange(false, ordering: .relaxed) {
            wakeup.signal()
        }
    }

    /// Makes the thread poll.
    func wake() { wakeup.signal() }

    /// Starts the thread. From the control thread.
    /// - Parameter poll: polls the NAT; returns when the next poll is due.
    func start(poll: @escaping @Sendable () -> Instant) throws(SystemError) {
        try WorkerThread.start(named: "user network") { self.run(poll) }
        isRunning = true
    }

    /// Ends thread and libslirp. From the control thread.
    /// - Returns: false if libslirp does not return. Its memory is in use until the process ends.
    func stop() -> Bool {
        isStopping.store(true, ordering: .releasing)
        wakeup.signal()
        if isRunning {
            let deadline = BootClock.now + SlirpThread.stopTimeout
            guard !ended.descriptor.wait(for: .readable, until: deadline).isEmpty else { return false }
        }
        stack.close()
        return true
    }

    // MARK: The thread

    private func run(_ poll: () -> Instant) {
        while !isStopping.load(ordering: .acquiring) {
            let deadline = poll()
            var count = 0
            while count < SlirpThread.batchSize, ring.removeFirst({ stack.input($0.bytes) }) != nil { count += 1 }
            isWaiting.store(true, ordering: .relaxed)
            atomicMemoryFence(ordering: .sequentiallyConsistent)
            // After input, libslirp may have frames for guests, which the next poll sends.
            let mayWait = count == 0 && !ring.hasFrames && !isStopping.load(ordering: .acquiring)
            if stack.run(wakeup: wakeup.descriptor.raw, timeout: mayWait ? timeout(until: deadline) : 0) {
                wakeup.drain()
            }
            isWaiting.store(false, ordering: .relaxed)
        }
        ended.signal()
    }

    /// Milliseconds, rounded up.
    private func timeout(until deadline: Instant) -> UInt32 {
        let now = BootClock.now
        return deadline <= now ? 0 : UInt32(min(SlirpThread.maximumWait, (deadline - now).milliseconds + 1))
    }
}
