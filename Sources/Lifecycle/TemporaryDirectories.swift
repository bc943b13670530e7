// SPDX-License-Identifier: Apache-2.0
import Platform

/// Directories in /tmp for what a run of a user's network needs, if the system has given that user none:
/// `vde_vmnet-UID`, or one with random characters after that name, because any user can make the first one before its
/// user does.
///
/// Other users may have made what is found under these names: it is for `Directory.Trust.trustedPath` only.
package enum TemporaryDirectories {
    /// A directory in which every user may make entries.
    package static let parent = "/tmp"
    private static let prefix = "vde_vmnet-"
    /// Between a user's number and the random characters.
    private static let separator: Character = "."
    /// Tries of a random name, of which another user could predict none.
    private static let attempts = 4

    /// The first choice of a user.
    static func customary(of user: UInt32) -> String { "\(parent)/\(prefix)\(user)" }

    /// The directories named `name` in those that users have made for themselves, to which other users cannot write.
    /// - Parameter user: whose; nil for all users'.
    /// - Returns: by user, the first choice before those with random characters, which are in the order of their names.
    ///   A directory itself may be missing.
    package static func places(of user: UInt32?, named name: String) -> [String] {
        var found: [(user: UInt32, path: String)] = []
        for entry in (try? Files.entries(parent)) ?? [] where entry.hasPrefix(prefix) {
            let number = entry.dropFirst(prefix.count).prefix { $0 != separator }
            guard let owner = UInt32(number), user == nil || owner == user else { continue }
            let directory = "\(parent)/\(entry)", place = "\(directory)/\(name)"
            guard isPrivate(directory, of: owner), isPrivate(place, of: owner) || isMissing(place) else { continue }
            found.append((owner, place))
        }
        return found.sorted { ($0.user, $0.path) < ($1.user, $1.path) }.map(\.path)
    }

    /// How the path of a place that `make` would make begins and ends, for messages.
    static func pattern(named name: String) -> String {
        "\(customary(of: CurrentProcess.effectiveUser))\(separator)*/\(name)"
    }

    /// The place that a start of this process's user takes; nil if `make` is to make one.
    static func chosen(named name: String) -> String? {
        let user = CurrentProcess.effectiveUser
        if let found = places(of: user, named: name).first { return found }
        return isMissing(customary(of: user)) ? "\(customary(of: user))/\(name)" : nil
    }

    /// The user for whom a directory was made, by its path; nil for other paths.
    package static func user(of path: String) -> UInt32? {
        let start = "\(parent)/\(prefix)"
        guard path.hasPrefix(start) else { return nil }
        return UInt32(path.dropFirst(start.count).prefix { $0 != separator })
    }

    /// Whether a path is a directory of this user's, and not a link, to which other users cannot write.
    package static func isPrivate(_ path: String, of user: UInt32) -> Bool {
        guard let status = try? Files.status(path, followLinks: false) else { return false }
        return status.kind == .directory && status.owner == user && status.mode & 0o022 == 0
    }

    private static func isMissing(_ path: String) -> Bool {
        do throws(SystemError) {
            _ = try Files.status(path, followLinks: false)
            return false
        } catch {
            return error.code == Errno.noEntry
        }
    }

    /// Makes a directory that no other user could foresee.
    static func make() throws(SystemError) -> String {
        let directory = try Directory.open(parent, .trustedPath)
        for attempt in 1...attempts {
            let random = String(Random.value() as UInt64, radix: 36)
            let name = "\(prefix)\(CurrentProcess.effectiveUser)\(separator)\(random)"
            do throws(SystemError) {
                try directory.makeDirectory(name, mode: 0o700)
                return directory.path(of: name)
            } catch {
                guard error.code == Errno.exists && attempt < attempts else { throw error }
            }
        }
        throw SystemError(code: Errno.exists, "mkdir", parent)
    }
}
