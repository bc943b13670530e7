// SPDX-License-Identifier: Apache-2.0
import EventLoop
import FrameIO
import Lifecycle
import Logging
import Platform
import Switching
import Timing
import VDESwitch
import Wire

/// The session of a switch that this process is: accepts VDE clients, and gives each a port.
///
/// A client that has connected has 5 s to send its request. The number of clients without a request is bounded. When
/// another one connects, the oldest is disconnected, so that silent clients cannot keep others out.
package final class SwitchSession: NetworkSession {
    /// How long a client may take for its request.
    private static let requestTimeout = TimeAmount.seconds(5)
    /// How long to wait for the rest of a request whose end cannot be recognised.
    private static let fragmentTimeout = TimeAmount.milliseconds(50)
    /// The number of clients without a request, few enough to leave descriptors for the others.
    private var maximumPending: Int { max(2, min(128, quota.limit / 8)) }

    private final class Client {
        let control: Descriptor
        let user: UInt32
        let process: Int32
        let admission: ClientQuota.Admission
        var reader = RequestReader()
        var timer: ControlLoop.TimerID?
        /// The port, the name of its data socket, and the client's description of itself; nil before its request.
        var joined: (port: Int, socket: String, description: String)?

        init(_ control: consuming Descriptor, user: UInt32, process: Int32, _ admission: ClientQuota.Admission) {
            self.control = control
            self.user = user
            self.process = process
            self.admission = admission
        }
    }

    private let configuration: SwitchConfiguration
    /// Files of this process that may be in the switch's directory: the pidfile, other listeners.
    private let neighbours: [String]
    private let quota: ClientQuota
    private let loop: ControlLoop
    package let control: SwitchControl
    private let logger: Logger
    let virtualSwitch: VirtualSwitch
    package var onShutdown: () -> Void = {}
    package var onRejoin: () -> Void = {}

    private var directory: SwitchDirectory?
    private var console: ManagementConsole?
    private var consoleServer: ConsoleServer?
    private var clients: [Int32: Client] = [:]
    /// Clients without a request, the oldest first.
    private var pending: [Int32] = []
    private var listener: AcceptLoop?
    private var rateLimited = RateLimitedLogger()

    /// - Parameter neighbours: paths of files of this process that may be in the switch's directory.
    package init(
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
        virtualSwitch.standardLimit = configuration.limit
    }

    package var onChange: () -> Void = {}

    package var ownsSwitch: Bool { true }

    package var hasClients: Bool { clients.values.contains { $0.joined != nil } }

    package var hasDirectory: Bool { configuration.path != nil }

    package var directoryPath: String? { directory?.path }

    package var description: String? { (directory?.path ?? configuration.path).map { "switch at \($0)" } }

    // MARK: Opening

    /// Makes the directory and the console. Clients are accepted when the loop runs.
    package func join() throws(ExitError) {
        if quota.limit < 2 * configuration.portLimit {
            logger.debug("the limit of open files is enough for \(quota.limit / 2) clients")
        }
        if let path = configuration.path { directory = try makeDirectory(path) }
        let surroundings = ConsoleContext(
            version: programVersion, directory: directory?.path ?? "(none)", mode: directory?.controlMode ?? 0,
            path: configuration.console?.path,
            pathMode: configuration.console?.mode ?? 0, disconnect: { [unowned self] in disconnect(end: $1, of: $0) })
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
                onExhaustion: { [unowned self] in rateLimited.log("no client can be accepted: \($0)", to: logger) },
                onClient: { [unowned self] in accept($0, $1) })
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

    /// Runs the commands of the file, and starts the console on standard input.
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

    package func attachDevice(_ port: PortConfiguration) -> PortNumber? {
        guard let number = virtualSwitch.allocateForDevice(preferring: reservedForUplink) else { return nil }
        var port = port
        // The host may connect its TAP to any network.
        if port.role == .guest { port.reach = .trunk }
        let attachment = virtualSwitch.attach(
            port, to: number, identifier: port.descriptor, module: "tuntap", description: port.name, user: nil)
        if port.role == .uplink, let attachment { uplinkAttachments.insert(attachment) }
        return attachment
    }

    /// The uplink's ports in the data plane: a TAP may have a NAT beside it.
    private var uplinkAttachments: Set<PortNumber> = []

    /// Whether this is a port of the uplink.
    func isHostDevice(_ attachment: PortNumber) -> Bool { uplinkAttachments.contains(attachment) }

    package func attachClient(_ port: PortConfiguration, _ client: ListenerClient) -> PortNumber? {
        guard let number = try? virtualSwitch.allocate(.newControl(port: VirtualSwitch.anyPort), user: client.user)
        else { return nil }
        var port = port
        port.reach = configuration.reach(of: number)
        listenerProcesses[port.descriptor] = client.process
        return virtualSwitch.attach(
            port, to: number, identifier: port.descriptor, module: client.module, description: client.description,
            user: client.user)
    }

    package func detachClient(_ attachment: PortNumber) {
        guard let (number, identifier) = end(of: attachment) else { return }
        listenerProcesses[identifier] = nil
        virtualSwitch.detach(identifier, from: number)
    }

    /// The processes of other listeners' clients, by the identifier of their end.
    private var listenerProcesses: [Int32: Int32] = [:]

    private func end(of attachment: PortNumber) -> (port: Int, identifier: Int32)? {
        guard let number = virtualSwitch.number(of: attachment) else { return nil }
        return virtualSwitch.ports[number]?.connections.first { $0.attachment == attachment }.map {
            (number, $0.identifier)
        }
    }

    package var onDisconnect: (PortNumber) -> Void = { _ in }

    package func detachDevice(_ attachment: PortNumber) {
        guard let (number, identifier) = end(of: attachment) else { return }
        virtualSwitch.detach(identifier, from: number)
        uplinkAttachments.remove(attachment)
        // The device comes back. Meanwhile no other client may get its port and VLANs.
        try? virtualSwitch.setAllocatable(number, false)
        reservedForUplink = number
    }

    /// The port that a detached device gets when it comes back.
    private var reservedForUplink: Int?

    // MARK: Clients

    private func accept(_ descriptor: consuming Descriptor, _ admission: ClientQuota.Admission) {
        guard let peer = try? descriptor.peerCredentials() else { return }
        begin(Client(descriptor, user: peer.user, process: peer.process, admission))
    }

    private func begin(_ client: Client) {
        let number = client.control.raw
        clients[number] = client
        pending.append(number)
        if pending.count > maximumPending, let oldest = clients[pending[0]] {
            refuse(oldest, "too many clients connect and send no request")
        }
        do throws(SystemError) {
            try loop.watch(number) { [unowned self, unowned client] _ in receive(from: client) }
        } catch {
            return refuse(client, error.description)
        }
        client.timer = loop.schedule(after: SwitchSession.requestTimeout) { [unowned self, unowned client] in
            refuse(client, "no request within 5 s")
        }
        // The request has usually arrived together with the connection.
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
        // A client with a port has nothing more to send.
        guard client.joined == nil else { return }
        switch client.reader.take(bytes) {
        case .incomplete: break
        case .settling:
            loop.cancel(client.timer)
            client.timer = loop.schedule(after: SwitchSession.fragmentTimeout) { [unowned self, unowned client] in
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
            leavePending(client)
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
            // From the reply on, the client must receive what others send.
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
        // The client has chosen the path, so it may contain anything.
        let path = PrintableText.line(error.subject)
        switch error.code {
        case Errno.notSocket: return "\(path) is no socket"
        case Errno.notPermitted: return "\(path) belongs to another user, or this switch may not write to it"
        default: return "\(error.operation) \(path): \(error.reason)"
        }
    }

    private func leavePending(_ client: Client) {
        loop.cancel(client.timer)
        client.timer = nil
        pending.removeAll { $0 == client.control.raw }
    }

    /// Closes the connection, which is the protocol's refusal, and logs the reason.
    private func refuse(_ client: Client, _ reason: String) {
        rateLimited.log(
            "refused a client of \(UserDatabase.userName(client.user)) (process \(client.process)): \(reason)",
            to: logger)
        end(client)
    }

    /// Takes a client's port away.
    private func end(_ client: Client) {
        leavePending(client)
        loop.unwatch(client.control.raw)
        if let (port, socket, description) = client.joined {
            virtualSwitch.detach(client.control.raw, from: port)
            directory?.removeDataSocket(socket)
            logger.debug("port \(port): \(description) has left")
        }
        clients[client.control.raw] = nil
        onChange()
    }

    /// The process of a VDE client; nil for a client of another listener.
    func process(ofEnd identifier: Int32) -> Int32? {
        clients[identifier]?.process ?? listenerProcesses[identifier]
    }

    /// Disconnects a client on a command of the console. A TAP cannot be disconnected.
    func disconnect(end identifier: Int32, of port: Int) {
        if let client = clients[identifier], client.joined?.port == port { return end(client) }
        if let end = virtualSwitch.ports[port]?.connections.first(where: { $0.identifier == identifier }) {
            onDisconnect(end.attachment)
        }
    }

    /// Allows the guests at these ports to be routers and DHCP servers. Before the first guest is attached.
    package func allowServers(at ports: Set<Int>) { virtualSwitch.servingPorts = ports }

    package func number(of attachment: PortNumber) -> Int? { virtualSwitch.number(of: attachment) }

    package func name(of attachment: PortNumber) -> String? {
        guard let number = virtualSwitch.number(of: attachment), let port = virtualSwitch.ports[number] else {
            return nil
        }
        return "port \(number) (\(port.connections.first { $0.attachment == attachment }?.description ?? ""))"
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
