// SPDX-License-Identifier: Apache-2.0
import Lifecycle
import Platform

/// The paths and permissions of sockets: the control directory, and the switch's directory.
struct SocketCheck: HostCheck {
    static let name = "sockets"
    /// Stale sockets that one command removes.
    private static let staleLimit = 16

    /// The directory of this user's control sockets.
    enum Place: Equatable, Sendable {
        case usable
        /// A start makes it.
        case absent
        /// The directory at this path belongs to another user, or is writable for other users.
        case untrusted(String, Fix)
        case denied(String)
    }

    /// How a directory of which other users have a part is replaced.
    enum Fix: Equatable, Sendable {
        /// It is this user's.
        case close
        /// It is the system's for temporary files.
        case restore
        /// It is the user's choice, and may have other uses.
        case choose

        func command(_ directory: String) -> String {
            switch self {
            case .close: ShellText.command("chmod", "go-w", directory)
            case .restore: Remedy.sudo("sh", "-c", "chown root \(directory) && chmod 1777 \(directory)")
            case .choose: "unset XDG_RUNTIME_DIR"
            }
        }
    }

    /// A switch as this user's clients find it.
    enum Switch: Equatable, Sendable {
        /// There is none to examine.
        case none
        case missing
        case notDirectory
        /// The path with `/ctl` has more bytes than an address.
        case tooLong(limit: Int)
        /// The owner and the permissions of what this user cannot pass.
        case denied(path: String, owner: String, group: String, mode: UInt16)
        /// `ctl` is there, and no process serves it.
        case stale
        case serving
    }

    let place: Place
    let staleSockets: [String]
    /// The user to whose directory the stale sockets belong, if it is not this one.
    var staleOwner: String?
    let path: String
    let state: Switch
    let userName: String
    let isRoot: Bool

    static func gathered(_ scene: Scene) -> SocketCheck {
        var path = scene.network?.switchPath ?? ""
        var stale = scene.identity.staleSockets, owner: String?
        switch scene.subject {
        case .switchDirectory(let directory): path = directory
        case .staleSocket(let socket):
            // A user can replace its directory while another one reads the command: the user itself removes the socket.
            owner = (try? Files.status(Files.parent(socket))).map(\.owner).flatMap {
                $0 == CurrentProcess.effectiveUser ? nil : UserDatabase.userName($0)
            }
            if owner != nil { stale = [socket] } else if !stale.contains(socket) { stale.append(socket) }
        default: break
        }
        return SocketCheck(
            place: place(scene.identity.controlDirectory), staleSockets: stale, staleOwner: owner, path: path,
            state: path.isEmpty ? .none : state(of: path), userName: UserDatabase.userName(scene.user),
            isRoot: scene.user == 0)
    }

    private static func place(_ directory: String) -> Place {
        // A start makes the directories that are missing.
        var existing = directory
        while existing != "/", (try? Files.status(existing, followLinks: false)) == nil {
            existing = Files.parent(existing)
        }
        do throws(SystemError) {
            let opened = try Directory.open(existing, .trustedPath)
            guard Files.isWritable(existing) else { return .denied(existing) }
            // In the system's directory for temporary files a start makes another one.
            if existing == TemporaryDirectories.parent { return .absent }
            try opened.requirePrivate()
            return existing == directory ? .usable : .absent
        } catch {
            guard error.code == Errno.notPermitted else { return .denied(existing) }
            let owner = try? Files.status(error.subject, followLinks: false).owner
            if owner == CurrentProcess.effectiveUser { return .untrusted(error.subject, .close) }
            return .untrusted(error.subject, error.subject == TemporaryDirectories.parent ? .restore : .choose)
        }
    }

