// SPDX-License-Identifier: Apache-2.0
import EventLoop
import Logging
import Platform
import Timing

/// Connects to a vhost-user front end that listens, and again when the connection has ended. Such a front end is a
/// program that was started as the server of its socket.
final class FrontEndConnector {
    /// How long after a failure, or after the end of a connection, the next attempt follows.
    private static let interval = TimeAmount.milliseconds(500)

    /// The front end's socket.
    let path: String
    private let loop: ControlLoop
    private let logger: Logger
    private let onConnection: (consuming Descriptor) -> Bool
    private var timer: ControlLoop.TimerID?
    /// The failure that was logged last.
    private var failure: String?
    private var isClosed = false

    /// - Parameter onConnection: takes over a connected socket. Returns whether it is served; its end is then reported
    ///   by `connectAgain`.
    init(
        to path: String, loop: ControlLoop, logger: Logger, onConnection: @escaping (consuming Descriptor) -> Bool
    ) {
        self.path = path
        self.loop = loop
        self.logger = logger
        self.onConnection = onConnection
    }

    /// Connects now, or as soon as the front end listens.
    func connect() {
        guard !isClosed else { return }
        do throws(SystemError) {
            let socket = try Socket.unixStream()
            try socket.connect(to: UnixPath(path))
            guard let peer = try? socket.peerCredentials(), FrontEndConnector.accepts(peer.user) else {
                return retry("it belongs to another user; start both as one user")
            }
            guard onConnection(socket) else { return connectAgain() }
            failure = nil
        } catch {
            switch error.code {
            case Errno.noEntry, Errno.refused: retry("no front end listens there yet")
            default: retry(error.description)
            }
        }
    }

    /// With root's rights the daemon serves front ends of the user that has started it, not those of other users.
    private static func accepts(_ user: UInt32) -> Bool {
        guard let caller = CurrentProcess.sudoCaller, caller.user != 0 else { return true }
        return user == caller.user || user == 0
    }

    private func retry(_ reason: String) {
        if failure != reason { logger.warning("waiting for a vhost-user front end at \(path): \(reason)") }
        failure = reason
        connectAgain()
    }

    /// Connects after a while.
    func connectAgain() {
        guard !isClosed else { return }
        loop.cancel(timer)
        timer = loop.schedule(after: FrontEndConnector.interval) { [unowned self] in connect() }
    }

    /// Makes no more attempts.
    func close() {
        isClosed = true
        loop.cancel(timer)
    }
}
