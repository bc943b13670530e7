// SPDX-License-Identifier: Apache-2.0
import Logging
import Platform
import Timing

/// Ends a child program, first by SIGTERM and then by SIGKILL.
package enum GracefulTermination {
    /// How long the program may take to exit after SIGTERM.
    private static let timeout = TimeAmount.seconds(5)

    /// Sends SIGTERM to a program and waits until it exits. Passes signals that this process receives meanwhile on to
    /// the program; the second one ends the wait. Sends SIGKILL if the program is still running after the wait.
    /// - Parameter signals: the signals that this process catches, SIGCHLD among them.
    package static func await(
        _ program: ChildProcess, called name: String, signals: SignalPipe, _ logger: Logger
    ) -> ChildProcess.Termination {
        program.signal(Signal.terminate)
        let deadline = BootClock.now + timeout
        var requests = 0
        while requests < 2 && BootClock.now < deadline {
            if let termination = program.poll() { return termination }
            guard signals.wait(until: deadline) else { break }
            for number in signals.received() where number != Signal.child && number != Signal.user1 {
                program.signal(number)
                requests += 1
            }
        }
        if let termination = program.poll() { return termination }
        logger.warning(
            "\(name) (process \(program.identifier)) did not exit within \(timeout) after SIGTERM; sending SIGKILL")
        program.signal(Signal.kill)
        return program.wait()
    }
}
