// SPDX-License-Identifier: Apache-2.0
import Platform
import Uplinks
import Wire

/// One running instance, as a locked file that lists what it did to the system, so that its successor can undo exactly
/// that after a crash.
///
///     vde_vmnet record 1
///     pid 4711
///     table vde_vmnet_vmnet0
///     setting net/ipv4/conf/eth0/forwarding 0
///
/// The lock ends with the process, however it ends: a record that can be locked is a dead one's. `setting` lines hold
/// the value to go back to. An act is recorded before it is done; undoing what was not done after all does no harm.
///
/// No other user can open a record. On one of an earlier version, which others could, a lock counts only as long as the
/// process in the record lives. What a record may name is in `Act`; nothing else is undone.
package final class RunRecord {
    private static let header = "vde_vmnet record 1"
    private static let suffix = ".run"
    /// How long a child may take that was about to start a program when its process was killed.
    private static let childPatience = MonotonicClock.second
    /// How records of this network namespace end.
    private static let ownSuffix = "@\(NetworkNamespace.identifier)\(suffix)"

    package enum Act: Equatable, Sendable {
        case table(String)
        case setting(KernelSetting, before: String)
        /// A port of an Open vSwitch bridge, which outlives its interface.
        case switchPort(String, bridge: String)
        /// The routing rule that keeps a guest network reachable (`PolicyRouting`).
        case rule(IPv4Network, preference: UInt32)

        package var line: String {
            switch self {
            case .table(let name): "table \(name)"
            case .setting(let setting, let before): "setting \(setting.path) \(before)"
            case .switchPort(let port, let bridge): "switch-port \(port) \(bridge)"
            case .rule(let network, let preference): "rule \(network) \(preference)"
            }
        }

        /// Nil for whatever we would not have recorded.
        package init?(_ line: Substring) {
            let words = line.split(separator: " ", omittingEmptySubsequences: false).map(String.init)
            switch words.first {
            case "table" where words.count == 2 && Firewall.isTableName(words[1]): self = .table(words[1])
            case "setting" where words.count == 3:
                guard let setting = KernelSetting(recorded: words[1]), KernelSetting.recordedValues.contains(words[2])
                else { return nil }
                self = .setting(setting, before: words[2])
            // A name that begins with a dash would be an option of the tool that takes the port away.
            case "switch-port"
            where words.count == 3 && words[1...].allSatisfy({ NetworkInterfaces.isName($0) && !$0.hasPrefix("-") }):
                self = .switchPort(words[1], bridge: words[2])
            case "rule" where words.count == 3:
                guard let network = IPv4Network(words[1]), let preference = UInt32(words[2]),
                    (1..<32_766).contains(preference)
                else { return nil }
                self = .rule(network, preference: preference)
            default: return nil
            }
        }
    }

    /// Where it is, for messages.
    package let path: String
    private let directory: String
    private let file: Descriptor
    package private(set) var acts: [Act] = []
    /// Lines that name what we do not record, and that are not acted upon.
    package private(set) var refused: [String] = []

    private init(directory: String, path: String, file: consuming Descriptor) {
        self.directory = directory
        self.path = path
        self.file = file
    }

    /// Makes the record of this process.
    /// - Parameter name: what only one instance may have, such as a network; unique within this network namespace.
    /// - Returns: nil and the holder's process id if another instance has it.
    package static func create(
        _ name: String, in directory: String
    ) throws(SystemError) -> (record: RunRecord?, holder: Int32) {
        let path = "\(directory)/\(name)\(ownSuffix)"
        if let old = try existing(path) {
            let contents = Contents(of: old)
            if try contents.isHeld(old, for: childPatience) { return (nil, contents.process) }
            // A new file, for a lock on the old one may be another's still.
            try Files.remove(path)
        }
        let file = try Files.open(path, [.readWrite, .create, .exclusive, .noFollow], mode: 0o600)
        guard try file.tryLock() else { return (nil, 0) }
        let record = RunRecord(directory: directory, path: path, file: file)
        try record.write()
        return (record, 0)
    }

    private static func existing(_ path: String) throws(SystemError) -> Descriptor? {
        do throws(SystemError) {
            return try Files.open(path, [.readWrite, .noFollow, .nonBlocking])
        } catch {
            if error.code == Errno.noEntry { return nil }
            throw error
        }
    }

    /// What is in a record.
    private struct Contents {
        var process: Int32 = 0
        var acts: [Act] = []
        var refused: [String] = []

        init(of file: borrowing Descriptor) {
            let lines = String(decoding: (try? file.readAll(limit: 1 << 20)) ?? [], as: UTF8.self).split(
                separator: "\n")
            guard lines.first == header[...] else { return }
            for line in lines.dropFirst() {
                if line.hasPrefix("pid "), let number = Int32(line.dropFirst(4)) {
                    process = number
                } else if let act = Act(line) {
                    acts.append(act)
                } else {
                    refused.append(String(line))
                }
            }
        }

        /// Whether the record's process is alive. Otherwise the record is locked, if no other process has it locked
        /// still.
        /// - Parameter patience: how long to wait for a child of the process that is about to start a program, in
        ///   nanoseconds.
        func isHeld(_ file: borrowing Descriptor, for patience: UInt64) throws(SystemError) -> Bool {
            if try file.tryLock() { return false }
            let status = try file.status()
            if Accounts.isAlive(process, asUser: status.owner) { return true }
            // A file that no other user can open is locked by one of us, in another process namespace perhaps.
            guard status.mode & 0o077 == 0 else { return false }
            return try !file.lock(until: MonotonicClock.now + patience)
        }
    }

    private func write() throws(SystemError) {
        let lines = [RunRecord.header, "pid \(Accounts.processID)"] + acts.map(\.line)
        try file.truncate(to: 0)
        try file.rewind()
        try file.write(Array((lines.joined(separator: "\n") + "\n").utf8))
    }

    /// Notes an act that is about to be done.
    package func add(_ act: Act) throws(SystemError) {
        guard !acts.contains(act) else { return }
        acts.append(act)
        try write()
    }

    /// Forgets an act that was undone.
    package func forget(_ act: Act) throws(SystemError) {
        acts.removeAll { $0 == act }
        try write()
    }

    /// Removes the record, all of it being undone.
    package func remove() { try? Files.remove(path) }

    /// The acts of the other instances that are alive in this network namespace.
    package func actsOfOthers() -> [Act] { RunRecord.others(in: directory, except: path, dead: false).flatMap(\.acts) }

    /// For so long (seconds) the record of a dead instance in another network namespace waits for a successor there.
    private static let patience: Int64 = 7 * 86_400

    /// The records that dead instances left in this network namespace, locked until they are released. What an earlier
    /// boot left is removed: the kernel has undone it. So is after a week what was left in another namespace, which
    /// most likely has gone, and all in it.
    /// - Parameter now: seconds since 1970.
    package static func leftBehind(in directory: String, now: Int64 = WallClock.seconds) -> [RunRecord] {
        for name in (try? Files.entries(directory)) ?? [] where name.hasSuffix(suffix) && !name.hasSuffix(ownSuffix) {
            let path = "\(directory)/\(name)"
            guard name.contains("@\(NetworkNamespace.boot)-") else {
                try? Files.remove(path)
                continue
            }
            // Most are young, and need not be opened to see that.
            guard let status = try? Files.status(path, followLinks: false),
                status.modified / 1_000_000_000 < now - patience
            else { continue }
            if let file = try? existing(path), (try? file.tryLock()) == true { try? Files.remove(path) }
        }
        return others(in: directory, except: "", dead: true)
    }

    private static func others(in directory: String, except own: String, dead: Bool) -> [RunRecord] {
        var found: [RunRecord] = []
        for name in (try? Files.entries(directory)) ?? [] where name.hasSuffix(ownSuffix) {
            let path = "\(directory)/\(name)"
            guard path != own, let file = try? existing(path) else { continue }
            let contents = Contents(of: file)
            guard let isHeld = try? contents.isHeld(file, for: dead ? childPatience : 0), isHeld != dead else {
                continue
            }
            let record = RunRecord(directory: directory, path: path, file: file)
            record.acts = contents.acts
            record.refused = contents.refused
            found.append(record)
        }
        return found
    }
}

/// The network namespace this process runs in (Linux); one for all elsewhere.
package enum NetworkNamespace {
    /// Distinguishes this boot of the machine from others.
    static let boot = Files.text("/proc/sys/kernel/random/boot_id")?.prefix(8) ?? "0"

    /// The boot and the namespace: interfaces, tables and settings of another one are not ours to undo.
    package static let identifier: String = {
        let cookie = NetworkInterfaces.namespaceCookie
        // The inode may be another namespace's later, which the cookie never is.
        return "\(boot)-" + (cookie != 0 ? String(cookie) : "i\((try? Files.status("/proc/self/ns/net"))?.inode ?? 0)")
    }()
}
