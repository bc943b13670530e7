// SPDX-License-Identifier: Apache-2.0
import CPlatform

#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// A signal's number under its usual name.
package enum Signal {
    package static var hangup: Int32 { SIGHUP }
    package static var interrupt: Int32 { SIGINT }
    package static var terminate: Int32 { SIGTERM }
    package static var kill: Int32 { SIGKILL }
    package static var stop: Int32 { SIGSTOP }
    package static var resume: Int32 { SIGCONT }
    package static var user1: Int32 { SIGUSR1 }
    /// A child has ended.
    package static var child: Int32 { SIGCHLD }
    package static var pipe: Int32 { SIGPIPE }
}

/// Turns signals into bytes that a poller can wait for. One per process.
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

    /// The descriptor that becomes readable when a signal has arrived; it stays this value's.
    package var descriptor: Int32 { ends.first.raw }

    /// Waits until one has arrived; false if `deadline` (nanoseconds of the clock) comes first.
    package func wait(until deadline: UInt64) -> Bool {
        // The arrival itself interrupts the wait.
        while MonotonicClock.now < deadline {
            if !ends.first.wait(for: .readable, until: deadline).isEmpty { return true }
        }
        return false
    }

    /// The signals that have arrived since the last call.
    package func received() -> [Int32] {
        ((try? ends.first.read(limit: 64)) ?? []).map { Int32($0) }
    }

    /// Ignores a signal from now on, in this process; programs it starts have it back.
    package static func ignore(_ number: Int32) { platform_signal_ignore(number) }
}
