// SPDX-License-Identifier: Apache-2.0
import Platform

/// A file with the process identifier, for other programs to read, which one process at a time can have.
///
/// The process keeps the file locked. Other users may read the file, and so lock it as well. Therefore a lock counts
/// only while the process that the file names is alive and belongs to the owner of the file. Each start makes a new
/// file, under a temporary name and with mode 0600 until it is locked, so that no other process can lock it first. An
/// incomplete file keeps this mode, so its lock counts although it names no process.
package final class Pidfile: Sendable {
    private let entry: DirectoryEntry
    private let file: Descriptor

    /// Makes the file.
    /// - Parameters:
    ///   - path: where; a file of a dead process is replaced.
    ///   - isComplete: it contains the process identifier at once; else from `complete` on.
    /// - Throws: `alreadyRunning` with the process that has it; `cannotCreate` or `noPermission` if it cannot be
    ///   written.
    package init(_ path: String, isComplete: Bool = true) throws(ExitError) {
        do throws(SystemError) {
            let name = try Directory.name(of: path)
            let directory = try Directory.open(above: path, .trustedLinks)
            let file = try Pidfile.claim(name, in: directory, isComplete: isComplete)
            entry = DirectoryEntry(name, try file.status(), in: directory)
            self.file = file
        } catch {
            if error.code == Errno.busy {
                throw ExitError(
                    .alreadyRunning,
                    "the pidfile \(path) is held by \(error.operation); stop it first, or give another --pidfile")
            }
            throw Pidfile.unwritable(error)
        }
    }

    private static func unwritable(_ error: SystemError) -> ExitError {
        let isDenied = [Errno.accessDenied, Errno.notPermitted].contains(error.code)
        return ExitError(
            isDenied ? .noPermission : .cannotCreate,
            """
            cannot write the pidfile: \(error); \
            \(error.remedyOfLack ?? "its directory must exist and be writable"), or give another --pidfile
            """
        )
    }

    /// Writes the process identifier to a file that was made incomplete.
    /// - Throws: `cannotCreate`, for instance on a full disk.
    package func complete() throws(ExitError) {
        do throws(SystemError) {
            try Pidfile.complete(file)
        } catch {
            throw Pidfile.unwritable(SystemError(code: error.code, error.operation, entry.path))
        }
    }

    private static func complete(_ file: borrowing Descriptor) throws(SystemError) {
        try file.write(Array("\(CurrentProcess.identifier)\n".utf8))
        try file.setMode(0o644)
    }

    private static func claim(
        _ name: String, in directory: borrowing Directory, isComplete: Bool
    ) throws(SystemError) -> Descriptor {
        let temporary = ".\(name).\(CurrentProcess.identifier)-\(Random.value() as UInt32)"
        let file = try directory.open(temporary, [.readWrite, .create, .exclusive])
        do throws(SystemError) {
            guard try file.tryLock() else { throw SystemError(code: Errno.busy, "another process") }
            if isComplete { try complete(file) }
            // Several processes may find the file of the same dead process. One removes it, and one gets the name; the
            // others try again.
            for _ in 0..<100 {
                do throws(SystemError) {
                    try directory.renameExclusively(temporary, to: name)
                    return file
                } catch {
                    guard error.code == Errno.exists else { throw error }
                }
                try clear(name, in: directory)
            }
            throw SystemError(code: Errno.busy, "another process")
        } catch {
            try? directory.remove(temporary)
            throw error.subject.isEmpty && error.code != Errno.busy
                ? SystemError(code: error.code, error.operation, directory.path(of: name)) : error
        }
    }

    /// Removes the pidfile of a dead process.
    /// - Throws: `Errno.busy`, with the live process that has it as the operation.
    private static func clear(_ name: String, in directory: borrowing Directory) throws(SystemError) {
        let status: FileStatus, old: Descriptor
        do throws(SystemError) {
            status = try directory.status(of: name)
            // An existing file is only read, never written to.
            guard status.kind == .regular else {
                throw SystemError(code: Errno.exists, "replace what is no regular file:", directory.path(of: name))
            }
            old = try directory.open(name, [.readOnly, .nonBlocking])
        } catch {
            if error.code == Errno.noEntry { return }
            throw error
        }
        guard [CurrentProcess.effectiveUser, CurrentProcess.sudoCaller?.user].contains(status.owner) else {
            throw SystemError(
                code: Errno.exists, "replace, as it belongs to \(UserDatabase.userName(status.owner)),",
                directory.path(of: name))
        }
        if try !old.tryLock() {
            guard status.mode != 0o600 else { throw SystemError(code: Errno.busy, "a process that is starting") }
            let number = String(decoding: (try? old.read(limit: 32)) ?? [], as: UTF8.self).prefix { $0.isNumber }
            if let process = Int32(number), ProcessTable.isAlive(process, asUser: status.owner) {
                throw SystemError(code: Errno.busy, "process \(process)")
            }
        }
        try directory.remove(name, ifStill: status)
    }

    /// Removes the file, unless another process has put another in its place.
    package func remove() { entry.remove() }
}
