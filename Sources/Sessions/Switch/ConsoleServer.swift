// SPDX-License-Identifier: Apache-2.0
import Lifecycle
import Listeners
import EventLoop
import Logging
import Platform
import Timing
import VDESwitch

/// The management console of the switch on a socket, for terminals and scripts.
final class ConsoleServer {
    private static let maximumClients = 32
    /// Commands of one client that are executed before other handlers run.
    private static let linesPerIteration = 16

    /// How long to wait for the end of a line. vde_switch treats the result of each read as a command, and vdeterm
    /// sends no end of line.
    private static let lineTimeout = TimeAmount.milliseconds(100)

    private final class Client {
        let socket: Descriptor
        let user: UInt32
        let admission: ClientQuota.Admission
        var dialogue = ConsoleSession()
        var pending: [UInt8] = []
        var closesAfterSending = false
        var lineTimer: ControlLoop.TimerID?

        init(_ socket: consuming Descriptor, user: UInt32, _ admission: ClientQuota.Admission) {
            self.socket = socket
            self.user = user
            self.admission = admission
        }
    }

    private let listener: ListenerSocket
    private let console: ManagementConsole
    private let loop: ControlLoop
    private let logger: Logger
    private var acceptLoop: AcceptLoop?
    private var rateLimited = RateLimitedLogger()
    private var clients: [Int32: Client] = [:]
    var onShutdown: () -> Void = {}

    /// - Parameters:
    ///   - owner: of the socket; nil for this process.
    ///   - isLocked: the socket is in the switch's directory, which this process has locked.
    init(
        _ configuration: SwitchConfiguration.Console, owner: (user: UInt32, group: UInt32)?, isLocked: Bool,
        console: ManagementConsole, quota: ClientQuota, loop: ControlLoop,
        logger: Logger
    ) throws(ExitError) {
        self.console = console
        self.loop = loop
        self.logger = logger
        let access = ListenerAccess(
            mode: configuration.mode, user: owner?.user, group: configuration.group ?? owner?.group)
        do throws(ListenerError) {
            listener = try ListenerSocket(.stream, at: configuration.path, access: access, isLocked: isLocked)
        } catch {
            if error.cause == .occupied {
                throw ExitError(
                    .alreadyRunning,
                    "\(configuration.path) is a console in use; stop the process that serves it, or give another --mgmt"
                )
            }
            throw ExitError(
                error.cause == .permissionDenied ? .noPermission : .cannotCreate,
                "cannot make the console of --mgmt: \(error)")
        }
        acceptLoop = try orUnavailable { () throws(SystemError) in
            try AcceptLoop(
                listener.socket.duplicate(), cost: 1, of: quota, loop: loop,
                onExhaustion: { [unowned self] in
                    rateLimited.log("no console client can be accepted: \($0)", to: logger)
                }, onClient: { [unowned self] in accept($0, $1) })
        }
    }

    private func accept(_ socket: consuming Descriptor, _ admission: ClientQuota.Admission) {
        guard let peer = try? socket.peerCredentials() else { return }
        guard clients.count < ConsoleServer.maximumClients else {
            return rateLimited.log(
                "the console has \(ConsoleServer.maximumClients) clients; another one was refused", to: logger)
        }
        let client = Client(socket, user: peer.user, admission)
        clients[client.socket.raw] = client
        send(console.greeting, to: client)
        watch(client)
    }

    private func watch(_ client: Client) {
        guard clients[client.socket.raw] === client else { return }
        loop.unwatch(client.socket.raw)
        // Backpressure: no command is read from a client that does not read its replies.
        let interest: Readiness = client.pending.isEmpty ? .readable : .writable
        do throws(SystemError) {
            try loop.watch(client.socket.raw, for: interest) { [unowned self, unowned client] _ in handle(client) }
        } catch {
            close(client)
        }
    }

    private func handle(_ client: Client) {
        if client.pending.isEmpty {
            do throws(SystemError) {
                let bytes = try client.socket.receive(limit: 65_536)
                if bytes.isEmpty { return close(client) }
                loop.cancel(client.lineTimer)
                client.dialogue.take(bytes)
            } catch {
                if error.code != Errno.again { close(client) }
                return
            }
        } else {
            flush(client)
        }
        processLines(of: client)
    }

    /// Executes a bounded number of commands, while the client reads the replies.
    private func processLines(of client: Client) {
        for _ in 0..<ConsoleServer.linesPerIteration {
            guard clients[client.socket.raw] === client, client.pending.isEmpty,
                let (text, end) = client.dialogue.next(console, user: client.user)
            else {
                awaitLineEnd(client)
                return watch(client)
            }
            client.closesAfterSending = end != nil
            send(text, to: client)
            if end == .shutdown { onShutdown() }
            if end != nil { return watch(client) }
        }
        // Lets other handlers run first.
        loop.unwatch(client.socket.raw)
        let number = client.socket.raw
        loop.scheduleSoon { [unowned self] in
            if let client = clients[number] { processLines(of: client) }
        }
    }

    private func awaitLineEnd(_ client: Client) {
        loop.cancel(client.lineTimer)
        guard client.dialogue.isInLine, clients[client.socket.raw] === client else { return }
        client.lineTimer = loop.schedule(after: ConsoleServer.lineTimeout) { [unowned self, unowned client] in
            client.dialogue.endLine()
            processLines(of: client)
        }
    }

    private func send(_ text: String, to client: Client) {
        client.pending += Array(text.utf8)
        flush(client)
    }

    private func flush(_ client: Client) {
        var sent = 0
        while sent < client.pending.count {
            do throws(SystemError) {
                sent += try client.socket.send(Array(client.pending[sent...].prefix(65_536)))
            } catch {
                if error.code == Errno.again { break }
                return close(client)
            }
        }
        client.pending.removeFirst(sent)
        if client.pending.isEmpty && client.closesAfterSending { close(client) }
    }

    private func close(_ client: Client) {
        loop.cancel(client.lineTimer)
        loop.unwatch(client.socket.raw)
        clients[client.socket.raw] = nil
    }

    /// Disconnects all clients, and removes the socket.
    func close() {
        for client in Array(clients.values) { close(client) }
        acceptLoop?.close()
        listener.remove()
    }
}
