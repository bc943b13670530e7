// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing

// Theory of operation: the control thread
// =======================================
//
// One thread runs one `ControlLoop`. Its parts, all of which belong to that thread:
//
//     ControlLoop    descriptors and timers, and their handlers
//     AcceptLoop     accepts clients of one listener, as many at a time as `ClientQuota` has descriptors for
//     ChangeMonitor  one call for a burst of changes of the host
//     IdleTimer, Backoff, RateLimitedLogger
//
// An iteration (`runOnce`) waits for the next event or timer, then calls the handlers of all ready descriptors, then
// those of all due timers. A handler may watch, unwatch, schedule and cancel. Events carry the token of their watch, so
// that an event of a descriptor that was closed meanwhile, and whose number is in use again, calls nothing. A timer
// that a handler cancels does not fire, even if it is due. `stop` ends the iteration after the current handler.
//
// There are no locks. Other threads signal a descriptor that the loop watches: a `Wakeup` or a `Promise`. The locks of
// these types guard their data, and are held for a copy only.
//
// What may block. A handler must not wait for the network, another process or a slow file system: everything else waits
// meanwhile, and guests get no leases. Such work runs by `runInBackground`: a new thread gets values, and the loop gets
// the result. At the start and at the end of a network, `run(until:)` handles events until a condition holds.

/// The event loop of the control thread: everything except the data path. Handlers run one at a time and must not
/// block; blocking work goes to `runInBackground`.
package final class ControlLoop {
    /// Identifies a timer for `cancel`.
    package struct TimerID: Hashable {
        fileprivate let number: UInt64
    }

    private struct Watch {
        let token: UInt64
        let handler: (Readiness) -> Void
    }

    private struct Timer {
        let id: TimerID
        let due: Instant
        let handler: () -> Void
    }

    private let poller: Poller
    private var watches: [Int32: Watch] = [:]
    private var descriptors: [UInt64: Int32] = [:]
    private var timers: [Timer] = []
    private var next: UInt64 = 0
    /// `stop` was called.
    package private(set) var isStopped = false

    /// - Throws: if the system has no descriptor for the poller.
    package init() throws(SystemError) { poller = try Poller() }

    private func unique() -> UInt64 {
        next += 1
        return next
    }

    /// Calls `handler` whenever `descriptor` is ready for `interest`. The caller keeps the descriptor, and calls
    /// `unwatch` before closing it.
    package func watch(
        _ descriptor: Int32, for interest: Readiness = .readable, _ handler: @escaping (Readiness) -> Void
    ) throws(SystemError) {
        let token = unique()
        try poller.add(descriptor, token: token, for: interest)
        watches[descriptor] = Watch(token: token, handler: handler)
        descriptors[token] = descriptor
    }

    /// Stops watching a descriptor. Has no effect if it is not watched.
    package func unwatch(_ descriptor: Int32) {
        guard let watch = watches.removeValue(forKey: descriptor) else { return }
        descriptors[watch.token] = nil
        poller.remove(descriptor)
    }

    /// Calls `handler` once, at `due` or soon after.
    @discardableResult
    package func schedule(at due: Instant, _ handler: @escaping () -> Void) -> TimerID {
        let id = TimerID(number: unique())
        timers.append(Timer(id: id, due: due, handler: handler))
        return id
    }

    /// Calls `handler` once, when `amount` has passed.
    @discardableResult
    package func schedule(after amount: TimeAmount, _ handler: @escaping () -> Void) -> TimerID {
        schedule(at: BootClock.now + amount, handler)
    }

    /// Calls `handler` in the next iteration, after events that are already pending.
    @discardableResult
    package func scheduleSoon(_ handler: @escaping () -> Void) -> TimerID { schedule(after: TimeAmount.zero, handler) }

    /// Cancels a timer. Has no effect if it has fired, or if `timer` is nil.
    package func cancel(_ timer: TimerID?) { timers.removeAll { $0.id == timer } }

    /// Ends `run`.
    package func stop() { isStopped = true }

    /// Waits for events and calls their handlers until `stop`.
    package func run() {
        while !isStopped { runOnce() }
    }

    /// Waits for the next events or timer, and calls the handlers.
    package func runOnce() {
        let count = poller.wait(until: timers.map(\.due).min() ?? .distantFuture, now: BootClock.now)
        // Events are copied first, because a handler may call `watch` and `unwatch`.
        for (token, ready) in (0..<count).map({ poller.event($0) }) {
            guard let descriptor = descriptors[token], let watch = watches[descriptor] else { continue }
            watch.handler(ready)
            if isStopped { return }
        }
        let now = BootClock.now
        for timer in timers.filter({ $0.due <= now }) {
            guard timers.contains(where: { $0.id == timer.id }) else { continue }
            cancel(timer.id)
            timer.handler()
            if isStopped { return }
        }
    }
}
