// SPDX-License-Identifier: Apache-2.0
import Platform

/// Removes records that dead instances left in other network namespaces, of which a container or a test host makes
/// many.
///
/// A record is for the next instance in its namespace. It is removed if there can be none: if it lists no changes, or
/// if its namespace is gone, and with it the changes. A namespace without a trace in /proc may still exist, such as one
/// whose only descriptor is on its way between two processes; so nothing happens to a record that has just been
/// written. A week after the last change, a namespace is most likely gone.
///
/// The caller has the directory lock, so no instance makes or reads a record meanwhile.
package struct NamespaceSweep {
    /// Records of other namespaces at which a start looks at them. A start does not read fewer.
    package static let threshold = 32
    /// Records that one start looks at, so that many of them do not delay it.
    package static let limit = 64
    /// Seconds for which a record is kept whose namespace has left no trace.
    private static let delay: Int64 = 3600
    /// Seconds for which a record that lists changes is kept at most.
    private static let retention: Int64 = 7 * 86_400

    private let directory: String
    private let now: Int64
    private let findNamespaces: () -> Set<UInt64>?

    /// - Parameters:
    ///   - now: seconds since 1970.
    ///   - namespaces: finds the inodes of those that exist; nil if they are unknown.
    package init(
        _ directory: String, now: Int64 = WallClock.seconds,
        namespaces: @escaping () -> Set<UInt64>? = NetworkNamespace.inodes
    ) {
        self.directory = directory
        self.now = now
        findNamespaces = namespaces
    }

    /// Looks at some of the records, at others each time.
    /// - Parameter names: of records in the directory.
    package func run(_ names: [String]) {
        let first = names.count > NamespaceSweep.limit ? Int(Random.value() as UInt32) % names.count : 0
        // Found when the first record needs them.
        var namespaces: Set<UInt64>??
        for name in (names[first...] + names[..<first]).prefix(NamespaceSweep.limit) {
            let path = "\(directory)/\(name)"
            // The lock of a living instance keeps its record.
            guard let file = try? UndoLog.existing(path), (try? file.tryLock()) == true,
                let status = try? file.status()
            else { continue }
            let facts = Facts(of: file), age = now - status.modified / 1_000_000_000
            var isObsolete = age > NamespaceSweep.retention || facts.isEmpty
            if !isObsolete, age > NamespaceSweep.delay, let namespace = facts.namespace {
                let known = namespaces ?? findNamespaces()
                namespaces = .some(known)
                isObsolete = known.map { !$0.contains(namespace) } ?? false
            }
            if isObsolete { try? Files.remove(path) }
        }
    }

    /// What a sweep needs of a record. The changes themselves are not parsed, which would take a start longer.
    private struct Facts {
        var namespace: UInt64?
        /// Whether it is a record that lists no changes.
        var isEmpty = false

        init(of file: borrowing Descriptor) {
            var lines = ((try? file.read(limit: 4096)) ?? []).split(separator: UInt8(ascii: "\n"))[...]
            guard lines.popFirst().map(Array.init) == Array(UndoLog.header.utf8),
                let process = lines.popFirst(), process.starts(with: "pid ".utf8),
                Int32(String(decoding: process.dropFirst(4), as: UTF8.self)) != nil
            else { return }
            if let line = lines.first, line.starts(with: "namespace ".utf8) {
                namespace = UInt64(String(decoding: line.dropFirst(10), as: UTF8.self))
                lines.removeFirst()
            }
            isEmpty = lines.isEmpty
        }
    }
}
