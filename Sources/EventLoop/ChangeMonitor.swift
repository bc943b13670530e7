// SPDX-License-Identifier: Apache-2.0
import Platform

/// Calls back when something about the host has changed, once for a burst of changes, and so seldom that it takes a
/// fifth of the thread's time at most.
package final class ChangeMonitor {
    /// Nanoseconds between two calls, at most.
    private static let longestPause = 2 * MonotonicClock.second

    private let loop: ControlLoop
    private let descriptor: Descriptor
    private let settling: UInt64
    private let isRelevant: ([UInt8]) -> Bool
    private let onChange: () -> Void
    private var timer: ControlLoop.TimerID?
    /// The earliest time of the next call.
    private var next: UInt64 = 0

    /// - Parameters:
    ///   - descriptor: readable whenever there was a change.
    ///   - settling: nanoseconds from the first change of a burst to the call.
    ///   - isRelevant: whether a change matters, by its message.
    package init(
        _ descriptor: consuming Descriptor, settling: UInt64, loop: ControlLoop,
        isRelevant: @escaping ([UInt8]) -> Bool = { _ in true }, onChange: @escaping () -> Void
    ) throws(SystemError) {
        self.loop = loop
        self.settling = settling
        self.isRelevant = isRelevant
        self.onChange = onChange
        self.descriptor = descriptor
        try loop.watch(self.descriptor.raw) { [unowned self] _ in changed() }
    }

    private func changed() {
        guard receive(), timer == nil else { return }
        timer = loop.schedule(at: max(MonotonicClock.now + settling, next)) { [unowned self] in
            timer = nil
            let start = MonotonicClock.now
            onChange()
            let end = MonotonicClock.now
            next = end + min(4 * (end - start), Self.longestPause)
        }
    }

    /// Takes what has come. Returns whether any of it matters; messages that were lost (ENOBUFS) may have.
    private func receive() -> Bool {
        var matters = false
        // A bounded number at a time: other handlers have their turn in between.
        for _ in 0..<64 {
            do throws(SystemError) {
                let message = try descriptor.receive(limit: 65_536)
                if message.isEmpty { break }
                matters = matters || isRelevant(message)
            } catch {
                if error.code == Errno.again { break }
                matters = true
            }
        }
        return matters
    }
}
