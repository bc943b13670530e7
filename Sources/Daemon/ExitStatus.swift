// SPDX-License-Identifier: Apache-2.0

import Platform

/// How the program ends (sysexits(3) where a number fits).
package enum ExitStatus: Int32, Sendable {
    case success = 0
    /// `check` found something that does not hold.
    case failure = 1
    case usage = 64
    /// The switch or the uplink is not to be had.
    case unavailable = 69
    /// Another instance has the pidfile or the network.
    case alreadyRunning = 75
    case noPermission = 77
}

/// Why the program ends before its time: the thing, the cause, the next step.
package struct ExitError: Error, Sendable, CustomStringConvertible {
    package let status: ExitStatus
    package let description: String

    package init(_ status: ExitStatus, _ description: String) {
        self.status = status
        self.description = description
    }
}

/// Runs `body`; a system call that fails ends the program with status 69.
func orUnavailable<Result: ~Copyable>(_ body: () throws(SystemError) -> Result) throws(ExitError) -> Result {
    do throws(SystemError) {
        return try body()
    } catch {
        throw ExitError(.unavailable, error.description)
    }
}
