// SPDX-License-Identifier: Apache-2.0
import Platform

/// Calls back when something about the host has changed, once for a burst of changes.
final class ChangeMonitor {
    private let loop: ControlLoop
    private let descriptor: Descriptor
    private let settling: UInt64
    private let onChange: () -> Void
    private let spacing: UInt64
    private var timer: ControlLoop.TimerID?
    /// The earliest time of the next call.
    private var next: UInt64 = 0

    /// - Parameters:
    ///   - descriptor: readable whenever there was a change.
    ///   - settling: nanoseconds from the first change of a burst to the call.
    ///   - spacing: nanoseconds between two calls at least.
    init(_ descriptor: consuming Descriptor, settling: UInt64, spacing: UInt64 = 0, loop: ControlLoop, onChange: @escaping () -> Void) throws(SystemError) {
        self.loop = loop
        self.settling = settling
        self.spacing = spacing
        self.onChange = onChange
        self.descriptor = descriptor
        try loop.watch(self.descriptor.raw) { [unowned self] _ in changed() }
    }

    private func changed() {
        // What exactly has changed does not matter; an overrun (ENOBUFS) is a change too.
        while let bytes = try? descriptor.receive(limit: 65_536), !bytes.isEmpty {}
        guard timer == nil else { return }
        timer = loop.schedule(at: max(MonotonicClock.now + settling, next)) { [unowned self] in
            timer = nil
            onChange()
            next = MonotonicClock.now + spacing
        }
    }
}
