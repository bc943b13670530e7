// SPDX-License-Identifier: Apache-2.0
import Platform

/// Where we keep what outlives a run (leases), and what belongs to a run (locks and records of what to undo).
package enum Directories {
    /// `/var/lib/vde_vmnet`, or for a user without the right to it `$XDG_STATE_HOME/vde_vmnet`.
    package static func state(_ chosen: String?) throws(ExitError) -> String {
        if let chosen { return try make(chosen, stateRemedy) }
        let home = Accounts.environment("HOME") ?? "/"
        return try makeFirst(of: ["/var/lib/vde_vmnet", (Accounts.environment("XDG_STATE_HOME") ?? home + "/.local/state") + "/vde_vmnet"], stateRemedy)
    }

    /// `/run/vde_vmnet`, or `$XDG_RUNTIME_DIR/vde_vmnet`.
    package static func runtime() throws(ExitError) -> String {
        let own = Accounts.environment("XDG_RUNTIME_DIR").flatMap { $0.isEmpty ? nil : $0 }
        let directory = own ?? "/tmp/vde_vmnet-\(Accounts.effectiveUser)"
        return try makeFirst(of: ["/run/vde_vmnet", directory + "/vde_vmnet"], own.map { "XDG_RUNTIME_DIR is \($0); set it to a directory of yours" } ?? "set XDG_RUNTIME_DIR to a directory of yours")
    }

    private static let stateRemedy = "choose another with --state-dir"

    /// The last one is the user's own, and its failure what he can do something about.
    private static func makeFirst(of paths: [String], _ remedy: String) throws(ExitError) -> String {
        var failure: ExitError?
        for path in paths {
            do throws(ExitError) {
                return try make(path, remedy)
            } catch {
                failure = error
            }
        }
        throw failure!
    }

    private static func make(_ path: String, _ remedy: String) throws(ExitError) -> String {
        do throws(SystemError) {
            try Files.makeDirectories(path)
            let status = try Files.status(path)
            // What others can write to, others could make us undo or hand out.
            guard status.owner == Accounts.effectiveUser, status.mode & 0o022 == 0 else {
                throw SystemError(code: Errno.notPermitted, "use", path)
            }
            guard Files.isWritable(path) else { throw SystemError(code: Errno.accessDenied, "write to", path) }
            return path
        } catch {
            throw ExitError(.unavailable, "\(error); it must belong to \(Accounts.userName(Accounts.effectiveUser)) and be writable for no other user; \(remedy)")
        }
    }
}
