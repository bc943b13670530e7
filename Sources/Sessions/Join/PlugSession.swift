// SPDX-License-Identifier: Apache-2.0
import EventLoop
import Lifecycle
import Logging
import Platform
import Switching
import Timing
import VDEPlug

/// Keeps a port of another process's VDE switch attached to the forwarder: joins, detects the end of the switch, and
/// joins again.
///
///     state          left by
///     away           the backoff timer (handshaking)
///     handshaking    the reply (joined), a timeout or an error (away)
///     joined         the end of the control connection (away)
package final class PlugSession: NetworkSession {
    /// How long to wait at the start for a switch that is being started at the same time.
    private static let startTimeout = TimeAmount.seconds(1)
    private static let startRetryInterval = TimeAmount.milliseconds(50)

    private typealias Handshake = Box<PlugHandshake>

    private final class Joined {
        let plug: Plug
        let port: PortNumber

        init(_ plug: consuming Plug, _ port: PortNumber) {
            self.plug = plug
            self.port = port
        }
    }

    private enum State {
        case away
        case handshaking(Handshake)
        case joined(Joined)
    }

    private let loop: ControlLoop
    package let control: SwitchControl
    private let options: PlugOptions
    private let maximumFrame: Int
    private let logger: Logger
    package var onRejoin: () -> Void = {}

    package private(set) var joinedDirectory: String?

    /// The paths to try; after the first success, the path of the switch.
    private var candidates: [String]
    private let port: Int
    private var state = State.away
    private var backoff = Backoff()
    private var timer: ControlLoop.TimerID?
    private var lastFailure = ""

    /// - Parameters:
    ///   - candidates: directories of switches; the first that accepts the connection is used.
    ///   - port: of the switch; 0 for any.
    ///   - maximumFrame: bytes of the longest frame that the switch forwards.
    package init(
        candidates: [String], port: Int, options: PlugOptions, maximumFrame: Int, loop: ControlLoop,
        control: SwitchControl, logger: Logger
    ) {
        self.candidates = candidates
        self.port = port
        self.options = options
        self.maximumFrame = maximumFrame
        self.loop = loop
        self.control = control
        self.logger = logger
    }

    package var mayHaveOtherServers: Bool { true }

    package var description: String? { "joined to \(candidates[0])" }

    package func join() throws(ExitError) {
        let deadline = BootClock.now + PlugSession.startTimeout
        while true {
            let failure: PlugError
            do throws(PlugError) {
                let plug = try Plug.join(anyOf: candidates, port: port, options: options)
                candidates = [plug.path]
                joinedDirectory = plug.directory
                return try attach(plug)
            } catch {
                failure = error
            }
            guard failure.cause == .noSwitch, BootClock.now < deadline else {
                throw ExitError(ExitStatus(failure.cause), failure.description)
            }
            BootClock.sleep(PlugSession.startRetryInterval)
        }
    }

    private func attach(_ plug: consuming Plug) throws(PlugError) {
        do throws(SystemError) {
            let descriptor = try plug.data.duplicate()
            var configuration = PortConfiguration(
                name: candidates[0], kind: .datagram, role: .guest, descriptor: descriptor.release(),
                maximumFrame: maximumFrame)
            configuration.reach = .network
            guard let number = control.attach(configuration) else {
                throw SystemError(code: Errno.noBuffers, "attach a port")
            }
            let joined = Joined(plug, number)
            state = .joined(joined)
            backoff.reset()
            lastFailure = ""
            try loop.watch(joined.plug.control.raw) { [unowned self, unowned joined] _ in
                // The switch sends nothing on this connection, so only its end makes it readable.
                if let bytes = try? joined.plug.control.receive(limit: 256), !bytes.isEmpty { return }
                lost("the switch at \(candidates[0]) has gone; waiting for it to come back")
            }
        } catch {
            throw PlugError(.system, error.explanation)
        }
    }

    private func lost(_ reason: String) {
        logger.warning("\(reason)")
        detach()
        retry()
    }

    private func detach() {
        switch state {
        case .away: break
        case .handshaking(let handshake): loop.unwatch(handshake.value.descriptor)
        case .joined(let joined):
            loop.unwatch(joined.plug.control.raw)
            control.detach(joined.port)
        }
        state = .away
    }

    private func retry() {
        loop.cancel(timer)
        timer = loop.schedule(after: backoff.next()) { [unowned self] in tryAgain() }
    }

    private func tryAgain() {
        do throws(PlugError) {
            let handshake = Handshake(try PlugHandshake(path: candidates[0], port: port, options: options))
            state = .handshaking(handshake)
            do throws(SystemError) {
                try loop.watch(handshake.value.descriptor) { [unowned self, unowned handshake] _ in proceed(handshake) }
            } catch {
                throw PlugError(.system, error.explanation)
            }
            loop.cancel(timer)
            timer = loop.schedule(after: PlugHandshake.timeout) {
                [unowned self, unowned handshake] in
                failed(handshake.value.timeoutError)
            }
        } catch {
            failed(error)
        }
    }

    private func proceed(_ handshake: Handshake) {
        do throws(PlugError) {
            guard let plug = try handshake.value.finish() else { return }
            detach()
            loop.cancel(timer)
            try attach(plug)
            logger.notice("joined the switch at \(candidates[0]) again")
            onRejoin()
        } catch {
            failed(error)
        }
    }

    private func failed(_ error: PlugError) {
        // Reports a repeated failure once. A missing switch is expected here.
        if error.cause != .noSwitch && error.description != lastFailure { logger.warning("\(error)") }
        lastFailure = error.description
        detach()
        retry()
    }

    package func leave() {
        loop.cancel(timer)
        detach()
    }
}
