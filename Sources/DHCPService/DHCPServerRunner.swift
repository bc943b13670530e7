// SPDX-License-Identifier: Apache-2.0
import EventLoop
import Logging
import Platform
import Switching
import Timing
import Wire

/// Runs the DHCP server on the main thread: takes guests' frames from the forwarder, keeps the leases on disk, sends
/// the answers.
package final class DHCPServerRunner {
    private enum State {
        /// Finding out whether somebody else serves this network; requests wait meanwhile.
        case detecting(DHCPServerDetector, waiting: [ServiceFrame])
        /// With a detector while there is a suspicion that another server has come.
        case serving(DHCPServerDetector?)
        /// Somebody else does. Looked at again when the time comes.
        case silent(DHCPServerDetector?, nextCheck: Instant)
    }

    /// Requests kept while it is not known who serves the network.
    private static let maximumWaiting = 64
    /// How often a suspicion is followed, and how often at least the other server is looked for while ours is off, in
    /// nanoseconds.
    private static let checkInterval = TimeAmount.minutes(5)
    /// After what time it is looked for again at first, which doubles each time that it is there.
    private static let firstCheckInterval = TimeAmount.seconds(30)

    private let loop: ControlLoop
    private let control: SwitchControl
    private let file: LeaseFile
    private let logger: Logger
    private let watchesOthers: Bool
    /// From which other servers are looked for: an address that is never taken, and always the same, so that it
    /// occupies one offer of theirs.
    private let detectorHardware = MACAddress((Random.value() & 0xfcff_ffff_ffff) | 0x0200_0000_0000)
    private var nextCheckInterval = DHCPServerRunner.firstCheckInterval
    private var server: DHCPServer
    private var state: State
    private var timer: ControlLoop.TimerID?
    /// Told of leases that were given or have changed, those that there are already included.
    package var onLeases: ([Lease]) -> Void = { _ in }
    /// Brings what clients are told in line with the host, before requests are answered.
    package var refreshConfiguration: (inout DHCPConfiguration) -> Void = { _ in }
    private var nextRefresh = Instant.distantPast
    /// What a port is called in messages.
    package var portName: (PortNumber) -> String = { "port \($0)" }
    /// Before this moment no suspicion is followed.
    private var nextSuspicion = Instant.distantPast

    /// - Parameters:
    ///   - leases: from `file`.
    ///   - watchesOthers: stay silent where another server answers.
    package init(
        _ configuration: DHCPConfiguration, leases: [Lease], file: LeaseFile, watchesOthers: Bool, loop: ControlLoop,
        control: SwitchControl, logger: Logger
    ) {
        self.loop = loop
        self.control = control
        self.file = file
        self.logger = logger
        self.watchesOthers = watchesOthers
        server = DHCPServer(configuration, leases: leases)
        state = .serving(nil)
        if watchesOthers { state = .detecting(makeDetector(), waiting: []) }
    }

    private func makeDetector() -> DHCPServerDetector {
        DHCPServerDetector(seed: Random.value(), hardware: detectorHardware, now: BootClock.now)
    }

    /// Whether ours is the server of this network, as far as is known.
    package var isServing: Bool { if case .serving = state { true } else { false } }

    /// Begins, once the forwarder has its ports.
    package func start() {
        control.setPolicy(ServicePolicy(takesDHCP: true, watchesDHCP: watchesOthers, watchesARP: true))
        // The gateway's address is nobody's either.
        control.note(owners: [
            AddressOwner(server.configuration.server, server.configuration.serverHardware, until: .max)
        ])
        note(server.table.leases)
        var outbox = Outbox()
        finish(&outbox)
    }

    /// The network behind the plug may be another one now: ask again who serves it.
    package func restart() {
        guard watchesOthers else { return }
        state = .detecting(makeDetector(), waiting: [])
        start()
    }

    /// Takes what guests have sent since the last call, and notes which ports are gone.
    package func receive() {
        var outbox = Outbox()
        let now = BootClock.now
        if now >= nextRefresh {
            nextRefresh = now + .seconds(1)
            refreshConfiguration(&server.configuration)
        }
        // What a port has sent before it went comes first.
        while let frame = control.takeServiceFrame() { receive(frame, now: now, into: &outbox) }
        for port in control.takeDetached() { server.portGone(port, now: now) }
        finish(&outbox)
    }

    private func serve(_ frame: ServiceFrame, now: Instant, into outbox: inout Outbox) {
        let reach = control.reach(of: frame.port)
        let port =
            switch reach {
            case .network: ClientPort.network
            case .trunk: ClientPort(frame.port, .trunk)
            case .guest, nil: ClientPort(frame.port, .guest)
            }
        server.receive(frame.bytes.rawSpan, from: port, isAttached: reach != nil, now: now, into: &outbox)
    }

    private func receive(_ frame: ServiceFrame, now: Instant, into outbox: inout Outbox) {
        switch state {
        case .detecting(var detector, var waiting):
            detector.receive(frame.bytes.rawSpan, now: now)
            if waiting.count < Self.maximumWaiting { waiting.append(frame) }
            state = .detecting(detector, waiting: waiting)
        case .serving(var detector):
            serve(frame, now: now, into: &outbox)
            guard watchesOthers else { return }
            detector?.receive(frame.bytes.rawSpan, now: now)
            // A guest that chose another server, or a server's answer. Guests can make up both, so it is a reason to
            // ask, not to believe.
            if detector == nil, now >= nextSuspicion,
                DHCPServerDetector.selectsOtherServer(frame.bytes.rawSpan, own: server.configuration.server)
                    || DHCPServerDetector.isAnswer(frame.bytes.rawSpan)
            {
                nextSuspicion = now + Self.checkInterval
                detector = makeDetector()
            }
            state = .serving(detector)
        case .silent(var detector, let nextCheck):
            detector?.receive(frame.bytes.rawSpan, now: now)
            state = .silent(detector, nextCheck: nextCheck)
        }
    }

    private func yield(to other: IPv4Address) {
        if case .silent = state {
        } else {
            logger.notice(
                "\(other) serves DHCP on this network, so ours is off; guests get their addresses from it (--dhcp builtin: ours all the same)"
            )
        }
        state = .silent(nil, nextCheck: BootClock.now + nextCheckInterval)
        nextCheckInterval = min(2 * nextCheckInterval, Self.checkInterval)
        control.setPolicy(ServicePolicy(watchesDHCP: true))
    }

    private func serve(_ waiting: [ServiceFrame], now: Instant, into outbox: inout Outbox) {
        logger.info(
            "no other DHCP server here; ours serves \(server.configuration.first) to \(server.configuration.last)")
        state = .serving(nil)
        nextCheckInterval = Self.firstCheckInterval
        control.setPolicy(ServicePolicy(takesDHCP: true, watchesDHCP: true, watchesARP: true))
        for frame in waiting { serve(frame, now: now, into: &outbox) }
    }

    /// Moves on where a detector has come to a verdict.
    private func advance(now: Instant, into outbox: inout Outbox) {
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
        case .silent(let running, let nextCheck):
            guard running != nil || now >= nextCheck else { return }
            var detector = running ?? makeDetector()
            detector.tick(now: now, into: &outbox)
            switch detector.verdict {
            case .undecided: state = .silent(detector, nextCheck: nextCheck)
            case .alone: serve([], now: now, into: &outbox)
            case .served(let other): yield(to: other)
            }
        case .serving(nil):
            break
        }
    }

    private func note(_ leases: [Lease]) {
        control.note(owners: leases.map { AddressOwner($0.address, $0.hardware, until: UInt64(bitPattern: $0.expires.nanoseconds)) })
        onLeases(leases)
    }

    /// Does what is due, writes leases, then sends, and sets the timer for what comes next.
    private func finish(_ outbox: inout Outbox) {
        let now = BootClock.now
        advance(now: now, into: &outbox)
        if case .serving = state { server.tick(now: now, into: &outbox) }
        file.append(outbox.changes, all: server.table.leases)
        if !outbox.changes.isEmpty { note(outbox.changes) }
        for frame in outbox.frames { control.sendFromService(frame) }
        for note in outbox.notes {
            let text =
                note.port.flatMap { $0.kind == .network ? nil : "\(portName($0.number)): " + note.text } ?? note.text
            switch note.level {
            case .debug: logger.debug("\(text)")
            case .info: logger.info("\(text)")
            case .warning: logger.warning("\(text)")
            }
        }
        schedule()
    }

    private func schedule() {
        loop.cancel(timer)
        timer = nil
        let due: Instant? =
            switch state {
            case .detecting(let detector, _): detector.nextDeadline
            case .serving(let detector): [server.nextDeadline, detector?.nextDeadline].compactMap(\.self).min()
            case .silent(let detector, let nextCheck): detector?.nextDeadline ?? nextCheck
            }
        guard let due else { return }
        timer = loop.schedule(at: due) { [unowned self] in
            var outbox = Outbox()
            finish(&outbox)
        }
    }
}
