// SPDX-License-Identifier: Apache-2.0
import AddressService
import Logging
import Platform
import Switching
import Wire

/// Runs the DHCP server on the main thread: takes guests' frames from the forwarder, keeps the leases on disk, sends the answers.
package final class AddressServiceRunner {
    private enum State {
        /// Finding out whether somebody else serves this network; requests wait meanwhile.
        case detecting(ServerDetector, waiting: [[UInt8]])
        case serving
        /// Somebody else does.
        case silent
    }

    /// Requests kept while it is not known who serves the network.
    private static let maximumWaiting = 64

    private let loop: ControlLoop
    private let control: ForwarderControl
    private let file: LeaseFile
    private let logger: Logger
    private let watchesOthers: Bool
    private var server: DHCPServer
    private var state: State
    private var timer: ControlLoop.TimerID?

    /// - Parameters:
    ///   - leases: from `file`.
    ///   - watchesOthers: stay silent where another server answers.
    package init(
        _ configuration: DHCPConfiguration, leases: [Lease], file: LeaseFile, watchesOthers: Bool, loop: ControlLoop, control: ForwarderControl, logger: Logger
    ) {
        self.loop = loop
        self.control = control
        self.file = file
        self.logger = logger
        self.watchesOthers = watchesOthers
        server = DHCPServer(configuration, leases: leases)
        state = watchesOthers ? .detecting(ServerDetector(seed: Random.value(), now: MonotonicClock.now), waiting: []) : .serving
    }

    /// Begins, once the forwarder has its ports.
    package func start() {
        control.setPolicy(ServicePolicy(takesDHCP: true, watchesDHCP: watchesOthers, watchesARP: true))
        var outbox = Outbox()
        if case .serving = state { server.prepare(now: MonotonicClock.now, into: &outbox) }
        finish(&outbox)
    }

    /// The network behind the plug may be another one now: ask again who serves it.
    package func restart() {
        guard watchesOthers else { return }
        state = .detecting(ServerDetector(seed: Random.value(), now: MonotonicClock.now), waiting: [])
        start()
    }

    /// Takes what guests have sent since the last call.
    package func receive() {
        var outbox = Outbox()
        let now = MonotonicClock.now
        while let frame = control.takeServiceFrame() { receive(frame, now: now, into: &outbox) }
        finish(&outbox)
    }

    private func receive(_ frame: [UInt8], now: UInt64, into outbox: inout Outbox) {
        switch state {
        case .detecting(var detector, var waiting):
            detector.receive(frame.rawSpan)
            if waiting.count < Self.maximumWaiting { waiting.append(frame) }
            state = .detecting(detector, waiting: waiting)
        case .serving:
            if watchesOthers, let other = ServerDetector.server(answering: frame.rawSpan) {
                yield(to: other)
            } else {
                server.receive(frame.rawSpan, now: now, into: &outbox)
            }
        case .silent:
            break
        }
    }

    private func yield(to other: IPv4Address) {
        logger.notice("\(other) serves DHCP on this network, so ours is off; guests get their addresses from it (--dhcp builtin: ours all the same)")
        state = .silent
        control.setPolicy(ServicePolicy())
    }

    /// Does what is due, writes leases, then sends, and sets the timer for what comes next.
    private func finish(_ outbox: inout Outbox) {
        let now = MonotonicClock.now
        if case .detecting(var detector, let waiting) = state {
            detector.tick(now: now, into: &outbox)
            state = .detecting(detector, waiting: waiting)
            switch detector.verdict {
            case .undecided: break
            case .served(let other): yield(to: other)
            case .alone:
                logger.info("no other DHCP server here; ours serves \(server.configuration.first) to \(server.configuration.last)")
                state = .serving
                server.prepare(now: now, into: &outbox)
                for frame in waiting { server.receive(frame.rawSpan, now: now, into: &outbox) }
            }
        }
        if case .serving = state { server.tick(now: now, into: &outbox) }

        file.append(outbox.changes, all: server.table.leases)
        for frame in outbox.frames { control.sendFromService(frame) }
        for note in outbox.notes {
            switch note.level {
            case .debug: logger.debug("\(note.text)")
            case .info: logger.info("\(note.text)")
            case .warning: logger.warning("\(note.text)")
            }
        }
        schedule()
    }

    private func schedule() {
        loop.cancel(timer)
        timer = nil
        let due: UInt64? =
            switch state {
            case .detecting(let detector, _): detector.nextDeadline
            case .serving: server.nextDeadline
            case .silent: nil
            }
        guard let due else { return }
        timer = loop.schedule(at: due) { [unowned self] in
            var outbox = Outbox()
            finish(&outbox)
        }
    }
}
