// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing
import Wire

/// The record of one running instance: a locked file that lists its changes of the host, so that its successor can undo
/// exactly those after a crash.
///
///     vde_vmnet record 1
///     pid 4711
///     namespace 4026531840
///     table vde_vmnet_vmnet0
///     setting net/ipv4/conf/eth0/forwarding 0
///
/// The kernel releases the lock when the process ends, so a record that can be locked belongs to a dead instance.
/// `namespace` is the inode of the network namespace (`NamespaceSweep`).
/// `setting` lines contain the value to go back to. `HostChange` defines which lines are valid; others are not undone.
///
/// No other user can open a record. Other users could open a record of an earlier version, and lock it: on such a file
/// a lock counts only while the process that the record names is alive.
package final class UndoLog {
    static let header = "vde_vmnet record 1"
    static let suffix = ".run"
    /// How long to wait for the lock of a record whose process is dead: a child that had not yet started its program
    /// when the process was killed has inherited the lock.
    private static let inheritedLockTimeout = TimeAmount.seconds(1)
    /// The end of the names of records that belong to this network namespace.
    private static let ownSuffix = "@\(NetworkNamespace.identifier)\(suffix)"

    /// The file, for messages.
    package let path: String
    private let directory: String
    private let file: Descriptor
    /// The recorded changes, in the order in which they were made.
    package private(set) var changes: [HostChange] = []
    /// Lines that this program does not write. They are not undone.
    package private(set) var rejected: [String] = []

    private init(directory: String, path: String, file: consuming Descriptor) {
        self.directory = directory
        self.path = path
        self.file = file
    }

    /// Makes the record of this process.
    /// - Parameter name: of a resource that one instance at a time may use, such as a network; unique within this
    ///   network namespace.
    /// - Returns: nil and the owner's process identifier if another instance has the name.
    package static func create(
        _ name: String, in directory: String
    ) throws(SystemError) -> (log: UndoLog?, owner: Int32) {
        let path = "\(directory)/\(name)\(ownSuffix)"
        if let old = try existing(path) {
            let contents = Contents(of: old)
            if try contents.isHeld(old, timeout: inheritedLockTimeout) { return (nil, contents.process) }
            // A new file, because another process may still have a lock on the old one.
            try Files.remove(path)
        }
        let file = try Files.open(path, [.readWrite, .create, .exclusive, .noFollow], mode: 0o600)
        guard try file.tryLock() else { return (nil, 0) }
        let log = UndoLog(directory: directory, path: path, file: file)
        do throws(SystemError) {
            try log.write()
        } catch {
            log.remove()
            throw error
        }
        return (log, 0)
    }

    static func existing(_ path: String) throws(SystemError) -> Descriptor? {
        do throws(SystemError) {
            return try Files.open(path, [.readWrite, .noFollow, .nonBlocking])
        } catch {
            if error.code == Errno.noEntry { return nil }
            throw error
        }
    }

    /// The parsed contents of a record.
    private struct Contents {
        var process: Int32 = 0
        var changes: [HostChange] = []
        var rejected: [String] = []

        init(of file: borrowing Descriptor) {
            let lines = String(decoding: (try? file.readAll(limit: 1 << 20)) ?? [], as: UTF8.self).split(
                separator: "\n")
            guard lines.first == header[...] else { return }
            for line in lines.dropFirst() {
                if line.hasPrefix("pid "), let number = Int32(line.dropFirst(4)) {
                    process = number
                } else if line.hasPrefix("namespace "), UInt64(line.dropFirst(10)) != nil {
                    continue
                } else if let change = HostChange(line) {
                    changes.append(change)
                } else {
                    rejected.append(String(line))
                }
            }
        }

        /// Whether the record's process is alive. If it is not, this locks the record, unless another process still has
        /// it locked.
        /// - Parameter timeout: how long to wait for a lock that a child has inherited.
        func isHeld(_ file: borrowing Descriptor, timeout: TimeAmount) throws(SystemError) -> Bool {
            if try file.tryLock() { return false }
            let status = try file.status()
            if ProcessTable.isAlive(process, asUser: status.owner) { return true }
            // If no other user can open the file, an instance has locked it, perhaps in another process namespace.
            guard status.mode & 0o077 == 0 else { return false }
            return try !file.lock(until: BootClock.now + timeout)
        }
    }

    private func write() throws(SystemError) {
        let place = NetworkNamespace.inode.map { ["namespace \($0)"] } ?? []
        let lines = [UndoLog.header, "pid \(CurrentProcess.identifier)"] + place + changes.map(\.line)
        do throws(SystemError) {
            try file.truncate(to: 0)
            try file.rewind()
            try file.write(Array((lines.joined(separator: "\n") + "\n").utf8))
        } catch {
            throw error.about(path)
        }
    }

    /// Records a change that is about to be made.
    package func add(_ change: HostChange) throws(SystemError) {
        guard !changes.contains(change) else { return }
        changes.append(change)
        try write()
    }

    /// Removes a change that was undone from the record.
    package func forget(_ change: HostChange) throws(SystemError) {
        changes.removeAll { $0 == change }
        try write()
    }

    /// Removes the record, after all of its changes were undone.
    package func remove() { try? Files.remove(path) }

    /// The changes of the other instances that are alive in this network namespace.
    package func changesOfOthers() -> [HostChange] { UndoLog.changesOfLiving(in: directory, except: path) }

    /// The changes of the instances that are alive in this network namespace.
    /// - Parameter own: the path of a record that is left out.
    static func changesOfLiving(in directory: String, except own: String = "") -> [HostChange] {
        others(in: directory, except: own, dead: false).flatMap(\.changes)
    }

    /// The records that dead instances left in this network namespace. Each stays locked until it is released.
    ///
    /// Removes records of earlier boots, because the kernel no longer has those changes, and records of other
    /// namespaces by the rules of `NamespaceSweep`.
    package static func orphans(in directory: String) -> [UndoLog] {
        let mark = "@\(NetworkNamespace.boot)-", own = ownSuffix
        var foreign: [String] = []
        for name in (try? Files.entries(directory)) ?? [] where name.hasSuffix(suffix) && !name.hasSuffix(own) {
            if name.contains(text: mark) { foreign.append(name) } else { try? Files.remove("\(directory)/\(name)") }
        }
        if foreign.count >= NamespaceSweep.threshold { NamespaceSweep(directory).run(foreign) }
        return others(in: directory, except: "", dead: true)
    }

    private static func others(in directory: String, except own: String, dead: Bool) -> [UndoLog] {
        var found: [UndoLog] = []
        let suffix = ownSuffix
        for name in (try? Files.entries(directory)) ?? [] where name.hasSuffix(suffix) {
            let path = "\(directory)/\(name)"
            guard path != own, let file = try? existing(path) else { continue }
            let contents = Contents(of: file)
            guard let isHeld = try? contents.isHeld(file, timeout: dead ? inheritedLockTimeout : .zero), isHeld != dead
            else {
                continue
            }
            let log = UndoLog(directory: directory, path: path, file: file)
            log.changes = contents.changes
            log.rejected = contents.rejected
            found.append(log)
        }
        return found
    }
}
