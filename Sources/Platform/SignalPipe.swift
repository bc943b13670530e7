// SPDX-License-Identifier: Apache-2.0
import CPlatform
import Timing

/// Turns signals into bytes in a pipe that a poller can wait for. One per process.
package final class SignalPipe {
    private let ends: DescriptorPair
    private let numbers: [Int32]

    /// Catches `numbers` from now on.
    package init(_ numbers: [Int32]) throws(SystemError) {
        let pipe = try DescriptorPair.pipe()
        pipe.first.setNonBlocking()
        pipe.second.setNonBlocking()
        for number in numbers {
            try SystemError.check(platform_signal_route(number, pipe.second.raw), "catch signal \(number)")
        }
        ends = pipe
        self.numbers = numbers
    }

    deinit { for number in numbers { platform_signal_default(number) } }

    /// Readable when a signal has arrived. It stays this object's.
    package var descriptor: Int32 { ends.first.raw }

    /// Waits until a signal has arrived; false if `deadline` passes first.
    package func wait(until deadline: Instant) -> Bool {
        // The arrival itself interrupts the wait.
        while BootClock.now < deadline {
            if !ends.first.wait(for: .readable, until: deadline).isEmpty { return true }
        }
        return false
    }

    /// The signals that have arrived since the last call.
    package func received() -> [Int32] {
        ((try? ends.first.read(limit: 64)) ?? []).map { Int32($0) }
    }

    /// Ignores a signal in this process. Programs that it starts have default signal handling.
    package static func ignore(_ number: Int32) { platform_signal_ignore(number) }
}