    private static func state(of path: String) -> Switch {
        let control = path + "/ctl"
        let limit = UnixPath.maximumLength
        guard control.utf8.count <= limit else { return .tooLong(limit: limit - "/ctl".utf8.count) }
        do throws(SystemError) {
            guard try Files.status(path).kind == .directory else { return .notDirectory }
            let socket = try Socket.unixStream()
            try socket.connect(to: UnixPath(control))
            return .serving
        } catch {
            switch error.code {
            case Errno.accessDenied, Errno.notPermitted:
                for place in [control, path, Files.parent(path)] {
                    guard let status = try? Files.status(place) else { continue }
                    return .denied(
                        path: place, owner: UserDatabase.userName(status.owner),
                        group: UserDatabase.groupName(status.group), mode: status.mode & 0o777)
                }
                return .denied(path: path, owner: "another user", group: "", mode: 0)
            case Errno.refused: return .stale
            case Errno.again: return .serving
            default: return Files.exists(path) ? .stale : .missing
            }
        }
    }

    var diagnoses: [Diagnosis] {
        var found: [Diagnosis] = []
        switch place {
        case .usable, .absent: break
        case .untrusted(let directory, let fix):
            let fault =
                switch fix {
                case .close: "is writable for other users"
                case .restore: "lets other users replace what is in it"
                case .choose: "does not belong to \(userName)"
                }
            found.append(
                Self.warning(
                    .noRuntimeDirectory, "\(directory) \(fault), so networks of \(userName) have no control socket",
                    fix.command(directory)))
        case .denied(let directory):
            found.append(
                Self.failed(
                    .runtimeDirectoryDenied,
                    "\(directory) is not writable by \(userName), so networks have no control socket",
                    directory.hasPrefix("/run/")
                        ? Remedy.sudo("chown", userName, directory) : Fix.choose.command(directory)))
        }
        if let first = staleSockets.first {
            let more = staleSockets.count > 1 ? " (and \(staleSockets.count - 1) more)" : ""
            found.append(
                Self.warning(
                    .staleControlSocket, "\(first)\(more) is left of a network that was killed",
                    ShellText.command(
                        (staleOwner.map { ["sudo", "-u", $0] } ?? []) + ["rm", "--"]
                            + staleSockets.prefix(Self.staleLimit))))
        }
        if let diagnosis = switchDiagnosis { found.append(diagnosis) }
        guard found.isEmpty else { return found }
        return Self.ok(state == .serving ? "\(path) accepts this user's connections" : "paths and rights are fine")
    }

    private var switchDiagnosis: Diagnosis? {
        switch state {
        case .none, .serving: nil
        case .missing:
            Self.failed(
                .switchMissing, "the switch \(path) does not exist", ShellText.command("vde_vmnet", "--switch", path))
        case .notDirectory:
            Self.failed(
                .switchNotDirectory, "\(path) is a file, and a switch is a directory",
                ShellText.command("vde_vmnet", "--switch", path + ".d"))
        case .tooLong(let limit):
            Self.failed(
                .switchPathTooLong,
                "the path of the switch has \(path.utf8.count) bytes, and a socket's address leaves \(limit)",
                "vde_vmnet --switch /tmp/vde")
        case .denied(let place, let owner, let group, let mode):
            Self.failed(
                .switchDenied,
                """
                \(userName) may not connect to \(place): it belongs to \(owner), group \(group), with the mode \
                0\(String(mode, radix: 8))
                """, joinCommand(place, owner, group, mode))
        case .stale:
            Self.failed(
                .switchStale, "no process serves the switch \(path)", ShellText.command("vde_vmnet", "--switch", path))
        }
    }

    /// Membership, if the group has the right; otherwise the right for this user alone.
    private func joinCommand(_ place: String, _ owner: String, _ group: String, _ mode: UInt16) -> String {
        if mode & 0o020 != 0 && group != "root" && !group.isEmpty {
            return Remedy.sudo("usermod", "-aG", group, userName)
        }
        return Remedy.sudo("setfacl", "-R", "-m", "u:\(userName):rwx", path)
    }
}
