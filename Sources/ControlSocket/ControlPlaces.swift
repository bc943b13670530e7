// SPDX-License-Identifier: Apache-2.0
import Lifecycle
import Platform
import Timing

/// Where running networks have their control sockets: a file named after the network, in `/run/vde_vmnet` for root, and
/// in `$XDG_RUNTIME_DIR/vde_vmnet` for other users. A user without a runtime directory, such as one in a shell of su(1)
/// or a job of cron(8), has one in /tmp (`TemporaryDirectories`).
package enum ControlPlaces {
    private static let usersDirectory = "/run/user"
    private static let lockName = "control.lock"
    private static let lockTimeout = TimeAmount.seconds(2)
    /// As many sockets of another user as are searched: any user can make any number that never reply.
    package static let searchedOfOtherUser = 64

    private static var system: String { StateDirectories.system }
    private static var directoryName: String { StateDirectories.runtimeName }

    /// Where the sockets of this process's user are, or will be.
    package static var own: String {
        CurrentProcess.effectiveUser == 0 ? system : StateDirectories.expectedUserRuntime
    }

    /// The directories that a process of this user may have found, in the order of their rank.
    private static var userPlaces: [String] {
        let user = CurrentProcess.effectiveUser
        let given =
            [CurrentProcess.environment("XDG_RUNTIME_DIR"), "\(usersDirectory)/\(user)"]
            + (OperatingSystem.isMacOS ? [CurrentProcess.environment("TMPDIR")] : [])
        return given.compactMap { path in path.flatMap { $0.isEmpty ? nil : $0 + "/" + directoryName } }
            + TemporaryDirectories.places(of: user, named: directoryName)
    }

    /// The directories that are searched for networks, this user's first. Root sees those of other users as well.
    package static var searched: [String] { ownPlaces + othersPlaces }

    /// The directories with networks of this user.
    private static var ownPlaces: [String] {
        guard CurrentProcess.effectiveUser != 0 else { return [system] }
        var places: [String] = []
        for place in userPlaces {
            // A socket of another user in its place would get this user's requests.
            guard !places.contains(place), (try? Directory.open(place, .trustedPath).requirePrivate()) != nil else {
                continue
            }
            places.append(place)
        }
        return places
    }

    /// The directories with networks of other users that this one may reach.
    private static var othersPlaces: [String] {
        guard CurrentProcess.effectiveUser == 0 else { return [system] }
        let users = ((try? Files.entries(usersDirectory)) ?? []).compactMap { UInt32($0) }.sorted()
        let places = users.map { (user: $0, path: "\(usersDirectory)/\($0)/\(directoryName)") }
        // A user could put a link in its place to a directory with other networks.
        return places.filter { TemporaryDirectories.isPrivate($0.path, of: $0.user) }.map(\.path)
            + TemporaryDirectories.places(of: nil, named: directoryName)
    }

    /// The user of the directory that a control socket is in, by its path; nil for root's and for other paths. That
    /// user can replace everything in the directory, at any time, by links to what others serve.
    static func user(ofSocket path: String) -> UInt32? {
        let parts = path.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count > 3, parts[parts.count - 2] == directoryName[...] else { return nil }
        let parent = parts.dropLast(2)
        if parent.dropLast().joined(separator: "/") == usersDirectory { return parent.last.flatMap { UInt32($0) } }
        return TemporaryDirectories.user(of: parent.joined(separator: "/"))
    }

    /// Opens the own directory, which is made if it is missing, removes the sockets of killed networks, and keeps the
    /// directory locked while `body` runs: only one process at a time replaces the socket of a killed network.
    static func withOwnDirectory<Result>(
        _ body: (String) throws(ExitError) -> Result
    ) throws(ExitError) -> Result {
        let directory = try StateDirectories.sockets()
        let lock = try lock(directory)
        removeUnserved(in: directory)
        let result = try body(directory.path)
        _ = consume lock
        return result
    }

    /// Removes the sockets that no process has open. Needs the lock.
    private static func removeUnserved(in directory: borrowing Directory) {
        // The lock of listeners: a socket that is bound and does not listen yet looks abandoned.
        guard let lock = try? directory.reopen(), (try? lock.lock(until: BootClock.now + lockTimeout)) == true else {
            return
        }
        for name in (try? directory.entries()) ?? [] where NetworkName(name) != nil {
            guard let status = try? directory.status(of: name), status.kind == .socket else { continue }
            do throws(SystemError) {
                try directory.connect(Socket.unixStream(), to: name)
            } catch {
                if error.code == Errno.refused { try? directory.remove(name, ifStill: status) }
            }
        }
        _ = consume lock
    }

    private static func lock(_ directory: borrowing Directory) throws(ExitError) -> Descriptor {
        do throws(SystemError) {
            let lock = try directory.open(lockName, [.readWrite, .create, .noFollow])
            guard try lock.lock(until: BootClock.now + lockTimeout) else {
                throw SystemError(code: Errno.busy, "lock", directory.path(of: lockName))
            }
            return lock
        } catch {
            throw ExitError(.cannotCreate, error.explanation)
        }
    }

    /// Control sockets, whether or not a process serves them.
    package struct Sockets {
        /// In the order of their directories' rank, and of their names in each.
        package fileprivate(set) var paths: [String] = []
        /// Other users of whom only the first `searchedOfOtherUser` sockets are in `paths`.
        package fileprivate(set) var crowdedUsers: [UInt32] = []
    }

    /// The control sockets in the searched directories that this user may see, this user's first.
    package static func sockets() -> Sockets {
        var all = othersSockets
        all.paths = ownSockets + all.paths
        return all
    }

    /// Those of this user's networks.
    package static var ownSockets: [String] { sockets(in: ownPlaces).map(\.path) }

    /// Those of other users' networks.
    package static var othersSockets: Sockets {
        var found = Sockets(), counts: [UInt32: Int] = [:]
        for (path, owner) in sockets(in: othersPlaces) {
            let count = counts[owner, default: 0] + 1
            counts[owner] = count
            if count <= searchedOfOtherUser || owner == 0 {
                found.paths.append(path)
            } else if count == searchedOfOtherUser + 1 {
                found.crowdedUsers.append(owner)
            }
        }
        return found
    }

    private static func sockets(in places: [String]) -> [(path: String, owner: UInt32)] {
        places.flatMap { place -> [(path: String, owner: UInt32)] in
            ((try? Files.entries(place)) ?? []).sorted().filter { NetworkName($0) != nil }.compactMap { name in
                let path = place + "/" + name
                guard let status = try? Files.status(path, followLinks: false), status.kind == .socket else {
                    return nil
                }
                return (path, status.owner)
            }
        }
    }

    /// The sockets that a name, or a path with a slash, may stand for, the most likely one first.
    package static func candidates(_ name: String) -> [String] {
        if name.contains("/") { return [name] }
        guard NetworkName(name) != nil else { return [] }
        return searched.map { $0 + "/" + name }.filter {
            (try? Files.status($0, followLinks: false).kind) == .socket
        }
    }
}
