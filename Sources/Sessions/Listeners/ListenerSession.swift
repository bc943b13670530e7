// SPDX-License-Identifier: Apache-2.0
import Lifecycle
import Listeners
import EventLoop
import FrameIO
import Logging
import Platform
import Switching
import Timing
import VhostUser

/// The listeners besides VDE: accepts their clients, and gives each a port of the switch.
package final class ListenerSession {
    /// How often clients are probed whose end the system does not report.
    private static let probeInterval = TimeAmount.seconds(2)

    let configuration: ListenerConfiguration
    let quota: ClientQuota
    let loop: ControlLoop
    let logger: Logger
    let control: SwitchControl
    private let session: any NetworkSession
    private(set) var listeners: [ListenerSocket] = []
    /// Whether the system reports the user of a datagram's sender.
    private(set) var reportsSenders = false
    /// Datagram listeners by their port.
    private(set) var datagramListeners: [PortNumber: ListenerSocket] = [:]
    private var acceptLoops: [AcceptLoop] = []
    /// The listeners for front ends.
    private var frontEndPaths: Set<String> = []
    /// The front ends among the clients.
    var frontEnds: [PortNumber: VhostConnection] = [:]
    /// To front ends that listen.
    var connectors: [FrontEndConnector] = []
    /// Namespaces whose interfaces get addresses when the network has them.
    var unconfigured: [UnconfiguredNamespace] = []
    /// The connected clients by their port.
    package private(set) var clients: [PortNumber: ListenerClient] = [:]
    var rateLimited = RateLimitedLogger()
    private var probeTimer: ControlLoop.TimerID?
    /// The program's end of the socket pair, until the program is started.
    private var programEnd: Descriptor?
    /// Called when the last client of a daemon that accepts no others has disconnected.
    package var onEnd: () -> Void = {}

    /// - Parameter session: has the ports for the clients.
    package init(
        _ configuration: ListenerConfiguration, beside session: any NetworkSession, quota: ClientQuota,
        loop: ControlLoop, logger: Logger
    ) {
        self.configuration = configuration
        self.session = session
        self.quota = quota
        self.loop = loop
        self.logger = logger
        control = session.control
    }

    /// The sockets for the ready line; nil without any.
    package var description: String? {
        let words =
            listeners.map { listener in
                let isVhostUser = frontEndPaths.contains(listener.path)
                return (isVhostUser ? "vhost-user" : listener.kind.name) + " at " + name(of: listener)
            }
            + configuration.vhostUserServers.map { "vhost-user to \($0)" }
            + (configuration.descriptors + configuration.vhostUserDescriptors).map { "descriptor \($0.raw)" }
            + configuration.namespaces.map(\.description)
        return words.isEmpty ? nil : words.joined(separator: ", ")
    }

    /// Called when the number of clients has changed.
    package var onChange: () -> Void = {}

    /// Makes the sockets. Clients are accepted when the loop runs.
    package func open() throws(ExitError) {
        guard !configuration.isEmpty else { return }
        for path in configuration.streams { try open(make(.stream, at: path)) }
        for path in configuration.datagrams { try open(make(.datagram, at: path)) }
        for path in configuration.sequencedPackets { try open(make(.sequencedPacket, at: path)) }
        for path in configuration.vhostUsers { try acceptFrontEnds(from: make(.stream, at: path)) }
        for socket in configuration.activated {
            switch socket.kind {
            case .listener(let kind):
                let listener = ListenerSocket(
                    kind, inheriting: Descriptor(inheriting: socket.raw), path: socket.path)
                try socket.isVhostUser ? acceptFrontEnds(from: listener) : open(listener)
            case .connection(let descriptor) where socket.isVhostUser: try adoptFrontEnd(descriptor)
            case .connection(let descriptor): adopt(descriptor)
            }
        }
        for descriptor in configuration.descriptors { adopt(descriptor) }
        try adoptFrontEnds()
        try attachNamespaces()
        connectFrontEnds()
        if !configuration.program.isEmpty { try makePair() }
        probe()
    }

    /// Accepts the connections of a listening socket.
    private func accept(
        from listener: ListenerSocket, cost: Int,
        onClient: @escaping (consuming Descriptor, ClientQuota.Admission) -> Void
    ) throws(ExitError) {
        listeners.append(listener)
        let path = listener.path
        // An inherited socket may be blocking.
        listener.socket.setNonBlocking()
        acceptLoops.append(
            try orUnavailable { () throws(SystemError) in
                try AcceptLoop(
                    listener.socket.duplicate(), cost: cost, of: quota, loop: loop,
                    onExhaustion: { [unowned self] in
                        rateLimited.log("no client can be accepted at \(path): \($0)", to: logger)
                    }, onClient: onClient)
            })
    }

    private func acceptFrontEnds(from listener: ListenerSocket) throws(ExitError) {
        let path = listener.path
        frontEndPaths.insert(path)
        try accept(from: listener, cost: VhostConnection.descriptorCount) { [unowned self] in
            attachFrontEnd($0, $1, at: path)
        }
    }

    private func open(_ listener: ListenerSocket) throws(ExitError) {
        let path = listener.path
        switch listener.kind {
        case .stream, .sequencedPacket:
            try accept(from: listener, cost: 1) { [unowned self] in accept($0, $1, from: listener) }
        case .datagram:
            listeners.append(listener)
            reportsSenders = listener.socket.reportSenders()
            let descriptor = try orUnavailable { () throws(SystemError) in try listener.socket.duplicate() }.release()
            var port = PortConfiguration(
                name: "dgram \(path)", kind: .datagramListener, role: .service, descriptor: descriptor, maximumFrame: 0,
                receivesUnknown: false)
            port.offloadMTU = offloadMTU(of: path)
            guard let number = control.attach(port) else {
                _ = Descriptor(adopting: descriptor)
                throw ExitError(.unavailable, "no port is left for \(path)")
            }
            datagramListeners[number] = listener
        }
    }

    private func adopt(_ descriptor: InheritedDescriptor) {
        let socket = Descriptor(inheriting: descriptor.raw)
        setBuffers(of: socket, isStream: descriptor.isStream)
        let client = ListenerClient(
            description: "descriptor \(descriptor.raw)", module: descriptor.kind.name,
            user: CurrentProcess.effectiveUser, needsProbes: !descriptor.kind.hasConnections)
        attach(client, socket, kind: PortKind(descriptor.kind))
    }

    private func makePair() throws(ExitError) {
        let pair = try orUnavailable(DescriptorPair.datagramSockets)
        setBuffers(of: pair.first, isStream: false)
        setBuffers(of: pair.second, isStream: false)
        let ours = try orUnavailable { () throws(SystemError) in try pair.first.duplicate() }
        attach(
            ListenerClient(description: configuration.program[0], module: "dgram", user: CurrentProcess.effectiveUser),
            ours,
            kind: .datagram)
        programEnd = try orUnavailable { () throws(SystemError) in try pair.second.duplicate() }
        // A program may expect a blocking socket. The other end has its own mode.
        programEnd?.setBlocking()
    }

    /// Starts the program of the configuration; nil if there is none.
    package func startProgram() throws(ExitError) -> ChildProcess? {
        guard let end = programEnd?.raw else { return nil }
        defer { programEnd = nil }
        let user = configuration.programUser
        var environment: [String: String] = [:]
        if let user, let account = UserDatabase.account(user.user) {
            environment = ["HOME": account.home, "USER": account.name, "LOGNAME": account.name]
        }
        do throws(SystemError) {
            return try GuestProgram.start(configuration.program, descriptor: end, user: user, environment: environment)
        } catch {
            let isMissing = error.code == Errno.noEntry
            throw ExitError(
                isMissing ? .programNotFound : .programNotStarted,
                "\(error)\(isMissing ? "; there is no such program" : "")")
        }
    }

    /// Sets the sizes that the programs at the other end use.
    func setBuffers(of socket: borrowing Descriptor, isStream: Bool) {
        socket.setBuffers(send: 1 << 20, receive: isStream ? 1 << 20 : 4 << 20)
    }

    private func probe() {
        for (port, client) in clients {
            if client.needsProbes { control.probe(port) }
            if client.namespace?.isGone == true { end(port, nil) }
        }
        probeTimer = loop.schedule(after: ListenerSession.probeInterval) { [unowned self] in probe() }
    }

    private func make(_ kind: ListenerSocket.Kind, at path: String) throws(ExitError) -> ListenerSocket {
        do throws(ListenerError) {
            return try ListenerSocket(
                kind, at: path, access: configuration.access,
                isLocked: Files.parent(Files.resolved(path)) == session.directoryPath)
        } catch {
            switch error.cause {
            case .occupied: throw ExitError(.alreadyRunning, error.description)
            case .permissionDenied: throw ExitError(.noPermission, error.description)
            case .notOurs, .unsuitable, .system: throw ExitError(.cannotCreate, error.description)
            }
        }
    }

    private func accept(
        _ socket: consuming Descriptor, _ admission: ClientQuota.Admission, from listener: ListenerSocket
    ) {
        let kind = listener.kind
        guard let peer = try? socket.peerCredentials() else { return }
        setBuffers(of: socket, isStream: kind == .stream)
        var client = ListenerClient(
            description: "\(kind.name) \(name(of: listener)), process \(peer.process) of "
                + UserDatabase.userName(peer.user),
            module: kind.name,
            user: peer.user)
        client.process = peer.process
        client.admission = admission
        attach(client, socket, kind: PortKind(kind)) { $0.offloadMTU = offloadMTU(of: listener.path) }
    }

    /// A listener's path, and whether its clients have offload, for people.
    func name(of listener: ListenerSocket) -> String {
        listener.path + (configuration.offloadedPaths.contains(listener.path) ? " with offload" : "")
    }

    /// Bytes of the IP packets that frames of a listener's clients are segmented into; 0 for clients without offload.
    func offloadMTU(of path: String) -> Int {
        configuration.offloadedPaths.contains(path) ? configuration.mtu ?? 1500 : 0
    }

    /// Gives a client a port, and reports if none is left.
    /// - Parameter complete: sets the properties that this kind of port needs.
    func attach(
        _ client: ListenerClient, _ socket: consuming Descriptor, kind: PortKind,
        _ complete: (inout PortConfiguration) -> Void = { _ in }
    ) {
        let maximumFrame = kind == .stream ? FrameLimits.stream : FrameLimits.device
        var port = PortConfiguration(
            name: client.description, kind: kind, role: .guest, descriptor: socket.release(), maximumFrame: maximumFrame
        )
        complete(&port)
        attach(client, port)
    }

    /// The same for a port that is complete. Returns its number; nil if none is left.
    @discardableResult
    func attach(_ client: ListenerClient, _ port: PortConfiguration) -> PortNumber? {
        guard let number = session.attachClient(port, client) else {
            _ = Descriptor(adopting: port.descriptor)
            if port.peerHandle >= 0 { _ = Descriptor(adopting: port.peerHandle) }
            rateLimited.log("refused \(client.description): no port is left", to: logger)
            return nil
        }
        clients[number] = client
        onChange()
        logger.debug("\(client.description) has joined")
        return number
    }

    /// Handles an event of the switch, if it is about a client or a datagram listener.
    package func handle(_ event: PortEvent) {
        if case .unknownPeer(let listener, let stranger) = event { return attach(stranger, at: listener) }
        guard let client = clients[event.port] else { return }
        switch event {
        case .ended(_, nil): end(event.port, nil)
        case .ended(_, let length?):
            end(
                event.port,
                """
                it announced a frame of \(length) bytes, and frames have \(FrameLimits.shortest) to \
                \(FrameLimits.stream): the program may use another protocol
                """
            )
        case .unreachable where frontEnds[event.port] != nil:
            end(event.port, frontEnds[event.port]?.fault ?? "its rings cannot be used")
        case .unreachable(_, Errno.ioError) where client.namespace != nil:
            // The guest has taken its interface down. Other failures are still reported.
            break
        case .unreachable(_, let code):
            let hasGone =
                [Errno.brokenPipe, Errno.reset, Errno.refused, Errno.notConnected, Errno.destinationRequired]
                .contains(code) || client.namespace != nil && code == Errno.interfaceRemoved
            end(event.port, hasGone ? nil : SystemError(code: code, client.description).description)
        case .goodbye where client.needsProbes:
            // Another socket may have sent this. The probe finds out whether the client still exists.
            control.probe(event.port)
            control.rearm(event.port)
        case .unknownPeer, .goodbye, .firstFrame, .loop, .loopEnded, .offence: break
        }
    }

    /// - Parameter reason: the client's error; nil if it has disconnected.
    func end(_ port: PortNumber, _ reason: String?) {
        guard let client = clients.removeValue(forKey: port) else { return }
        frontEnds.removeValue(forKey: port)?.close()
        session.detachClient(port)
        client.onEnd()
        if let reason {
            rateLimited.log("disconnected \(client.description): \(reason)", to: logger)
        } else {
            logger.debug("\(client.description) has left")
        }
        onChange()
        if configuration.isClosed && clients.isEmpty && !isClosing { onEnd() }
    }

    /// Disconnects a client on a command of the console.
    package func disconnect(_ port: PortNumber) { end(port, nil) }

    /// The client at a port; nil if the port is not a client's.
    package func client(of port: PortNumber) -> PortClient? {
        clients[port].map {
            PortClient(
                number: session.number(of: port), module: $0.module, description: $0.description, user: $0.user,
                process: $0.process)
        }
    }

    /// The description of a client for messages; nil if the port is not a client's.
    package func name(of port: PortNumber) -> String? { clients[port]?.description }

    private var isClosing = false

    /// Disconnects all clients, and removes the sockets.
    package func close() {
        isClosing = true
        loop.cancel(probeTimer)
        for acceptLoop in acceptLoops { acceptLoop.close() }
        for connector in connectors { connector.close() }
        for listener in listeners { listener.remove() }
        for port in Array(clients.keys) { end(port, nil) }
        for port in datagramListeners.keys { control.detach(port) }
    }
}

extension PortKind {
    /// Of a client with its own socket.
    init(_ kind: ListenerSocket.Kind) {
        switch kind {
        case .stream: self = .stream
        case .datagram: self = .datagram
        case .sequencedPacket: self = .sequencedPacket
        }
    }
}
