// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import ControlProtocol
import ControlSocket
import Doctor
import Lifecycle
import Platform
import Timing

/// The network that a command is about.
struct NetworkOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            """
            The network: its name, or the path of its control socket. (default: the only one of this user, or the only \
            one that runs; vde_vmnet list shows all)
            """,
            valueName: "name"),
        completion: Completions.networks)
    var network: String?

    func connect() throws(ExitError) -> ControlConnection {
        try NetworkLookup.connect(network, choice: "--network NAME")
    }

    /// Sends a request that changes the network. Its result is not shown.
    func change(_ method: String, _ params: (String, JSON)...) throws(ExitError) {
        _ = try connect().call(method, params)
    }

    /// Prints a list as one JSON array, or as a table.
    func show(_ list: [JSON], asJSON: Bool, _ table: ([JSON]) -> TextTable) throws(ExitError) {
        try CommandOutput.write(
            asJSON ? JSON.array(list).text + "\n" : table(list).text(hasColours: TerminalText.hasColours))
    }
}

/// The network that a command takes as `NAME`; `--network NAME`, as other commands take it, is the same.
struct NamedNetworkOptions: ParsableArguments {
    @Argument(
        help: """
            The network: its name, or the path of its control socket. (default: the only one of this user, or the only \
            one that runs)
            """,
        completion: Completions.networks)
    var name: String?

    @Option(help: ArgumentHelp("The same as NAME.", valueName: "name"), completion: Completions.networks)
    var network: String?

    /// As it was given, in either form; nil for none.
    var chosen: String? { name ?? network }

    func validate() throws { try NamedNetworkOptions.checkOne(name, network) }

    /// Refuses two different networks.
    static func checkOne(_ name: String?, _ network: String?) throws {
        if let name, let network, name != network {
            throw ValidationError(
                """
                '\(PrintableText.line(name))' and --network '\(PrintableText.line(network))' are two networks; leave \
                one of them out
                """)
        }
    }

    func connect() throws(ExitError) -> ControlConnection { try NetworkLookup.connect(chosen) }
}

/// Finds running networks by their control sockets.
enum NetworkLookup {
    /// Connects to the network called `name`; nil stands for the only one.
    /// - Parameter choice: how the command's user chooses one of several.
    /// - Throws: `unavailable` if there is none, or several and no name; `noPermission`.
    static func connect(
        _ name: String?, choice: String = "its name"
    ) throws(ExitError) -> ControlConnection {
        guard let name else {
            if let connection = try connectToOnlyOne(choice) { return connection }
            throw ExitError(
                .unavailable,
                """
                no network of \(UserDatabase.userName(CurrentProcess.effectiveUser)) runs here; start one: vde_vmnet \
                --switch /tmp/vde
                """)
        }
        if let connection = try ofSwitch(name) { return connection }
        let paths = ControlPlaces.candidates(name)
        guard !paths.isEmpty else {
            throw ExitError(
                .unavailable, "no network is called '\(PrintableText.line(name))'; vde_vmnet list shows those that run")
        }
        var failure: ExitError?
        for path in paths {
            do throws(ControlConnection.Failure) {
                return try ControlConnection(path)
            } catch {
                if failure == nil { failure = exitError(error, path) }
            }
        }
        throw failure!
    }

    /// Connects to the only network of this user, or if there is none, to the only one of others.
    /// - Returns: nil if no network runs.
    /// - Throws: `usage` if there are several.
    static func connectToOnlyOne(_ choice: String = "its name") throws(ExitError) -> ControlConnection? {
        let own = ControlPlaces.ownSockets.compactMap { try? ControlConnection($0) }
        let found = own.isEmpty ? connectionsToOthers() : own
        guard found.count <= 1 else {
            let names = found.map { String($0.path.split(separator: "/").last ?? "") }.joined(separator: ", ")
            throw ExitError(.usage, "several networks run: \(names); choose one by \(choice)")
        }
        return found.first
    }

    /// The networks of other users. A user can serve any number of sockets that are no networks, so those that reply
    /// count, if there are any.
    private static func connectionsToOthers() -> [ControlConnection] {
        let networks = NetworkSurvey.make(ControlPlaces.othersSockets).networks
        let replying = networks.filter {
            switch $0.status {
            case .success, .failure(.refused): true
            case .failure: false
            }
        }
        return (replying.isEmpty ? networks : replying).map(\.connection)
    }

    /// The network whose switch is in this directory; nil if the path is another file.
    private static func ofSwitch(_ path: String) throws(ExitError) -> ControlConnection? {
        guard path.contains("/"), let status = try? Files.status(path), status.kind != .socket else { return nil }
        for network in NetworkSurvey.make().networks {
            guard case .success(let facts) = network.status,
                let place = NetworkFacts.switchPath(in: facts), let other = try? Files.status(place)
            else { continue }
            if other.device == status.device, other.inode == status.inode { return network.connection }
        }
        throw ExitError(
            .unavailable,
            """
            \(PrintableText.line(path)) is not a control socket, and no network that runs has its switch there; \
            vde_vmnet list shows those that run
            """)
    }

    private static func exitError(_ failure: ControlConnection.Failure, _ path: String) -> ExitError {
        switch failure {
        case .unreachable(let error) where [Errno.accessDenied, Errno.notPermitted].contains(error.code):
            ExitError(.noPermission, "\(path) belongs to another user; try sudo")
        case .unreachable(let error) where error.code == Errno.refused:
            ExitError(.unavailable, "the network of \(path) does not run any more; vde_vmnet list shows those that do")
        case .unreachable(let error) where error.code == Errno.noEntry:
            ExitError(.unavailable, "\(error); vde_vmnet list shows the networks that run")
        default: ExitError(.unavailable, "\(failure)")
        }
    }
}

extension ControlConnection {
    /// A request whose failure ends the command.
    func call(_ method: String, _ params: [(String, JSON)] = []) throws(ExitError) -> JSON {
        do throws(Failure) {
            return try request(method, params)
        } catch {
            throw error.exitError
        }
    }

    /// All pages of a list.
    func list(_ method: String, _ name: String) throws(ExitError) -> [JSON] {
        var all: [JSON] = []
        var from = 0
        // The ports and leases of one network are fewer.
        while all.count < 100_000 {
            let page = try call(method, [("from", .integer(from))])
            all += page[name]?.array ?? []
            guard let next = page["next"]?.integer, next > from else { break }
            from = next
        }
        return all
    }
}

extension ControlConnection.Failure {
    /// With the exit status that fits the reason.
    var exitError: ExitError {
        guard case .refused(let error) = self else { return ExitError(.unavailable, PrintableText.line(description)) }
        let status: ExitStatus =
            switch error.code {
            case .denied: .noPermission
            case .parameters, .method, .unsupported, .request, .parse, .tooLong: .usage
            case .notFound, .busy, .failed: .unavailable
            case .conflict: .alreadyRunning
            }
        return ExitError(status, PrintableText.line(error.description, limit: 1024))
    }
}
