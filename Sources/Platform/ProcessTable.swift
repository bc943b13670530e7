// SPDX-License-Identifier: Apache-2.0
import CLibrary

/// The processes of the system by their identifiers.
package enum ProcessTable {
    /// True if a process with this id exists, of any user.
    package static func isAlive(_ process: Int32) -> Bool {
        process > 0 && (kill(process, 0) == 0 || Errno.last == EPERM)
    }

    /// True if a process with this id exists and belongs to this user. macOS does not report the owner: any process
    /// counts.
    package static func isAlive(_ process: Int32, asUser user: UInt32) -> Bool {
        guard isAlive(process) else { return false }
        guard let status = try? Files.status("/proc/\(process)") else { return true }
        // The kernel shows root as owner of a process that is not dumpable, such as one with capabilities (proc(5)).
        return status.owner == user || status.owner == 0
    }

    /// Sends a signal. Returns false if there is no such process, or this one may not signal it.
    @discardableResult
    package static func signal(_ process: Int32, _ number: Int32) -> Bool { kill(process, number) == 0 }
}
