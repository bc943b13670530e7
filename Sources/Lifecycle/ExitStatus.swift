// SPDX-License-Identifier: Apache-2.0
import Platform

/// The program's exit status, from sysexits(3) where a number fits.
package enum ExitStatus: Int32, Sendable {
    case success = 0
    /// A step of `check`, or a check of `doctor`, failed.
    case failure = 1
    case usage = 64
    /// A file to read is missing or unreadable.
    case noInput = 66
    /// The switch or the uplink is unavailable.
    case unavailable = 69
    /// A file, socket or directory cannot be made.
    case cannotCreate = 73
    /// Reading or writing failed.
    case ioError = 74
    /// Another instance has the pidfile or the network.
    case alreadyRunning = 75
    case noPermission = 77
    /// The program to start exists but could not be started (as in shells).
    case programNotStarted = 126
    case programNotFound = 127
}

/// Why the program cannot start or go on: a message with the thing, the cause and the next step, and the exit status.
package typealias ExitError = DescribedError<ExitStatus>

extension ExitError {
    /// The status with which the process ends.
    package var status: ExitStatus { cause }
}

/// Runs `body`, and reports a failed system call as `ExitStatus.unavailable`.
package func orUnavailable<Result: ~Copyable>(_ body: () throws(SystemError) -> Result) throws(ExitError) -> Result {
    do throws(SystemError) {
        return try body()
    } catch {
        throw ExitError(.unavailable, error.explanation)
    }
}
