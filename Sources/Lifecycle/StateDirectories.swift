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

    /// Makes `/run/vde_vmnet`, or for a user who may not write there, the directory of `userRuntime`. A process with
    /// privileges acts on what is there, so no other user may be able to redirect the path, nor to open files in it.
    /// - Returns: the path.
    /// - Throws: `cannotCreate`.
    package static func runtime() throws(ExitError) -> String {
        do throws(ExitError) {
            return try make(system, .trustedPath, "")
        } catch {
            return try userRuntime()
        }
    }

    /// The directory in a user's runtime directory.
    package static let runtimeName = "vde_vmnet"

    /// Root's runtime directory. Other users may look into it, because control sockets of networks that they own are
    /// there. All other files in it are closed to them.
    package static var system: String { (OperatingSystem.isMacOS ? "/var/run/" : "/run/") + runtimeName }

    /// The runtime directory that the system, or the caller, has given this process's user; nil if there is none.
    package static var givenRuntime: String? {
        if let path = CurrentProcess.environment("XDG_RUNTIME_DIR"), !path.isEmpty { return path }
        let managed = "/run/user/\(CurrentProcess.effectiveUser)"
        if Files.exists(managed) { return managed }
        // macOS gives each user a private directory, and calls it so.
        return OperatingSystem.isMacOS ? CurrentProcess.environment("TMPDIR") : nil
    }

    /// Makes `vde_vmnet` in the runtime directory of this process's user, or in a directory of the user's in /tmp if
    /// there is none. Another user may have taken the name of that directory: then it gets another one.
    /// - Returns: the path.
    /// - Throws: `cannotCreate`.
    package static func userRuntime() throws(ExitError) -> String {
        if let given = givenRuntime {
            let chosen = CurrentProcess.environment("XDG_RUNTIME_DIR") == given
            return try make(
                "\(given)/\(runtimeName)", .trustedPath,
                chosen ? "XDG_RUNTIME_DIR is \(given); set it to a directory that you own" : userRemedy)
        }
        if let chosen = TemporaryDirectories.chosen(named: runtimeName) {
            return try make(chosen, .trustedPath, userRemedy)
        }
        let made: String
        do throws(SystemError) {
            made = try TemporaryDirectories.make()
        } catch {
            throw ExitError(.cannotCreate, "\(error); \(error.remedyOfLack ?? userRemedy)")
        }
        return try make("\(made)/\(runtimeName)", .trustedPath, userRemedy)
    }

    /// Where `userRuntime` would be: for messages, as nothing is made.
    package static var expectedUserRuntime: String {
        if let given = givenRuntime { return "\(given)/\(runtimeName)" }
        return TemporaryDirectories.chosen(named: runtimeName) ?? TemporaryDirectories.pattern(named: runtimeName)
    }

    private static let userRemedy = "set XDG_RUNTIME_DIR to a directory that you own"
    private static let rootRemedy = "make it a directory that only root may write to"

    /// Opens or makes the directory with the control sockets of this process's user.
    /// - Throws: `cannotCreate`.
    package static func sockets() throws(ExitError) -> Directory {
        let made =
            CurrentProcess.effectiveUser == 0
            ? try make(system, .trustedPath, rootRemedy) : try userRuntime()
        do throws(SystemError) {
            return try Directory.open(made, .trustedPath)
        } catch {
            throw ExitError(.cannotCreate, "\(error.about(made)); \(error.remedyOfLack ?? userRemedy)")
        }
    }

    /// Closes the files of an earlier version, which other users could open, and so lock, once the directory is opened.
    /// Its directory was closed.
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
            let isShared = path == system && CurrentProcess.effectiveUser == 0
            let mode: UInt16 = isShared ? 0o755 : 0o700
            if try directory.status().mode & 0o777 != mode {
                if isShared { try closeFiles(in: directory) }
                try directory.reopen().setMode(mode)
            }
            return directory.path
        } catch {
            if let remedyOfLack = error.remedyOfLack {
                // The user may be unable to fix it: another user has filled the disk.
                let elsewhere = error.isOfFileSystem && remedy != rootRemedy ? ", or " + remedy : ""
                throw ExitError(.cannotCreate, "\(error.about(path)); \(remedyOfLack)\(elsewhere)")
            }
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
