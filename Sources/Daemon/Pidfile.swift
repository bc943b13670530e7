// SPDX-License-Identifier: Apache-2.0
import Platform

/// A locked file with our process id. The lock ends with the process, so that a stale file is no obstacle.
package final class Pidfile {
    private let path: String
    private let file: Descriptor

    /// - Throws: 75 naming the process that has it; 69 if it cannot be written.
    package init(_ path: String) throws(ExitError) {
        do throws(SystemError) {
            let file = try Files.open(path, [.readWrite, .create, .noFollow])
            guard try file.tryLock() else {
                let holder = String(decoding: (try? file.readAll()) ?? [], as: UTF8.self).prefix { $0.isNumber }
                throw SystemError(code: Errno.busy, holder.isEmpty ? "another process" : "process \(holder)")
            }
            try file.truncate(to: 0)
            try file.write(Array("\(Accounts.processID)\n".utf8))
            self.path = path
            self.file = file
        } catch {
            if error.code == Errno.busy {
                throw ExitError(.alreadyRunning, "the pidfile \(path) is held by \(error.operation); stop it first, or give another --pidfile")
            }
            throw ExitError(.unavailable, "cannot write the pidfile: \(error)")
        }
    }

    /// Removes the file, unless somebody has put another in its place.
    package func remove() {
        guard let own = try? file.status(), let there = try? Files.status(path, followLinks: false), own.inode == there.inode, own.device == there.device else { return }
        try? Files.remove(path)
    }
}
