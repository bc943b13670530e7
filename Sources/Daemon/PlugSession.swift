// SPDX-License-Identifier: Apache-2.0
import EventLoop
import Lifecycle
import Logging
import Platform
import Switching
import VDEPlug

/// Keeps a port of somebody's VDE switch attached to the forwarder: joins, notices when the switch goes, and joins
/// again.
package final class PlugSession: NetworkSession {
    /// How long to wait, at start, for a switch that is being started at the same time, in nanoseconds.
    private static let grace = MonotonicClock.second

    private final class Attempt {
        var handshake: PlugHandshake
        init(_ handshake: consuming PlugHandshake) { self.handshake = handshake }
    }

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
        case handshaking(Attempt)
        case joined(Joined)
    }

    private let loop: ControlLoop
    private let control: SwitchControl
    private let options: PlugOptions
    private let maximumFrame: Int
    private let logger: Logger
    package var onRejoin: () -> Void = {}

    /// Where the switch may be; afterwards the one place where it was.
    private var candidates: [String]
    private let port: Int
    private var state = State.away
    private var backoff = Backoff()
    private var timer: ControlLoop.TimerID?
    private var lastFailure = ""

    /// - Parameter candidates: where the switch may be; the first that answers is taken.
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

    package var description: String? { "joined to \(candidates[0])" }

    package func join() throws(ExitError) {
        let graceEnds = MonotonicClock.now + PlugSession.grace
        while true {
            let failure: PlugError
            do throws(PlugError) {
                let plug = try Plug.join(anyOf: candidates, port: port, options: options)
                candidates = [plug.path]
                return try attach(plug)
            } catch {
                failure = error
            }
            guard failure.cause == .noSwitch, MonotonicClock.now < graceEnds else {
                throw ExitError(ExitStatus(failure.cause), failure.description)
            }
            MonotonicClock.sleep(50 * MonotonicClock.millisecond)
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
                // The switch never says anything here: what can be read is the end.
                if let bytes = try? joined.plug.control.receive(limit: 256), !bytes.isEmpty { return }
                lost("the switch at \(candidates[0]) has gone; waiting for it to come back")
            }
        } catch {
            throw PlugError(.system, error.description)
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
        case .handshaking(let attempt): loop.unwatch(attempt.handshake.descriptor)
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
            let attempt = Attempt(try PlugHandshake(path: candidates[0], port: port, options: options))
            state = .handshaking(attempt)
            do throws(SystemError) {
                try loop.watch(attempt.handshake.descriptor) { [unowned self, unowned attempt] _ in proceed(attempt) }
            } catch {
                throw PlugError(.system, error.description)
            }
            loop.cancel(timer)
            timer = loop.schedule(after: PlugHandshake.patience) { [unowned self, unowned attempt] in
                failed(attempt.handshake.silence)
            }
        } catch {
            failed(error)
        }
    }

    private func proceed(_ attempt: Attempt) {
        do throws(PlugError) {
            guard let plug = try attempt.handshake.finish() else { return }
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
        // The same failure again and again is told once; a missing switch is what we are waiting for.
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
