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
        /// With a detector while there is a suspicion that another server has come.
        case serving(ServerDetector?)
        /// Somebody else does. Looked at again when the time comes.
        case silent(ServerDetector?, nextLook: UInt64)
    }

    /// Requests kept while it is not known who serves the network.
    private static let maximumWaiting = 64
    /// How often it is looked whether the other server is still there, and how often a suspicion is followed, in nanoseconds.
    private static let interval = 300 * MonotonicClock.second

    private let loop: ControlLoop
    private let control: ForwarderControl
    private let file: LeaseFile
    private let logger: Logger
    private let watchesOthers: Bool
    private var server: DHCPServer
    private var state: State
    private var timer: ControlLoop.TimerID?
    /// Told of leases that were given or have changed, those that there are already included.
    var onLeases: ([Lease]) -> Void = { _ in }
    /// Before this moment no suspicion is followed.
    private var nextSuspicion: UInt64 = 0

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
        state = watchesOthers ? .detecting(AddressServiceRunner.makeDetector(), waiting: []) : .serving(nil)
    }

    private static func makeDetector() -> ServerDetector { ServerDetector(seed: Random.value(), now: MonotonicClock.now) }

    /// Begins, once the forwarder has its ports.
    package func start() {
        control.setPolicy(ServicePolicy(takesDHCP: true, watchesDHCP: watchesOthers, watchesARP: true))
        // The gateway's address is nobody's either.
        control.note(owners: [AddressOwner(server.configuration.server, server.configuration.serverHardware, until: .max)])
        note(server.table.leases)
        var outbox = Outbox()
        finish(&outbox)
    }

    /// The network behind the plug may be another one now: ask again who serves it.
    package func restart() {
        guard watchesOthers else { return }
        state = .detecting(AddressServiceRunner.makeDetector(), waiting: [])
        start()
    }

    /// Takes what guests have sent since the last call.
    package func receive() {
        var outbox = Outbox()
        let now = MonotonicClock.now
        while let frame = control.takeServiceFrame() { receive(frame.bytes, now: now, into: &outbox) }
        finish(&outbox)
    }

    private func receive(_ frame: [UInt8], now: UInt64, into outbox: inout Outbox) {
        switch state {
        case .detecting(var detector, var waiting):
            detector.receive(frame.rawSpan)
            if waiting.count < Self.maximumWaiting { waiting.append(frame) }
            state = .detecting(detector, waiting: waiting)
        case .serving(var detector):
            server.receive(frame.rawSpan, now: now, into: &outbox)
            guard watchesOthers else { return }
            detector?.receive(frame.rawSpan)
            // A guest that chose another server, or a server's answer. Guests can make up both, so it is a reason to ask, not to believe.
            if detector == nil, now >= nextSuspicion,
                ServerDetector.choosesAnother(frame.rawSpan, own: server.configuration.server) || ServerDetector.server(answering: frame.rawSpan) != nil
            {
                nextSuspicion = now + Self.interval
                detector = Self.makeDetector()
            }
            state = .serving(detector)
        case .silent(var detector, let nextLook):
            detector?.receive(frame.rawSpan)
            state = .silent(detector, nextLook: nextLook)
        }
    }

    private func yield(to other: IPv4Address) {
        if case .silent = state {} else {
            logger.notice("\(other) serves DHCP on this network, so ours is off; guests get their addresses from it (--dhcp builtin: ours all the same)")
        }
        state = .silent(nil, nextLook: MonotonicClock.now + Self.interval)
        control.setPolicy(ServicePolicy(watchesDHCP: true))
    }

    private func serve(_ waiting: [[UInt8]], now: UInt64, into outbox: inout Outbox) {
        logger.info("no other DHCP server here; ours serves \(server.configuration.first) to \(server.configuration.last)")
        state = .serving(nil)
        control.setPolicy(ServicePolicy(takesDHCP: true, watchesDHCP: true, watchesARP: true))
        for frame in waiting { server.receive(frame.rawSpan, now: now, into: &outbox) }
    }

    /// Moves on where a detector has come to a verdict.
    private func advance(now: UInt64, into outbox: inout Outbox) {
        switch state {
        case .detecting(var detector, let waiting):
            detector.tick(now: now, into: &outbox)
            state = .detecting(detector, waiting: waiting)
            switch detector.verdict {
            case .undecided: break
            case .alone: serve(waiting, now: now, into: &outbox)
            case .served(let other): yield(to: other)
            }
        case .serving(var detector?):
            detector.tick(now: now, into: &outbox)
            switch detector.verdict {
            case .undecided: state = .serving(detector)
            case .alone: state = .serving(nil)
            case .served(let other): yield(to: other)
            }
        case .silent(let running, let nextLook):
            guard running != nil || now >= nextLook else { return }
            var detector = running ?? Self.makeDetector()
            detector.tick(now: now, into: &outbox)
            switch detector.verdict {
            case .undecided: state = .silent(detector, nextLook: nextLook)
            case .alone: serve([], now: now, into: &outbox)
            case .served(let other): yield(to: other)
            }
        case .serving(nil):
            break
        }
    }

    private func note(_ leases: [Lease]) {
        control.note(owners: leases.map { AddressOwner($0.address, $0.hardware, until: $0.expires) })
        onLeases(leases)
    }

    /// Does what is due, writes leases, then sends, and sets the timer for what comes next.
    private func finish(_ outbox: inout Outbox) {
        let now = MonotonicClock.now
        advance(now: now, into: &outbox)
        if case .serving = state { server.tick(now: now, into: &outbox) }
        file.append(outbox.changes, all: server.table.leases)
        if !outbox.changes.isEmpty { note(outbox.changes) }
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
            case .serving(let detector): [server.nextDeadline, detector?.nextDeadline].compactMap(\.self).min()
            case .silent(let detector, let nextLook): detector?.nextDeadline ?? nextLook
            }
        guard let due else { return }
        timer = loop.schedule(at: due) { [unowned self] in
            var outbox = Outbox()
            finish(&outbox)
        }
    }
}
