// SPDX-License-Identifier: Apache-2.0
import Lifecycle
import Platform

/// Where we keep what outlives a run (leases), and what belongs to a run (locks and records of what to undo).
package enum Directories {
    /// `/var/lib/vde_vmnet`, or for a user without the right to it `$XDG_STATE_HOME/vde_vmnet`.
    package static func state(_ chosen: String?) throws(ExitError) -> String {
        if let chosen { return try make(chosen, .ownersOfLinks, stateRemedy) }
        let home = Accounts.environment("HOME") ?? "/"
        let own = (Accounts.environment("XDG_STATE_HOME") ?? home + "/.local/state") + "/vde_vmnet"
        return try makeFirst(of: ["/var/lib/vde_vmnet", own], .ownersOfLinks, stateRemedy)
    }

    /// `/run/vde_vmnet`, or `$XDG_RUNTIME_DIR/vde_vmnet`: what is there is acted upon, so no other user can lead its
    /// path elsewhere, and locks in it are out of others' reach.
    package static func runtime() throws(ExitError) -> String {
        let own = Accounts.environment("XDG_RUNTIME_DIR").flatMap { $0.isEmpty ? nil : $0 }
        let directory = (own ?? "/tmp/vde_vmnet-\(Accounts.effectiveUser)") + "/vde_vmnet"
        let remedy =
            own.map { "XDG_RUNTIME_DIR is \($0); set it to a directory of yours" }
            ?? "set XDG_RUNTIME_DIR to a directory of yours"
        return try makeFirst(of: ["/run/vde_vmnet", directory], .nobody, remedy)
    }

    private static let stateRemedy = "choose another with --state-dir"

    /// The last one is the user's own, and its failure what the user can do something about.
    private static func makeFirst(
        of paths: [String], _ trust: Directory.Trust, _ remedy: String
    ) throws(ExitError) -> String {
        var failure: ExitError?
        for path in paths {
            do throws(ExitError) {
                return try make(path, trust, remedy)
            } catch {
                failure = error
            }
        }
        throw failure!
    }

    private static func make(_ path: String, _ trust: Directory.Trust, _ remedy: String) throws(ExitError) -> String {
        do throws(SystemError) {
            let directory = try Directory.open(path, trust, making: trust == .nobody ? 0o700 : 0o755)
            // What others can write to, others could make us undo or give to guests.
            try directory.requireOwn()
            guard Files.isWritable(directory.path) else {
                throw SystemError(code: Errno.accessDenied, "write to", path)
            }
            // An earlier version made it so that others could open, and so lock, what is in it.
            if trust == .nobody, try directory.status().mode & 0o077 != 0 { try directory.reopen().setMode(0o700) }
            return directory.path
        } catch {
            throw ExitError(
                .cannotCreate,
                "\(error); it must belong to \(Accounts.userName(Accounts.effectiveUser)) and be writable for no other user; \(remedy)"
            )
        }
    }
}
