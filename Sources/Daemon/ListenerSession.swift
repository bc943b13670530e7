// SPDX-License-Identifier: Apache-2.0
import Lifecycle
import Listeners
import EventLoop
import FrameIO
import Logging
import Platform
import Switching

/// Who has come in through a listener.
struct ListenerClient {
    /// For the console and messages, such as `stream /tmp/vm.sock, process 1234 of alice`.
    let description: String
    /// What the console calls the kind of its port.
    let module: String
    let user: UInt32
    /// The system does not tell when it goes: it is sent something from time to time.
    var needsProbes = false
    /// Of a datagram listener: what it has bound, and the listener.
    var name: [UInt8] = []
    var listener: PortNumber?
    /// Its descriptors.
    var admission: ClientQuota.Admission?
}

/// The listeners besides VDE: takes clients in, each as a port of the switch, and lets them go.
final class ListenerSession {
    private static let probePause = 2 * MonotonicClock.second

    private let configuration: ListenerConfiguration
    let quota: ClientQuota
    private let loop: ControlLoop
    let logger: Logger
    let control: SwitchControl
    private let attach: (PortConfiguration, ListenerClient) -> PortNumber?
    private let detach: (PortNumber) -> Void
    private(set) var listeners: [Listener] = []
    /// Whether the system tells whose program a datagram comes from.
    private(set) var tellsSenders = false
    /// Datagram listeners by their number in the forwarder.
    private(set) var halls: [PortNumber: Listener] = [:]
    private var acceptLoops: [AcceptLoop] = []
    private(set) var clients: [PortNumber: ListenerClient] = [:]
    var complaints = RateLimitedLogger()
    private var probeTimer: ControlLoop.TimerID?
    /// The program's end of the pair, until it has been started.
    private var programEnd: Descriptor?
    /// That of a switch of ours, which is locked for as long as it is there.
    private let lockedDirectory: String?
    /// Called when the last of the machines for which alone we were started has gone.
    var onEnd: () -> Void = {}

    /// - Parameters:
    ///   - attach: gives a client a port and takes over the descriptor; nil when there is none left, and the descriptor
    ///     is still ours.
    ///   - detach: takes it away.
    init(
        _ configuration: ListenerConfiguration, lockedDirectory: String?, quota: ClientQuota, loop: ControlLoop,
        control: SwitchControl, logger: Logger,
        attach: @escaping (PortConfiguration, ListenerClient) -> PortNumber?, detach: @escaping (PortNumber) -> Void
    ) {
        self.lockedDirectory = lockedDirectory
        self.configuration = configuration
        self.quota = quota
        self.loop = loop
        self.control = control
        self.logger = logger
        self.attach = attach
        self.detach = detach
    }

    /// For the ready line; nil without listeners.
    var description: String? {
        let words =
            listeners.map { ($0.kind == .stream ? "stream at " : "dgram at ") + $0.path }
            + configuration.descriptors.map { "descriptor \($0.raw)" }
        return words.isEmpty ? nil : words.joined(separator: ", ")
    }

    /// Called when a client has come or gone.
    var onChange: () -> Void = {}

    /// Makes the sockets. Clients are taken in when the loop runs.
    func open() throws(ExitError) {
        guard !configuration.isEmpty else { return }
        for path in configuration.streams { try open(make(.stream, at: path)) }
        for path in configuration.datagrams { try open(make(.datagram, at: path)) }
        for socket in configuration.activated {
            switch socket.kind {
            case .listener(let kind):
                try open(Listener(kind, inheriting: Descriptor(inheriting: socket.raw), path: socket.path))
            case .machine(let descriptor): take(over: descriptor)
            }
        }
        for descriptor in configuration.descriptors { take(over: descriptor) }
        if !configuration.program.isEmpty { try makePair() }
        probe()
    }

    private func open(_ listener: Listener) throws(ExitError) {
        listeners.append(listener)
        let path = listener.path
        switch listener.kind {
        case .stream:
            // Who made it may have left it blocking.
            listener.socket.setNonBlocking()
            acceptLoops.append(
                try orUnavailable { () throws(SystemError) in
                    try AcceptLoop(
                        listener.socket.duplicate(), cost: 1, of: quota, loop: loop,
                        onExhaustion: { [unowned self] in
                            complaints.log("no client can be taken in at \(path): \($0)", to: logger)
                        },
                        onClient: { [unowned self] in take(in: $0, $1, at: path) })
                })
        case .datagram:
            tellsSenders = listener.socket.reportSenders()
            let descriptor = try orUnavailable { () throws(SystemError) in try listener.socket.duplicate() }.release()
            let port = PortConfiguration(
                name: "dgram \(path)", kind: .datagramListener, role: .service, descriptor: descriptor, maximumFrame: 0,
                receivesUnknown: false)
            guard let number = control.attach(port) else {
                _ = Descriptor(adopting: descriptor)
                throw ExitError(.unavailable, "no port is left for \(path)")
            }
            halls[number] = listener
        }
    }

    private func take(over descriptor: InheritedDescriptor) {
        let socket = Descriptor(inheriting: descriptor.raw)
        setBuffers(of: socket, isStream: descriptor.isStream)
        let client = ListenerClient(
            description: "descriptor \(descriptor.raw)", module: descriptor.isStream ? "stream" : "dgram",
            user: Accounts.effectiveUser, needsProbes: !descriptor.isStream)
        admit(client, socket, kind: descriptor.isStream ? .stream : .datagram)
    }

