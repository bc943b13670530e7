// SPDX-License-Identifier: Apache-2.0
import CPlatform

/// Wakes a thread that waits in a `Poller` (eventfd(2), a pipe on macOS). Any thread may call `signal`.
package struct Wakeup: ~Copyable, Sendable {
    /// The descriptor to poll for reading.
    package let descriptor: Descriptor
    /// The end to write to, if that is not the descriptor to poll.
    private let other: Descriptor?
    private let signalling: Int32

    /// A wakeup that is not signalled.
    /// - Throws: if the process or the system has too many open files.
    package init() throws(SystemError) {
        var ends: (Int32, Int32) = (-1, -1)
        let result = unsafe withUnsafeMutableBytes(of: &ends) {
            unsafe platform_wakeup_create($0.assumingMemoryBound(to: Int32.self).baseAddress!)
        }
        try SystemError.check(result, "create an event descriptor")
        descriptor = Descriptor(adopting: ends.0)
        other = ends.1 == ends.0 ? nil : Descriptor(adopting: ends.1)
        signalling = ends.1
    }

    /// Makes the descriptor readable until it is drained. For any thread, and for signal handlers.
    package func signal() { platform_wakeup_signal(signalling) }

    /// Discards the signals so far.
    package func drain() { Wakeup.drain(descriptor.raw) }

    /// The same, given only the descriptor to poll.
    package static func drain(_ raw: Int32) { platform_wakeup_drain(raw) }

    /// The descriptor to write to, for code in C. Valid as long as this value.
    package var signalDescriptor: Int32 { signalling }
}
