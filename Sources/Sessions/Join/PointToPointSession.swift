// SPDX-License-Identifier: Apache-2.0
import EventLoop
import Lifecycle
import Logging
import Platform
import Switching
import Timing
import VDEPlug

/// Keeps one end of a point-to-point cable attached to the forwarder while peers connect to the other end and leave.
///
/// The first end makes the socket's name, and pairs with the peer that sends to it. The second end connects to that
/// name.
///
///     end       paired   event                  action
///     first     no       frame, failed send     try to pair; else send again after the backoff
///     first     yes      failed send            pair with the new peer; else the peer is gone: wait for another
///     second    yes      failed send, goodbye   the first end is gone with its name: open again, as either end
package final class PointToPointSession: NetworkSession {
    private final class End {
        let cable: PointToPoint
        let port: PortNumber
        /// The peer is connected.
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
    package let control: SwitchControl
    private let logger: Logger
    package var onRejoin: () -> Void = {}

    private var end: End?
    private var backoff = Backoff()
    private var timer: ControlLoop.TimerID?

    /// - Parameters:
    ///   - path: of the cable.
    ///   - group: that may connect; nil for the user only.
    ///   - maximumFrame: bytes of the longest frame.
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
            throw PlugError(.system, error.explanation)
        }
        var configuration = PortConfiguration(
            name: path, kind: .datagram, role: .guest, descriptor: descriptor, maximumFrame: maximumFrame)
        configuration.reach = .network
        guard let number = control.attach(configuration) else { throw PlugError(.system, "no port is left") }
        end = End(cable, number)
        end!.isPaired = !end!.cable.isFirst
    }

    package func handle(_ event: PortEvent) {
        guard let end, event.port == end.port else { return }
        switch event {
        case .firstFrame:
            if !end.isPaired { pair(end) }
        case .unreachable:
            // No peer is at the other end.
            if !end.isPaired {
                pair(end)
            } else if end.cable.isFirst && end.cable.pair() {
                // There is a peer: the failed frame was for the former one.
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
            logger.info("the other end of \(path) is connected")
        }
        // Without a peer, the next failed send tries again after the backoff.
        let pause = end.isPaired ? .zero : backoff.next()
        let port = end.port
        loop.cancel(timer)
        timer = loop.schedule(after: pause) { [unowned self] in control.rearm(port) }
    }

    private func lost(_ end: End) {
        guard end.isPaired else { return }
        logger.notice("the other end of \(path) is gone; waiting for another")
        if end.cable.isFirst {
            end.isPaired = false
            end.cable.unpair()
            control.rearm(end.port)
        } else {
            // The first end has removed the name. The process that opens the cable first is the first end now.
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
