// SPDX-License-Identifier: Apache-2.0
import Lifecycle
import Platform

/// A file with our process id, for other programs to read, and for one of us at a time.
///
/// Its lock says that the process in it lives. Other users may read the file, and so lock it as well; but a lock counts
/// only as long as the process whose number is in the file is there and is of the file's user. The file is made new
/// each time, under another name and closed to others until it is locked, so that no other process can have a lock on
/// it before us.
package final class Pidfile: Sendable {
    private let directory: Directory
    private let name: String
    private let file: Descriptor
    private let status: FileStatus

    /// - Throws: 75 naming the process that has it; 73 or 77 if it cannot be written.
    package init(_ path: String) throws(ExitError) {
        do throws(SystemError) {
            let name = try Directory.name(of: path)
            let directory = try Directory.open(above: path, .ownersOfLinks)
            let file = try Pidfile.claim(name, in: directory)
            status = try file.status()
            self.directory = directory
            self.name = name
            self.file = file
        } catch {
            if error.code == Errno.busy {
                throw ExitError(
                    .alreadyRunning,
                    "the pidfile \(path) is held by \(error.operation); stop it first, or give another --pidfile")
            }
            let isDenied = [Errno.accessDenied, Errno.notPermitted].contains(error.code)
            throw ExitError(
                isDenied ? .noPermission : .cannotCreate,
                "cannot write the pidfile: \(error); its directory must exist and be writable, or give another --pidfile"
            )
        }
    }

    private static func claim(_ name: String, in directory: borrowing Directory) throws(SystemError) -> Descriptor {
        let temporary = ".\(name).\(Accounts.processID)-\(Random.value() as UInt32)"
        let file = try directory.open(temporary, [.readWrite, .create, .exclusive])
        do throws(SystemError) {
            guard try file.tryLock() else { throw SystemError(code: Errno.busy, "another process") }
            try file.write(Array("\(Accounts.processID)\n".utf8))
            try file.setMode(0o644)
            // Of several that find the same dead one's file, one removes it and one has the name; the others look
            // again.
            for _ in 0..<100 {
                do throws(SystemError) {
                    try directory.renameNew(temporary, to: name)
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

    /// Removes the pidfile of a process that is gone.
    /// - Throws: "busy" with the process that has it in place of the operation.
    private static func clear(_ name: String, in directory: borrowing Directory) throws(SystemError) {
        let status: FileStatus, old: Descriptor
        do throws(SystemError) {
            status = try directory.status(of: name)
            // What is there is looked at, and never written to.
            guard status.kind == .regular else {
                throw SystemError(code: Errno.exists, "replace, which is no file,", directory.path(of: name))
            }
            old = try directory.open(name, [.readOnly, .nonBlocking])
        } catch {
            if error.code == Errno.noEntry { return }
            throw error
        }
        guard [Accounts.effectiveUser, Accounts.sudoCaller?.user].contains(status.owner) else {
            throw SystemError(
                code: Errno.exists, "replace, as it belongs to \(Accounts.userName(status.owner)),",
                directory.path(of: name))
        }
        if try !old.tryLock() {
            let number = String(decoding: (try? old.read(limit: 32)) ?? [], as: UTF8.self).prefix { $0.isNumber }
            if let process = Int32(number), Accounts.isAlive(process, asUser: status.owner) {
                throw SystemError(code: Errno.busy, "process \(process)")
            }
        }
        try directory.remove(name, ifStill: status)
    }

    /// Removes the file, unless another process has put another in its place.
    package func remove() { if directory.has(name, status) { try? directory.remove(name) } }
}
