// SPDX-License-Identifier: Apache-2.0
import Platform

/// Calls back when something about the host has changed, once for a burst of changes.
final class ChangeMonitor {
    private let loop: ControlLoop
    private let descriptor: Descriptor
    private let settling: UInt64
    private let onChange: () -> Void
    private var timer: ControlLoop.TimerID?

    /// - Parameters:
    ///   - descriptor: readable whenever there was a change.
    ///   - settling: nanoseconds from the first change of a burst to the call.
    init(_ descriptor: consuming Descriptor, settling: UInt64, loop: ControlLoop, onChange: @escaping () -> Void) throws(SystemError) {
        self.loop = loop
        self.settling = settling
        self.onChange = onChange
        self.descriptor = descriptor
        try loop.watch(self.descriptor.raw) { [unowned self] _ in changed() }
    }

    private func changed() {
        // What exactly has changed does not matter; an overrun (ENOBUFS) is a change too.
        while let bytes = try? descriptor.receive(limit: 65_536), !bytes.isEmpty {}
        guard timer == nil else { return }
        timer = loop.schedule(after: settling) { [unowned self] in
            timer = nil
            onChange()
        }
    }
}
