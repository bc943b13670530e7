// SPDX-License-Identifier: Apache-2.0
import EventLoop
import Lifecycle
import Logging
import Platform
import Switching
import VDEPlug

/// Keeps one end of a point-to-point cable attached to the forwarder, whoever comes to the other end, goes, and comes
/// again.
package final class CableSession: NetworkSession {
    private final class End {
        let cable: PointToPoint
        let port: PortNumber
        /// A first end that has found its second.
        var isPaired = false

        init(_ cable: consuming PointToPoint, _ port: PortNumber) {
            self.cable = cable
            self.port = port
        }
    }

    private let path: String
    private let group: UInt32?
    private let maximumFrame: Int
    private let loop: ControlLoop
    private let control: SwitchControl
    private let logger: Logger
    package var onRejoin: () -> Void = {}

    private var end: End?
    private var backoff = Backoff()
    private var timer: ControlLoop.TimerID?

    package init(
        path: String, group: UInt32?, maximumFrame: Int, loop: ControlLoop, control: SwitchControl, logger: Logger
    ) {
        self.path = path
        self.group = group
        self.maximumFrame = maximumFrame
        self.loop = loop
        self.control = control
        self.logger = logger
    }

    package var description: String? { "joined to \(path) (cable)" }

    package func join() throws(ExitError) {
        do throws(PlugError) {
            try open()
        } catch {
            throw ExitError(ExitStatus(error.cause), error.description)
        }
    }

    private func open() throws(PlugError) {
        let cable = try PointToPoint(path: path, group: group)
        let descriptor: Int32
        do throws(SystemError) {
            descriptor = try cable.socket.duplicate().release()
        } catch {
            throw PlugError(.system, error.description)
        }
        var configuration = PortConfiguration(
            name: path, kind: .datagram, role: .guest, descriptor: descriptor, maximumFrame: maximumFrame)
        configuration.reach = .network
        guard let number = control.attach(configuration) else { throw PlugError(.system, "no port is left") }
        end = End(cable, number)
        end!.isPaired = !end!.cable.isFirst
    }

    /// Takes an event of the forwarder if it is about this cable.
    package func handle(_ event: PortEvent) {
        guard let end, event.port == end.port else { return }
        switch event {
        case .firstFrame:
            if !end.isPaired { pair(end) }
        case .unreachable:
            // Nobody is at the other end, yet or any more.
            if !end.isPaired {
                pair(end)
            } else if end.cable.isFirst && end.cable.pair() {
                // It is there: what could not be sent was from before.
                control.rearm(end.port)
            } else {
                lost(end)
            }
        case .goodbye:
            lost(end)
        case .ended, .unknownPeer, .loop, .loopEnded, .offence:
            break
        }
    }

    private func pair(_ end: End) {
        end.isPaired = end.cable.pair()
        if end.isPaired {
            backoff.reset()
            logger.info("the other end of \(path) is there")
        }
        // Asks to be told of the next failure, or while nobody is there, of the next attempt to send.
        let pause = end.isPaired ? 0 : backoff.next()
        let port = end.port
        loop.cancel(timer)
        timer = loop.schedule(after: pause) { [unowned self] in control.rearm(port) }
    }

    private func lost(_ end: End) {
        guard end.isPaired else { return }
        logger.notice("the other end of \(path) has gone; waiting for another")
        if end.cable.isFirst {
            end.isPaired = false
            end.cable.unpair()
            control.rearm(end.port)
        } else {
            // The first end takes the name with it: whoever of us comes first now is the first.
            leave()
            reopen()
        }
    }

    private func reopen() {
        loop.cancel(timer)
        timer = loop.schedule(after: backoff.next()) { [unowned self] in
            do throws(PlugError) {
                try open()
                backoff.reset()
                onRejoin()
            } catch {
                reopen()
            }
        }
    }

    package func leave() {
        loop.cancel(timer)
        if let end { control.detach(end.port) }
        end = nil
    }
}
