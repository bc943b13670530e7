// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing

/// What networks that a test has killed leave in the runtime directory, as they should: the next network of their
/// namespace, or with their name, uses it. A test host has no next one.
enum LeftRecords {
    private static let directory = "/run/vde_vmnet"

    /// The entries that were there before the first test.
    private static let earlier = Set((try? Files.entries(directory)) ?? [])

    /// Notes what is not the tests'.
    static func note() { _ = earlier }

    /// Removes the records of a namespace that is about to be deleted, and the sockets that no process serves.
    static func remove(ofNamespace name: String) {
        guard let inode = try? Files.status("/run/netns/\(name)").inode else { return }
        let entries = ((try? Files.entries(directory)) ?? []).filter { !earlier.contains($0) }
        for entry in entries where entry.hasSuffix(".run") {
            guard let file = try? Files.open("\(directory)/\(entry)", [.readWrite, .noFollow]),
                let bytes = try? file.readAll(limit: 1 << 20),
                String(decoding: bytes, as: UTF8.self).contains("\nnamespace \(inode)\n"),
                (try? file.tryLock()) == true
            else { continue }
            try? Files.remove("\(directory)/\(entry)")
        }
        removeStaleSockets(entries)
    }

    private static func removeStaleSockets(_ entries: [String]) {
        let sockets = entries.filter {
            (try? Files.status("\(directory)/\($0)", followLinks: false).kind) == .socket
        }
        // Under this lock no network makes a socket.
        guard !sockets.isEmpty, let lock = try? Files.open("\(directory)/control.lock", [.readWrite, .noFollow]),
            (try? lock.lock(until: BootClock.now + .seconds(2))) == true
        else { return }
        for name in sockets where isStale("\(directory)/\(name)") { try? Files.remove("\(directory)/\(name)") }
    }

    private static func isStale(_ path: String) -> Bool {
        do throws(SystemError) {
            let socket = try Socket.unixStream()
            try socket.connect(to: UnixPath(path))
            return false
        } catch {
            return error.code == Errno.refused
        }
    }
}
