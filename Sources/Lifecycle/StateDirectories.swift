// SPDX-License-Identifier: Apache-2.0
import Platform

/// The directories of this program: for state that outlives a run (leases), and for state of a run (locks and records
/// of changes to undo).
package enum StateDirectories {
    /// Makes `/var/lib/vde_vmnet`, or for a user who may not write there, `$XDG_STATE_HOME/vde_vmnet`.
    /// - Parameter chosen: the user's choice, used instead of both.
    /// - Returns: the path.
    /// - Throws: `cannotCreate`.
    package static func state(_ chosen: String?) throws(ExitError) -> String {
        if let chosen { return try make(chosen, .trustedLinks, stateRemedy) }
        let home = CurrentProcess.environment("HOME") ?? "/"
        let own = (CurrentProcess.environment("XDG_STATE_HOME") ?? home + "/.local/state") + "/vde_vmnet"
        return try makeFirst(of: ["/var/lib/vde_vmnet", own], .trustedLinks, stateRemedy)
    }

    /// Makes `/run/vde_vmnet`, or `$XDG_RUNTIME_DIR/vde_vmnet`. A process with privileges acts on what is there, so no
    /// other user may be able to redirect the path, nor to open files in it.
    /// - Returns: the path.
    /// - Throws: `cannotCreate`.
    package static func runtime() throws(ExitError) -> String {
        let own = CurrentProcess.environment("XDG_RUNTIME_DIR").flatMap { $0.isEmpty ? nil : $0 }
        let directory = (own ?? temporary(of: CurrentProcess.effectiveUser)) + "/vde_vmnet"
        let remedy =
            own.map { "XDG_RUNTIME_DIR is \($0); set it to a directory that you own" }
            ?? "set XDG_RUNTIME_DIR to a directory that you own"
        return try makeFirst(of: ["/run/vde_vmnet", directory], .trustedPath, remedy)
    }

    /// The beginning of the names of the directories in `temporaryParent`; the user's number follows.
    package static let temporaryPrefix = "vde_vmnet-"
    /// A directory in which every user may make entries.
    package static let temporaryParent = "/tmp"

    /// The directory for what a run of a user's network needs, if the system has given that user none. Another user may
    /// have made it: it is for `Directory.Trust.trustedPath` only.
    package static func temporary(of user: UInt32) -> String { "\(temporaryParent)/\(temporaryPrefix)\(user)" }

    /// Opens or makes a directory with the control sockets of running networks: the runtime directory of this process's
    /// user.
    /// - Throws: `cannotCreate`.
    package static func shared(_ path: String) throws(ExitError) -> Directory {
        let remedy =
            CurrentProcess.effectiveUser == 0
            ? "make it a directory that only root may write to" : "set XDG_RUNTIME_DIR to a directory that you own"
        let made = try make(path, .trustedPath, remedy)
        do throws(SystemError) {
            return try Directory.open(made, .trustedPath)
        } catch {
            throw ExitError(.cannotCreate, error.description)
        }
    }

    /// Root's runtime directory. Other users may look into it, because control sockets of networks that they own are
    /// there. All other files in it are closed to them.
    private static func isShared(_ path: String) -> Bool {
        CurrentProcess.effectiveUser == 0 && ["/run/vde_vmnet", "/var/run/vde_vmnet"].contains(path)
    }

    /// Closes the files of an earlier version, which other users could open, and so lock.
    private static func closeFiles(in directory: borrowing Directory) throws(SystemError) {
        for name in try directory.entries() {
            guard let status = try? directory.status(of: name), status.kind == .regular, status.mode & 0o077 != 0 else {
                continue
            }
            try? directory.open(name, [.readOnly, .noFollow, .nonBlocking]).setMode(0o600)
        }
    }

    private static let stateRemedy = "choose another with --state-dir"

    /// Reports the error of the last candidate, the user's own directory, which the user can fix.
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
            let directory = try Directory.open(path, trust, making: trust == .trustedPath ? 0o700 : 0o755)
            // Another user who can write there could choose which changes are undone, or which leases guests get.
            try directory.requirePrivate()
            guard Files.isWritable(directory.path) else {
                throw SystemError(code: Errno.accessDenied, "write to", path)
            }
            guard trust == .trustedPath else { return directory.path }
            let isShared = isShared(path)
            if isShared { try closeFiles(in: directory) }
            let mode: UInt16 = isShared ? 0o755 : 0o700
            if try directory.status().mode & 0o777 != mode { try directory.reopen().setMode(mode) }
            return directory.path
        } catch {
            throw ExitError(
                .cannotCreate,
                """
                \(error); it must belong to \(UserDatabase.userName(CurrentProcess.effectiveUser)) and be writable for \
                no other \
                user; \(remedy)
                """
            )
        }
    }
}
