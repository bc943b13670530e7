// SPDX-License-Identifier: Apache-2.0
import Logging
import Platform

/// The end of a program whose network is gone before it.
enum ProgramEnd {
    /// How long a program may take to end when it is asked to, in nanoseconds.
    static let patience = 5 * MonotonicClock.second

    /// Asks a program to end, waits for that, and ends it where it does not. Signals that come meanwhile are passed on;
    /// a second one to end does not wait.
    /// - Parameter signals: those that this process catches, its children's ends among them.
    static func await(
        _ program: ChildProcess, called name: String, signals: SignalPipe, _ logger: Logger
    ) -> ChildProcess.Termination {
        program.signal(Signal.terminate)
        let deadline = MonotonicClock.now + patience
        var requests = 0
        while requests < 2 && MonotonicClock.now < deadline {
            if let end = program.poll() { return end }
            guard signals.wait(until: deadline) else { break }
            for number in signals.received() where number != Signal.child && number != Signal.user1 {
                program.signal(number)
                requests += 1
            }
        }
        if let end = program.poll() { return end }
        logger.warning("\(name) (process \(program.identifier)) does not end, though its network is gone; it is killed")
        program.signal(Signal.kill)
        return program.wait()
    }
}