    private func makePair() throws(ExitError) {
        let pair = try orUnavailable(DescriptorPair.datagramSockets)
        setBuffers(of: pair.first, isStream: false)
        setBuffers(of: pair.second, isStream: false)
        let ours = try orUnavailable { () throws(SystemError) in try pair.first.duplicate() }
        admit(
            ListenerClient(description: configuration.program[0], module: "dgram", user: Accounts.effectiveUser), ours,
            kind: .datagram)
        programEnd = try orUnavailable { () throws(SystemError) in try pair.second.duplicate() }
        // A program may expect to wait for frames; how our end is used does not depend on it.
        programEnd?.setBlocking()
    }

    /// Starts the program that was asked for; nil if none was.
    func startProgram() throws(ExitError) -> ChildProcess? {
        guard let end = programEnd?.raw else { return nil }
        defer { programEnd = nil }
        let user = configuration.programUser
        var environment: [String: String] = [:]
        if let user, let account = Accounts.account(user.user) {
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

    /// As the programs at the other end set theirs.
    func setBuffers(of socket: borrowing Descriptor, isStream: Bool) {
        socket.setBuffers(send: 1 << 20, receive: isStream ? 1 << 20 : 4 << 20)
    }

    private func probe() {
        for (port, client) in clients where client.needsProbes { control.probe(port) }
        probeTimer = loop.schedule(after: ListenerSession.probePause) { [unowned self] in probe() }
    }

    private func make(_ kind: Listener.Kind, at path: String) throws(ExitError) -> Listener {
        do throws(ListenerError) {
            return try Listener(
                kind, at: path, access: configuration.access,
                isLocked: Files.parent(Files.resolved(path)) == lockedDirectory)
        } catch {
            switch error.cause {
            case .occupied: throw ExitError(.alreadyRunning, error.description)
            case .permissionDenied: throw ExitError(.noPermission, error.description)
            case .notOurs, .unsuitable, .system: throw ExitError(.cannotCreate, error.description)
            }
        }
    }

    private func take(in socket: consuming Descriptor, _ admission: ClientQuota.Admission, at path: String) {
        guard let peer = try? socket.peerCredentials() else { return }
        setBuffers(of: socket, isStream: true)
        var client = ListenerClient(
            description: "stream \(path), process \(peer.process) of \(Accounts.userName(peer.user))", module: "stream",
            user: peer.user)
        client.admission = admission
        admit(client, socket, kind: .stream)
    }

    /// Gives a client a port. Where none is left, that is said.
    /// - Parameter complete: adds to the port what its kind needs.
    func admit(
        _ client: ListenerClient, _ socket: consuming Descriptor, kind: PortKind,
        _ complete: (inout PortConfiguration) -> Void = { _ in }
    ) {
        let maximumFrame = kind == .stream ? FrameLimits.stream : FrameLimits.device
        var port = PortConfiguration(
            name: client.description, kind: kind, role: .guest, descriptor: socket.release(), maximumFrame: maximumFrame
        )
        complete(&port)
        guard let number = attach(port, client) else {
            _ = Descriptor(adopting: port.descriptor)
            if port.peerHandle >= 0 { _ = Descriptor(adopting: port.peerHandle) }
            return complaints.log("turned away \(client.description): no port is left", to: logger)
        }
        clients[number] = client
        onChange()
        logger.debug("\(client.description) has joined")
    }

    /// What the forwarder tells of a client's port.
    func handle(_ event: PortEvent) {
        if case .unknownPeer(let listener, let stranger) = event { return admit(stranger, at: listener) }
        guard let client = clients[event.port] else { return }
        switch event {
        case .ended(_, nil): end(event.port, nil)
        case .ended(_, let length?):
            end(
                event.port,
                "it announced a frame of \(length) bytes, and frames have 14 to \(FrameLimits.stream): is it a program that speaks another protocol?"
            )
        case .unreachable(_, let code):
            let hasGone = [Errno.brokenPipe, Errno.reset, Errno.refused, Errno.notConnected, Errno.destinationRequired]
                .contains(code)
            end(event.port, hasGone ? nil : SystemError(code: code, client.description).description)
        case .goodbye where client.needsProbes:
            // Finds out whether the one that we know is still there.
            control.probe(event.port)
            control.rearm(event.port)
        case .unknownPeer, .goodbye, .firstFrame, .loop, .loopEnded, .offence: break
        }
    }

    /// - Parameter reason: what it did wrong; nil if it just went.
    private func end(_ port: PortNumber, _ reason: String?) {
        guard let client = clients.removeValue(forKey: port) else { return }
        detach(port)
        if let reason {
            complaints.log("ended \(client.description): \(reason)", to: logger)
        } else {
            logger.debug("\(client.description) has gone")
        }
        onChange()
        if configuration.isClosed && clients.isEmpty && !isClosing { onEnd() }
    }

    /// Ends a client on a command of the console.
    func disconnect(_ port: PortNumber) { end(port, nil) }

    /// What a port is called in messages.
    func name(of port: PortNumber) -> String? { clients[port]?.description }

    private var isClosing = false

    func close() {
        isClosing = true
        loop.cancel(probeTimer)
        for acceptLoop in acceptLoops { acceptLoop.close() }
        for listener in listeners { listener.remove() }
        for port in Array(clients.keys) { end(port, nil) }
        for port in halls.keys { control.detach(port) }
    }
}
