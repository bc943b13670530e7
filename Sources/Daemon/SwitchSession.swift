// SPDX-License-Identifier: Apache-2.0
import EventLoop
import FrameIO
import Lifecycle
import Logging
import Platform
import Switching
import VDESwitch
import Wire

/// The switch that the daemon is itself: takes clients in, and lets them go.
///
/// A client that has connected gets a moment to say what it wants. There are few such clients at a time; when more
/// come, the one that has waited longest is let go, so that nobody who connects and keeps silent keeps others out.
package final class SwitchSession: NetworkSession {
    /// How long a client may take for its request, in nanoseconds.
    private static let patience = 5 * MonotonicClock.second
    /// How long the rest of a request that came in pieces is waited for.
    private static let settling = 50 * MonotonicClock.millisecond
    /// Clients that have not said what they want: few enough to leave descriptors for those that have.
    private var maximumWaiting: Int { max(2, min(128, quota.limit / 8)) }

    private final class Client {
        let control: Descriptor
        let user: UInt32
        let process: Int32
        let admission: ClientQuota.Admission
        var reader = RequestReader()
        var timer: ControlLoop.TimerID?
        /// The port, the name of the socket there, and what it calls itself; nil while it has none.
        var joined: (port: Int, socket: String, description: String)?

        init(_ control: consuming Descriptor, user: UInt32, process: Int32, _ admission: ClientQuota.Admission) {
            self.control = control
            self.user = user
            self.process = process
            self.admission = admission
        }
    }

    private let configuration: SwitchConfiguration
    /// What may lie in the switch's directory besides its own: the pidfile, other listeners.
    private let neighbours: [String]
    private let quota: ClientQuota
    private let loop: ControlLoop
    private let control: SwitchControl
    private let logger: Logger
    package let virtualSwitch: VirtualSwitch
    /// Called when the console ends the switch.
    package var onShutdown: () -> Void = {}
    package var onRejoin: () -> Void = {}

    private var directory: SwitchDirectory?
    private var console: ManagementConsole?
    private var consoleServer: ConsoleServer?
    private var clients: [Int32: Client] = [:]
    /// Clients without a port, in the order in which they came.
    private var waiting: [Int32] = []
    private var listener: AcceptLoop?
    private var complaints = RateLimitedLogger()

    init(
        _ configuration: SwitchConfiguration, neighbours: [String], quota: ClientQuota, loop: ControlLoop,
        control: SwitchControl, logger: Logger
    ) {
        self.configuration = configuration
        self.neighbours = neighbours
        self.quota = quota
        self.loop = loop
        self.control = control
        self.logger = logger
        virtualSwitch = VirtualSwitch(control: control, limit: configuration.portLimit)
    }

    /// Called when a client has got a port, or has gone.
    var onChange: () -> Void = {}

    /// Whether somebody has joined by VDE.
    var hasClients: Bool { clients.values.contains { $0.joined != nil } }

    var hasDirectory: Bool { configuration.path != nil }

    /// Where clients join by VDE, without symbolic links.
    var directoryPath: String? { directory?.path }

    package var description: String? { (directory?.path ?? configuration.path).map { "switch at \($0)" } }

    // MARK: Opening

    /// Makes the directory and the console. Clients are taken in when the loop runs.
    package func join() throws(ExitError) {
        if quota.limit < 2 * configuration.portLimit {
            logger.debug("the limit of open files is enough for \(quota.limit / 2) clients")
        }
        if let path = configuration.path { directory = try makeDirectory(path) }
        let surroundings = ManagementConsole.Surroundings(
            version: programVersion, directory: directory?.path ?? "(none)", mode: directory?.controlMode ?? 0,
            path: configuration.console?.path,
            pathMode: configuration.console?.mode ?? 0, closeEnd: { [unowned self] in disconnect(end: $1, of: $0) })
        console = ManagementConsole(virtualSwitch, surroundings)
        if let socket = configuration.console {
            let isLocked = Files.parent(Files.resolved(socket.path)) == directory?.path
            consoleServer = try ConsoleServer(
                socket, owner: configuration.access.owner, isLocked: isLocked, console: console!, quota: quota,
                loop: loop, logger: logger)
            consoleServer!.onShutdown = { [unowned self] in onShutdown() }
        }
        if configuration.isHub { virtualSwitch.setHub(true) }
        guard let directory else { return }
        listener = try orUnavailable { () throws(SystemError) in
            try AcceptLoop(
                directory.listener.duplicate(), cost: 2, of: quota, loop: loop,
                onExhaustion: { [unowned self] in complaints.log("no client can be taken in: \($0)", to: logger) },
                onClient: { [unowned self] in take(in: $0, $1) })
        }
    }

    private func makeDirectory(_ path: String) throws(ExitError) -> SwitchDirectory {
        do throws(SwitchError) {
            return try SwitchDirectory(
                path, access: configuration.access,
                allowed: [configuration.console?.path].compactMap(\.self) + neighbours)
        } catch {
            switch error.cause {
            case .occupied: throw ExitError(.alreadyRunning, error.description)
            case .permissionDenied: throw ExitError(.noPermission, error.description)
            case .pathTooLong: throw ExitError(.usage, error.description)
            case .notOurs: throw ExitError(.cannotCreate, error.description)
            case .system:
                let isFile = Files.exists(path) && (try? Files.status(path).kind) != .directory
                throw ExitError(
                    .cannotCreate,
                    isFile
                        ? "\(path) is a file; --switch makes a directory: give a path where nothing is"
                        : error.description)
            }
        }
    }

    /// What can be done only when the way out has its port: the commands of the file, the console on standard input.
    package func configure() throws(ExitError) {
        if let path = configuration.commandFile {
            do throws(SystemError) {
                for (line, error) in try console!.run(file: path) {
                    logger.warning("\(path): '\(line)' failed: \(SystemError(code: error.code, "").reason)")
                }
            } catch {
                throw ExitError(
                    .noInput,
                    "cannot read the commands in --rcfile: \(error); give a readable file, or leave the option out")
            }
        }
        if configuration.readsStandardInput {
            let input = try orUnavailable { () throws(SystemError) in try StandardInputConsole(console!, loop: loop) }
            input.onEnd = { [unowned self] in onShutdown() }
            standardInput = input
            input.start()
        }
    }

    private var standardInput: StandardInputConsole?

    /// Gives a TAP a port, and takes over its descriptor. Nil when all ports are in use.
    package func attachDevice(_ port: PortConfiguration) -> PortNumber? {
        guard let number = virtualSwitch.allocateForDevice(preferring: reservedForUplink) else { return nil }
        var port = port
        // A TAP is the host's to connect to whatever it likes.
        if port.role == .guest { port.reach = .trunk }
        return virtualSwitch.attach(
            port, to: number, identifier: port.descriptor, module: "tuntap", description: port.name, user: nil)
    }

    /// Gives a client of another listener a port, and takes over its descriptor. Nil when all ports are in use.
    func attachClient(_ port: PortConfiguration, _ client: ListenerClient) -> PortNumber? {
        guard let number = try? virtualSwitch.allocate(.newControl(port: VirtualSwitch.anyPort), user: client.user)
        else { return nil }
        var port = port
        port.reach = configuration.reach(of: number)
        return virtualSwitch.attach(
            port, to: number, identifier: port.descriptor, module: client.module, description: client.description,
            user: client.user)
    }

    /// Takes it away.
    func detachClient(_ attachment: PortNumber) {
        guard let (number, identifier) = end(of: attachment) else { return }
        virtualSwitch.detach(identifier, from: number)
    }

    private func end(of attachment: PortNumber) -> (port: Int, identifier: Int32)? {
        guard let number = virtualSwitch.number(of: attachment) else { return nil }
        return virtualSwitch.ports[number]?.ends.first { $0.attachment == attachment }.map { (number, $0.identifier) }
    }

    /// Called when the console ends a client of another listener.
    var onDisconnect: (PortNumber) -> Void = { _ in }

    /// Takes the port of a device away.
    package func detachDevice(_ attachment: PortNumber) {
        guard let (number, identifier) = end(of: attachment) else { return }
        virtualSwitch.detach(identifier, from: number)
        // It comes back, and nobody else is to get its port and VLANs meanwhile.
        try? virtualSwitch.setAllocatable(number, false)
        reservedForUplink = number
    }

    /// The port of a device that will be there again.
    private var reservedForUplink: Int?

    // MARK: Clients

    private func take(in descriptor: consuming Descriptor, _ admission: ClientQuota.Admission) {
        guard let peer = try? descriptor.peerCredentials() else { return }
        begin(Client(descriptor, user: peer.user, process: peer.process, admission))
    }

    private func begin(_ client: Client) {
        let number = client.control.raw
        clients[number] = client
        waiting.append(number)
        if waiting.count > maximumWaiting, let oldest = clients[waiting[0]] {
            refuse(oldest, "too many clients connect and do not say what they want")
        }
        do throws(SystemError) {
            try loop.watch(number) { [unowned self, unowned client] _ in receive(from: client) }
        } catch {
            return refuse(client, error.description)
        }
        client.timer = loop.schedule(after: SwitchSession.patience) { [unowned self, unowned client] in
            refuse(client, "no request within 5 s")
        }
        // It has mostly come with the connection.
        receive(from: client)
    }

    private func receive(from client: Client) {
        let bytes: [UInt8]
        do throws(SystemError) {
            bytes = try client.control.receive(limit: client.joined == nil ? client.reader.room : 4096)
        } catch {
            if error.code != Errno.again { end(client) }
            return
        }
        if bytes.isEmpty { return end(client) }
        // With a port, there is nothing more to be said.
        guard client.joined == nil else { return }
        switch client.reader.take(bytes) {
        case .incomplete: break
        case .settling:
            loop.cancel(client.timer)
            client.timer = loop.schedule(after: SwitchSession.settling) { [unowned self, unowned client] in
                if case .complete(let request) = client.reader.finish() { admit(client, request) }
            }
        case .complete(let request): admit(client, request)
        case .invalid(let reason): refuse(client, reason)
        }
    }

    /// Gives a client its port.
    private func admit(_ client: Client, _ request: VDERequest) {
        let end = client.control.raw
        do {
            let port = try virtualSwitch.allocate(request.kind, user: client.user)
            let isManagement = request.kind == .newPort0
            let socket = try directory!.makeDataSocket(
                port: port, end: end, peer: request.path, user: client.user,
                mode: isManagement ? configuration.console?.mode ?? 0o600 : nil)
            client.joined = (port, socket.name, request.description)
            leaveWaiting(client)
            onChange()
            let descriptor = try socket.descriptor.duplicate().release()
            var attachment = PortConfiguration(
                name: "port \(port), \(request.description)", kind: .datagram, role: .guest, descriptor: descriptor,
                maximumFrame: FrameLimits.device)
            attachment.reach = configuration.reach(of: port, program: request.description)
            guard
                virtualSwitch.attach(
                    attachment, to: port, identifier: end, module: "unix prog", description: request.description,
                    user: client.user) != nil
            else {
                _ = Descriptor(adopting: descriptor)
                return refuse(client, "no port is left")
            }
            // Who has its answer hears what others send from then on.
            _ = control.barrier()
            // A name in the directory always fits.
            guard let reply = UnixAddressLayout.native.encode(path: Array(socket.path.utf8)),
                try client.control.send(reply) == reply.count
            else {
                return self.end(client)
            }
            logger.debug("port \(port): \(request.description) (process \(client.process)) has joined")
        } catch {
            refuse(client, explain(error, request))
        }
    }

    private func explain(_ error: any Error, _ request: VDERequest) -> String {
        guard let error = error as? SystemError else { return "\(error)" }
        // The client has chosen the path, and may have put anything into it.
        let path = PrintableText.line(error.subject)
        switch error.code {
        case Errno.notSocket: return "\(path) is no socket"
        case Errno.notPermitted: return "\(path) belongs to somebody else, or is not this switch's to write to"
        default: return "\(error.operation) \(path): \(error.reason)"
        }
    }

    private func leaveWaiting(_ client: Client) {
        loop.cancel(client.timer)
        client.timer = nil
        waiting.removeAll { $0 == client.control.raw }
    }

    /// Closes the connection, which is how the protocol says no, and says why in the log.
    private func refuse(_ client: Client, _ reason: String) {
        complaints.log(
            "refused a client of \(Accounts.userName(client.user)) (process \(client.process)): \(reason)", to: logger)
        end(client)
    }

    /// Takes a client's port away.
    private func end(_ client: Client) {
        leaveWaiting(client)
        loop.unwatch(client.control.raw)
        if let (port, socket, description) = client.joined {
            virtualSwitch.detach(client.control.raw, from: port)
            directory?.removeDataSocket(socket)
            logger.debug("port \(port): \(description) has gone")
        }
        clients[client.control.raw] = nil
        onChange()
    }

    /// For the console: the end of a TAP cannot be closed.
    private func disconnect(end identifier: Int32, of port: Int) {
        if let client = clients[identifier], client.joined?.port == port { return end(client) }
        if let end = virtualSwitch.ports[port]?.ends.first(where: { $0.identifier == identifier }) {
            onDisconnect(end.attachment)
        }
    }

    /// What a port is called in messages.
    package func name(of attachment: PortNumber) -> String? {
        guard let number = virtualSwitch.number(of: attachment), let port = virtualSwitch.ports[number] else {
            return nil
        }
        return "port \(number) (\(port.ends.first { $0.attachment == attachment }?.description ?? ""))"
    }

    // MARK: Closing

    package func leave() {
        listener?.close()
        for client in Array(clients.values) { end(client) }
        consoleServer?.close()
        directory?.remove()
        directory = nil
    }
}
