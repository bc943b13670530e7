// SPDX-License-Identifier: Apache-2.0
import ControlProtocol
import Platform
import Timing

/// A client's connection to the control socket of a network, which waits for replies. For commands, not for the daemon.
package final class ControlConnection {
    /// Why a request got no result.
    package enum Failure: Error, CustomStringConvertible {
        /// The network has refused the request.
        case refused(ControlError)
        /// The connection cannot be made or has ended.
        case unreachable(SystemError)
        /// The network has ended.
        case ended(String)
        /// The connection was closed before the first line: something else may serve the socket.
        case closed(String)
        /// What answers does not follow the protocol in time.
        case silent(String)
        /// The socket is in a user's directory, and another user serves it.
        case foreign(String)

        package var description: String {
            switch self {
            case .refused(let error): error.description
            case .unreachable(let error): error.description
            case .ended(let path): "the network of \(path) has ended"
            case .closed(let path):
                "\(path) has closed the connection without a reply: it is no control socket, or its network has ended"
            case .silent(let text), .foreign(let text): text
            }
        }
    }

    /// How long a network may take for a reply.
    private static let timeout = TimeAmount.seconds(10)

    /// The socket's path.
    package let path: String
    private let socket: Descriptor
    private var input: [UInt8] = []
    private var searched = 0
    private var nextID = 1
    /// A line of the protocol has come.
    private var isAnswered = false
    /// Events that came while a reply was awaited.
    private var events: [JSON] = []

    /// Connects to the socket at `path`. A socket in another user's directory must be that user's: a link in its place
    /// could lead to the network of a third user, or to any program.
    package init(_ path: String) throws(Failure) {
        self.path = path
        do throws(SystemError) {
            socket = try Socket.unixStream()
            try socket.connect(to: UnixPath(path))
        } catch {
            throw .unreachable(error)
        }
        guard let user = ControlPlaces.user(ofSocket: path), user != CurrentProcess.effectiveUser,
            let found = server?.user, found != user
        else { return }
        throw .foreign(
            """
            \(path) is in a directory of \(UserDatabase.userName(user)), and \(UserDatabase.userName(found)) \
            serves it: it may be a link, and gets no request; vde_vmnet list shows the networks that run
            """)
    }

    /// The user that serves the socket; nil if the system does not report it.
    package var server: (process: Int32, user: UInt32)? {
        (try? socket.peerCredentials()).map { ($0.process, $0.user) }
    }

    /// The process that serves the socket; nil if it is not known, as for one in another PID namespace.
    private var serverProcess: Int32? { server.flatMap { $0.process > 0 ? $0.process : nil } }

    private var serverName: String { serverProcess.map { "process \($0), which serves \(path)," } ?? path }

    private var remedyOfHanging: String {
        guard let process = serverProcess else { return "see the log of its network" }
        return "see its log, or end it: kill \(process), or kill -KILL \(process) if it hangs"
    }

    /// Sends a request and returns its result.
    package func request(
        _ method: String, _ params: [(String, JSON)] = [], timeout: TimeAmount = ControlConnection.timeout
    ) throws(Failure) -> JSON {
        let id = try send(method, params)
        return try reply(to: id, until: BootClock.now + timeout)
    }

    private func line(_ method: String, _ params: [(String, JSON)]) -> [UInt8] {
        let members: [(String, JSON)] = [
            ("id", .integer(nextID)), ("method", .string(method)), ("params", .object(params)),
        ]
        nextID += 1
        return Array((JSON.object(members).text + "\n").utf8)
    }

    /// Sends a request. Returns its id, for `reply`.
    package func send(_ method: String, _ params: [(String, JSON)] = []) throws(Failure) -> Int {
        let bytes = line(method, params)
        var sent = 0
        let deadline = BootClock.now + ControlConnection.timeout
        while sent < bytes.count {
            do throws(SystemError) {
                sent += try socket.send(Array(bytes[sent...]))
            } catch {
                // The network may have written why it has ended the connection.
                if error.code == Errno.brokenPipe { break }
                guard error.code == Errno.again else { throw .unreachable(error) }
                guard !socket.wait(for: .writable, until: deadline).isEmpty else {
                    throw .silent("\(serverName) takes no request; \(remedyOfHanging)")
                }
            }
        }
        return nextID - 1
    }

    /// Waits for the result of a request. Replies to earlier requests are discarded.
    package func reply(to id: Int, until deadline: Instant) throws(Failure) -> JSON {
        while true {
            let value = try message(until: deadline)
            if value["event"] != nil {
                if events.count < 4096 { events.append(value) }
                continue
            }
            // An error without an id concerns the connection.
            guard value["id"] == .integer(id) || value["id"] == .null else { continue }
            if let error = value["error"] {
                let code = error["code"]?.string.flatMap { ControlError.Code(rawValue: $0) } ?? .failed
                throw .refused(ControlError(code, error["message"]?.string ?? "the network gives no reason"))
            }
            guard let result = value["result"] else { throw .silent("\(path) sends no reply of this protocol") }
            return result
        }
    }

    /// Waits for the next event; nil when `deadline` has passed.
    package func event(until deadline: Instant) throws(Failure) -> JSON? {
        if !events.isEmpty { return events.removeFirst() }
        while true {
            guard let value = try received(until: deadline) else { return nil }
            if value["event"] != nil { return value }
        }
    }

    /// Waits until the network has ended the connection. Returns false when `deadline` has passed.
    package func waitForEnd(until deadline: Instant) -> Bool {
        while true {
            do throws(Failure) {
                guard try event(until: deadline) != nil else { return false }
            } catch {
                return true
            }
        }
    }

    // MARK: What follows a reply without being lines

    /// The socket, for a poller. It stays this object's.
    package var raw: Int32 { socket.raw }

    /// The bytes after the last reply that have arrived; nil for none yet, empty at the end of the connection.
    package func receiveBytes() throws(Failure) -> [UInt8]? {
        if !input.isEmpty {
            defer { input = [] }
            return input
        }
        do throws(SystemError) {
            return try socket.receive(limit: 65_536)
        } catch {
            if error.code == Errno.again { return nil }
            throw .unreachable(error)
        }
    }

    /// Announces that no more requests follow (shutdown(2)).
    package func finishSending() { socket.finishSending() }

    private func message(until deadline: Instant) throws(Failure) -> JSON {
        guard let value = try received(until: deadline) else {
            throw .silent("\(serverName) does not reply; \(remedyOfHanging)")
        }
        return value
    }

    /// The next line; nil when `deadline` has passed.
    private func received(until deadline: Instant) throws(Failure) -> JSON? {
        while true {
            if let end = input[searched...].firstIndex(of: UInt8(ascii: "\n")) {
                let line = Array(input[..<end])
                input.removeFirst(end + 1)
                searched = 0
                guard let value = try? JSONParser.parse(line), value.members != nil else {
                    throw .silent("\(path) sends no line of the control protocol")
                }
                isAnswered = true
                return value
            }
            searched = input.count
            guard input.count < ControlProtocol.maximumReply else { throw .silent("\(path) sends too long a line") }
            guard !socket.wait(for: .readable, until: deadline).isEmpty else { return nil }
            var hasEnded = false
            do throws(SystemError) {
                let bytes = try socket.receive(limit: 65_536)
                hasEnded = bytes.isEmpty
                input += bytes
            } catch {
                hasEnded = error.code == Errno.reset
                guard hasEnded || error.code == Errno.again else { throw .unreachable(error) }
            }
            if hasEnded { throw isAnswered ? .ended(path) : .closed(path) }
        }
    }
}
