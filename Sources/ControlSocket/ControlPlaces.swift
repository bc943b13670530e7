// SPDX-License-Identifier: Apache-2.0
import Lifecycle
import Platform
import Timing

/// Where running networks have their control sockets: a file named after the network, in `/run/vde_vmnet` for root, and
/// in `$XDG_RUNTIME_DIR/vde_vmnet` for other users. A user without a runtime directory, such as one in a shell of su(1)
/// or a job of cron(8), has one in /tmp.
package enum ControlPlaces {
    /// The directory of root's networks.
    private static var system: String { OperatingSystem.isMacOS ? "/var/run/vde_vmnet" : "/run/vde_vmnet" }
    private static let usersDirectory = "/run/user"
    private static let lockName = "control.lock"
    private static let lockTimeout = TimeAmount.seconds(2)

    /// The directory in a user's runtime directory.
    private static let directoryName = "vde_vmnet"

    /// The directory for the networks of this process's user.
    package static var own: String {
        CurrentProcess.effectiveUser == 0 ? system : userDirectories[0] + "/" + directoryName
    }

    /// The runtime directories that a process of this user may find, in the order of their rank.
    private static var userDirectories: [String] {
        let user = CurrentProcess.effectiveUser, managed = "\(usersDirectory)/\(user)"
        var found: [String] = []
        if let path = CurrentProcess.environment("XDG_RUNTIME_DIR"), !path.isEmpty { found.append(path) }
        if Files.exists(managed) { found.append(managed) }
        // macOS gives each user a private directory, and calls it so.
        if OperatingSystem.isMacOS, let path = CurrentProcess.environment("TMPDIR") { found.append(path) }
        return found + [StateDirectories.temporary(of: user)]
    }

    /// The directories that are searched for networks, this user's first. Root sees those of other users as well.
    package static var searched: [String] {
        guard CurrentProcess.effectiveUser == 0 else {
            var places: [String] = []
            for directory in userDirectories {
                let place = directory + "/" + directoryName
                // A socket of another user in its place would get this user's requests.
                guard !places.contains(place), (try? Directory.open(place, .trustedPath).requirePrivate()) != nil else {
                    continue
                }
                places.append(place)
            }
            return places + [system]
        }
        let users = ((try? Files.entries(usersDirectory)) ?? []).sorted()
        return [system] + users.map { "\(usersDirectory)/\($0)/\(directoryName)" } + temporaries
    }

    /// The users' directories in /tmp, for root.
    private static var temporaries: [String] {
        ((try? Files.entries(StateDirectories.temporaryParent)) ?? []).sorted().compactMap { name in
            guard name.hasPrefix(StateDirectories.temporaryPrefix),
                let user = UInt32(name.dropFirst(StateDirectories.temporaryPrefix.count))
            else { return nil }
            let parent = StateDirectories.temporary(of: user), place = parent + "/" + directoryName
            return isDirectory(parent, of: user) && isDirectory(place, of: user) ? place : nil
        }
    }

    private static func isDirectory(_ path: String, of user: UInt32) -> Bool {
        guard let status = try? Files.status(path, followLinks: false) else { return false }
        return status.kind == .directory && status.owner == user && status.mode & 0o022 == 0
    }

    /// Opens the own directory, which is made if it is missing, and keeps it locked while `body` runs: only one process
    /// at a time replaces the socket of a killed network.
    static func withOwnDirectory<Result>(
        _ body: (String) throws(ExitError) -> Result
    ) throws(ExitError) -> Result {
        let path = own
        let lock = try lock(StateDirectories.shared(path))
        let result = try body(path)
        _ = consume lock
        return result
    }

    private static func lock(_ directory: borrowing Directory) throws(ExitError) -> Descriptor {
        do throws(SystemError) {
            let lock = try directory.open(lockName, [.readWrite, .create, .noFollow])
            guard try lock.lock(until: BootClock.now + lockTimeout) else {
                throw SystemError(code: Errno.busy, "lock", directory.path(of: lockName))
            }
            return lock
        } catch {
            throw ExitError(.cannotCreate, error.description)
        }
    }

    /// The control sockets in the searched directories that this user may see, whether or not a process serves them.
    package static func sockets() -> [String] {
        searched.flatMap { place -> [String] in
            ((try? Files.entries(place)) ?? []).sorted().filter { NetworkName($0) != nil }.map { place + "/" + $0 }
                .filter { (try? Files.status($0).kind) == .socket }
        }
    }

    /// The sockets that a name, or a path with a slash, may stand for, the most likely one first.
    package static func candidates(_ name: String) -> [String] {
        if name.contains("/") { return [name] }
        guard NetworkName(name) != nil else { return [] }
        return searched.map { $0 + "/" + name }.filter { (try? Files.status($0).kind) == .socket }
    }
}
