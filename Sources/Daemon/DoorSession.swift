// SPDX-License-Identifier: Apache-2.0
import Doors
import Logging
import Platform
import Switching

/// Who has come in through a door.
struct DoorClient {
    /// For the console and messages, such as `stream /tmp/vm.sock, process 1234 of alice`.
    let description: String
    /// What the console calls the kind of its port.
    let module: String
    let user: UInt32
}

/// The doors besides VDE: takes clients in, each as a port of the switch, and lets them go.
final class DoorSession {
    private let configuration: DoorConfiguration
    private let loop: ControlLoop
    private let logger: Logger
    private let attach: (PortConfiguration, DoorClient) -> PortNumber?
    private let detach: (PortNumber) -> Void
    private var doors: [Door] = []
    private var listeners: [Listener] = []
    private var clients: [PortNumber: DoorClient] = [:]
    private var complaints = Throttle()

    /// - Parameters:
    ///   - attach: gives a client a port and takes over the descriptor; nil when there is none left, and the descriptor is still ours.
    ///   - detach: takes it away.
    init(
        _ configuration: DoorConfiguration, loop: ControlLoop, logger: Logger, attach: @escaping (PortConfiguration, DoorClient) -> PortNumber?,
        detach: @escaping (PortNumber) -> Void
    ) {
        self.configuration = configuration
        self.loop = loop
        self.logger = logger
        self.attach = attach
        self.detach = detach
    }

    /// For the ready line; nil without doors.
    var description: String? {
        doors.isEmpty ? nil : doors.map { ($0.kind == .stream ? "stream at " : "dgram at ") + $0.path }.joined(separator: ", ")
    }

    /// Makes the sockets. Clients are taken in when the loop runs.
    func open() throws(ExitError) {
        guard !configuration.isEmpty else { return }
        ProcessLimits.raiseDescriptors()
        for path in configuration.streams {
            let door = try make(.stream, at: path)
            doors.append(door)
            listeners.append(
                try orUnavailable { () throws(SystemError) in
                    try Listener(
                        door.socket.duplicate(), loop: loop, onExhaustion: { [unowned self] in complaints.say("no client can be taken in at \(path): \($0)", to: logger) },
                        onClient: { [unowned self] in take(in: $0, at: path) })
                })
        }
    }

    private func make(_ kind: Door.Kind, at path: String) throws(ExitError) -> Door {
        do throws(DoorError) {
            return try Door(kind, at: path, access: configuration.access)
        } catch {
            switch error.cause {
            case .occupied: throw ExitError(.alreadyRunning, error.description)
            case .permissionDenied: throw ExitError(.noPermission, error.description)
            case .notOurs, .unsuitable, .system: throw ExitError(.unavailable, error.description)
            }
        }
    }

    private func take(in socket: consuming Descriptor, at path: String) {
        guard let peer = try? socket.peerCredentials() else { return }
        socket.setBuffers(send: 1 << 20, receive: 1 << 20)
        let client = DoorClient(description: "stream \(path), process \(peer.process) of \(Accounts.userName(peer.user))", module: "stream", user: peer.user)
        admit(client, socket, kind: .stream, maximumFrame: FrameLimits.stream)
    }

    private func admit(_ client: DoorClient, _ socket: consuming Descriptor, kind: PortKind, maximumFrame: Int) {
        let descriptor = socket.release()
        let port = PortConfiguration(name: client.description, kind: kind, role: .guest, descriptor: descriptor, maximumFrame: maximumFrame)
        guard let number = attach(port, client) else {
            _ = Descriptor(adopting: descriptor)
            return complaints.say("turned away \(client.description): no port is left", to: logger)
        }
        clients[number] = client
        logger.debug("\(client.description) has joined")
    }

    /// What the forwarder tells of a client's port.
    func handle(_ event: PortEvent) {
        guard let client = clients[event.port] else { return }
        switch event {
        case .ended(_, nil): end(event.port, nil)
        case .ended(_, let length?):
            end(event.port, "it announced a frame of \(length) bytes, and frames have 14 to \(FrameLimits.stream): is it a program that speaks another protocol?")
        case .unreachable(_, let code):
            end(event.port, code == Errno.brokenPipe || code == Errno.reset ? nil : SystemError(code: code, client.description).description)
        case .goodbye, .firstFrame, .loop, .loopEnded: break
        }
    }

    /// - Parameter reason: what it did wrong; nil if it just went.
    private func end(_ port: PortNumber, _ reason: String?) {
        guard let client = clients.removeValue(forKey: port) else { return }
        detach(port)
        if let reason { complaints.say("ended \(client.description): \(reason)", to: logger) } else { logger.debug("\(client.description) has gone") }
    }

    /// Ends a client on a command of the console.
    func disconnect(_ port: PortNumber) { end(port, nil) }

    /// What a port is called in messages.
    func name(of port: PortNumber) -> String? { clients[port]?.description }

    func close() {
        for listener in listeners { listener.close() }
        for door in doors { door.remove() }
        for port in Array(clients.keys) { end(port, nil) }
    }
}
