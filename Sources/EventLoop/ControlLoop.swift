// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing

/// The main thread's loop: everything that is not the data path. One thing at a time, nothing that waits.
package final class ControlLoop {
    package struct TimerID: Hashable {
        fileprivate let number: UInt64
    }

    private struct Watch {
        let token: UInt64
        let handler: (Readiness) -> Void
    }

    private struct Timer {
        let id: TimerID
        let due: UInt64
        let handler: () -> Void
    }

    private let poller: Poller
    private var watches: [Int32: Watch] = [:]
    private var descriptors: [UInt64: Int32] = [:]
    private var timers: [Timer] = []
    private var next: UInt64 = 0
    package private(set) var isStopped = false

    package init() throws(SystemError) { poller = try Poller() }

    private func unique() -> UInt64 {
        next += 1
        return next
    }

    /// Calls `handler` whenever `descriptor` is ready for `interest`. The descriptor stays the caller's, who calls
    /// `unwatch` before closing it.
    package func watch(
        _ descriptor: Int32, for interest: Readiness = .readable, _ handler: @escaping (Readiness) -> Void
    ) throws(SystemError) {
        let token = unique()
        try poller.add(descriptor, token: token, for: interest)
        watches[descriptor] = Watch(token: token, handler: handler)
        descriptors[token] = descriptor
    }

    package func unwatch(_ descriptor: Int32) {
        guard let watch = watches.removeValue(forKey: descriptor) else { return }
        descriptors[watch.token] = nil
        poller.remove(descriptor)
    }

    /// Calls `handler` once, at `due` nanoseconds on the monotonic clock or soon after.
    @discardableResult
    package func schedule(at due: UInt64, _ handler: @escaping () -> Void) -> TimerID {
        let id = TimerID(number: unique())
        timers.append(Timer(id: id, due: due, handler: handler))
        return id
    }

    @discardableResult
    package func schedule(after nanoseconds: UInt64, _ handler: @escaping () -> Void) -> TimerID {
        schedule(at: MonotonicClock.now + nanoseconds, handler)
    }

    /// Calls `handler` once, at `due` or soon after.
    @discardableResult
    package func schedule(at due: Instant, _ handler: @escaping () -> Void) -> TimerID {
        schedule(at: UInt64(bitPattern: due.nanoseconds), handler)
    }

    @discardableResult
    package func schedule(after amount: TimeAmount, _ handler: @escaping () -> Void) -> TimerID {
        schedule(at: BootClock.now + amount, handler)
    }

    package func cancel(_ timer: TimerID?) { timers.removeAll { $0.id == timer } }

    /// Ends `run`.
    package func stop() { isStopped = true }

    /// Waits and calls handlers until `stop`.
    package func run() {
        while !isStopped { turn() }
    }

    package func turn() {
        let now = MonotonicClock.now
        let timeout = timers.map(\.due).min().map { $0 > now ? $0 - now : 0 }
        let count = poller.wait(timeout: timeout)
        // Events are copied first: a handler may watch and unwatch.
        for (token, ready) in (0..<count).map({ poller.event($0) }) {
            guard let descriptor = descriptors[token], let watch = watches[descriptor] else { continue }
            watch.handler(ready)
            if isStopped { return }
        }
        let later = MonotonicClock.now
        for timer in timers.filter({ $0.due <= later }) {
            guard timers.contains(where: { $0.id == timer.id }) else { continue }
            cancel(timer.id)
            timer.handler()
            if isStopped { return }
        }
    }
}
