// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing

/// Calls back when the host has changed, once for a burst of changes. The pauses between two calls are long enough that
/// the calls take at most a fifth of the thread's time.
package final class ChangeMonitor {
    private static let longestPause = TimeAmount.seconds(2)

    private let loop: ControlLoop
    private let descriptor: Descriptor
    private let settling: TimeAmount
    private let isRelevant: ([UInt8]) -> Bool
    private let onChange: () -> Void
    private var timer: ControlLoop.TimerID?
    /// The earliest time of the next call.
    private var next = Instant.distantPast

    /// - Parameters:
    ///   - descriptor: a netlink socket, readable after each change; owned by this object.
    ///   - settling: the time from the first change of a burst to the call.
    ///   - isRelevant: whether the message of a change is relevant.
    package init(
        _ descriptor: consuming Descriptor, settling: TimeAmount, loop: ControlLoop,
        isRelevant: @escaping ([UInt8]) -> Bool = { _ in true }, onChange: @escaping () -> Void
    ) throws(SystemError) {
        self.loop = loop
        self.settling = settling
        self.isRelevant = isRelevant
        self.onChange = onChange
        self.descriptor = descriptor
        try loop.watch(self.descriptor.raw) { [unowned self] _ in changed() }
    }

    /// Stops watching. No call comes afterwards.
    package func stop() {
        loop.cancel(timer)
        loop.unwatch(descriptor.raw)
    }

    private func changed() {
        guard receive(), timer == nil else { return }
        timer = loop.schedule(at: max(BootClock.now + settling, next)) { [unowned self] in
            timer = nil
            let start = BootClock.now
            onChange()
            let end = BootClock.now
            next = end + min(4 * (end - start), Self.longestPause)
        }
    }

    /// Reads the messages that have arrived. Returns whether any of them is relevant. Lost messages (ENOBUFS) may have
    /// been.
    private func receive() -> Bool {
        var isAnyRelevant = false
        // A bounded number, so that other handlers run in between.
        for _ in 0..<64 {
            do throws(SystemError) {
                let message = try descriptor.receive(limit: 65_536)
                if message.isEmpty { break }
                isAnyRelevant = isAnyRelevant || isRelevant(message)
            } catch {
                if error.code == Errno.again { break }
                isAnyRelevant = true
            }
        }
        return isAnyRelevant
    }
}
