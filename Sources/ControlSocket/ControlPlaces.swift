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
        let users = ((try? Files.entries(usersDirectory)) ?? []).sorted()
        return users.map { "\(usersDirectory)/\($0)/\(directoryName)" }
            + TemporaryDirectories.places(of: nil, named: directoryName)
    }

    /// Opens the own directory, which is made if it is missing, and keeps it locked while `body` runs: only one process
    /// at a time replaces the socket of a killed network.
    static func withOwnDirectory<Result>(
        _ body: (String) throws(ExitError) -> Result
    ) throws(ExitError) -> Result {
        let directory = try StateDirectories.sockets()
        let lock = try lock(directory)
        let result = try body(directory.path)
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
            throw ExitError(.cannotCreate, error.explanation)
        }
    }

    /// The control sockets in the searched directories that this user may see, whether or not a process serves them.
    package static func sockets() -> [String] { ownSockets + othersSockets }

    /// Those of this user's networks.
    package static var ownSockets: [String] { sockets(in: ownPlaces) }

    /// Those of other users' networks.
    package static var othersSockets: [String] { sockets(in: othersPlaces) }

    private static func sockets(in places: [String]) -> [String] {
        places.flatMap { place -> [String] in
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
