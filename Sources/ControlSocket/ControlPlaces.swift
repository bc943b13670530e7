// SPDX-License-Identifier: Apache-2.0
import Lifecycle
import Platform
import Timing

/// Where running networks have their control sockets: a file named after the network, in `/run/vde_vmnet` for root, and
/// in `$XDG_RUNTIME_DIR/vde_vmnet` for other users.
package enum ControlPlaces {
    /// The directory of root's networks.
    private static var system: String { OperatingSystem.isMacOS ? "/var/run/vde_vmnet" : "/run/vde_vmnet" }
    private static let usersDirectory = "/run/user"
    private static let lockName = "control.lock"
    private static let lockTimeout = TimeAmount.seconds(2)

    /// The directory for the networks of this process's user; nil if the user has none.
    package static var own: String? {
        if CurrentProcess.effectiveUser == 0 { return system }
        return userDirectory.map { $0 + "/vde_vmnet" }
    }

    private static var userDirectory: String? {
        if let path = CurrentProcess.environment("XDG_RUNTIME_DIR"), !path.isEmpty { return path }
        let path = "\(usersDirectory)/\(CurrentProcess.effectiveUser)"
        if Files.exists(path) { return path }
        // macOS gives each user a private directory, and calls it so.
        return OperatingSystem.isMacOS ? CurrentProcess.environment("TMPDIR") : nil
    }

    /// The directories that are searched for networks, this user's first. Root sees those of other users as well.
    package static var searched: [String] {
        guard CurrentProcess.effectiveUser == 0 else { return [own, system].compactMap(\.self) }
        let users = ((try? Files.entries(usersDirectory)) ?? []).sorted()
        return [system] + users.map { "\(usersDirectory)/\($0)/vde_vmnet" }
    }

    /// Opens the own directory, which is made if it is missing, and keeps it locked while `body` runs: only one process
    /// at a time replaces the socket of a killed network.
    static func withOwnDirectory<Result>(
        _ body: (String) throws(ExitError) -> Result
    ) throws(ExitError) -> Result {
        guard let path = own else {
            throw ExitError(
                .cannotCreate, "XDG_RUNTIME_DIR is not set; set it to a directory that you own, or give --control PATH")
        }
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
