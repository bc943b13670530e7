// SPDX-License-Identifier: Apache-2.0
import Lifecycle
import Listeners
import EventLoop
import Logging
import Platform
import VDESwitch

/// The switch's console on a socket, for any number of terminals and scripts.
final class ConsoleServer {
    private static let maximumClients = 32
    /// Commands of one client that are carried out before the others have their turn.
    private static let linesInOneGo = 16

    /// How long the end of a line may take to come. vde_switch takes what one read brings for a command, and vdeterm
    /// sends nothing behind it.
    private static let linePause = 100 * MonotonicClock.millisecond

    private final class Client {
        let socket: Descriptor
        let user: UInt32
        let admission: ClientQuota.Admission
        var dialogue = ConsoleDialogue()
        var pending: [UInt8] = []
        var isEnding = false
        var lineTimer: ControlLoop.TimerID?

        init(_ socket: consuming Descriptor, user: UInt32, _ admission: ClientQuota.Admission) {
            self.socket = socket
            self.user = user
            self.admission = admission
        }
    }

    private let listener: Listener
    private let console: ManagementConsole
    private let loop: ControlLoop
    private let logger: Logger
    private var acceptLoop: AcceptLoop?
    private var complaints = RateLimitedLogger()
    private var clients: [Int32: Client] = [:]
    var onShutdown: () -> Void = {}

    /// - Parameter isLocked: the socket's directory is the switch's, which is locked already.
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
            listener = try Listener(.stream, at: configuration.path, access: access, isLocked: isLocked)
        } catch {
            if error.cause == .occupied {
                throw ExitError(
                    .alreadyRunning,
                    "\(configuration.path) is a console in use; stop what serves it, or give another --mgmt")
            }
            throw ExitError(
                error.cause == .permissionDenied ? .noPermission : .cannotCreate, "no console by --mgmt: \(error)")
        }
        acceptLoop = try orUnavailable { () throws(SystemError) in
            try AcceptLoop(
                listener.socket.duplicate(), cost: 1, of: quota, loop: loop,
                onExhaustion: { [unowned self] in complaints.log("no console client can be taken in: \($0)", to: logger)
                }, onClient: { [unowned self] in take(in: $0, $1) })
        }
    }

    private func take(in socket: consuming Descriptor, _ admission: ClientQuota.Admission) {
        guard let peer = try? socket.peerCredentials() else { return }
        guard clients.count < ConsoleServer.maximumClients else {
            return complaints.log(
                "the console has \(ConsoleServer.maximumClients) clients; another was turned away", to: logger)
        }
        let client = Client(socket, user: peer.user, admission)
        clients[client.socket.raw] = client
        send(console.greeting, to: client)
        watch(client)
    }

    private func watch(_ client: Client) {
        guard clients[client.socket.raw] === client else { return }
        loop.unwatch(client.socket.raw)
        // Whoever does not read is not listened to either.
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
        answer(client)
    }

    /// Answers what has come, as long as it is read, and not too much of it in one go.
    private func answer(_ client: Client) {
        for _ in 0..<ConsoleServer.linesInOneGo {
            guard clients[client.socket.raw] === client, client.pending.isEmpty,
                let (text, end) = client.dialogue.next(console, user: client.user)
            else {
                awaitLineEnd(client)
                return watch(client)
            }
            client.isEnding = end != nil
            send(text, to: client)
            if end == .shutdown { onShutdown() }
            if end != nil { return watch(client) }
        }
        // The others have their turn first.
        loop.unwatch(client.socket.raw)
        let number = client.socket.raw
        loop.schedule(after: 0) { [unowned self] in
            if let client = clients[number] { answer(client) }
        }
    }

    private func awaitLineEnd(_ client: Client) {
        loop.cancel(client.lineTimer)
        guard client.dialogue.isInLine, clients[client.socket.raw] === client else { return }
        client.lineTimer = loop.schedule(after: ConsoleServer.linePause) { [unowned self, unowned client] in
            client.dialogue.endLine()
            answer(client)
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
        if client.pending.isEmpty && client.isEnding { close(client) }
    }

    private func close(_ client: Client) {
        loop.cancel(client.lineTimer)
        loop.unwatch(client.socket.raw)
        clients[client.socket.raw] = nil
    }

    /// Ends all conversations, and removes the socket.
    func close() {
        for client in Array(clients.values) { close(client) }
        acceptLoop?.close()
        listener.remove()
    }
}

/// The console on standard input, as vde_switch has it: answers on standard output, and its end is the switch's.
final class StandardInputConsole {
    private let console: ManagementConsole
    private let loop: ControlLoop
    private let input: Descriptor
    private let isTerminal: Bool
    private var dialogue = ConsoleDialogue()
    var onEnd: () -> Void = {}

    init(_ console: ManagementConsole, loop: ControlLoop) throws(SystemError) {
        input = try Descriptor.standardInput()
        self.console = console
        self.loop = loop
        isTerminal = input.isTerminal
    }

    func start() {
        if isTerminal { StandardOutput.write(console.greeting) }
        do throws(SystemError) {
            try loop.watch(input.raw) { [unowned self] _ in receive() }
        } catch {
            // A file, which is always ready and so cannot be waited for.
            loop.schedule(after: 0) { [unowned self] in while receive() {} }
        }
    }

    /// Returns false at the end.
    @discardableResult
    private func receive() -> Bool {
        let bytes = (try? input.read(limit: 4096)) ?? []
        dialogue.take(bytes)
        var isOver = false
        // What stands behind the last end of a line is a line as well.
        if bytes.isEmpty, dialogue.isInLine { dialogue.endLine() }
        while !isOver, let (text, end) = dialogue.next(console, user: nil, showsPrompt: isTerminal) {
            StandardOutput.write(text)
            isOver = end != nil
        }
        isOver = isOver || bytes.isEmpty
        guard isOver else { return true }
        loop.unwatch(input.raw)
        onEnd()
        return false
    }
}
