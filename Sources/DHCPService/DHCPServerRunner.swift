// SPDX-License-Identifier: Apache-2.0
import EventLoop
import Logging
import NetworkModel
import Platform
import Switching
import Timing
import Wire

/// Runs the DHCP server on the control thread: receives guests' frames from the switch, writes leases to disk, and
/// sends the replies.
///
/// # Folders
///
/// `StateMachines/` has no clock, no file and no socket: `DHCPServer`, `LeaseTable`, `AddressConflictDetector` and
/// `DHCPServerDetector` take the time and frames as arguments and return effects in an `Outbox`. This class and
/// `LeaseFile` carry the effects out. Code that reads a clock or a file belongs here, not there.
///
/// # A message on its way
///
///     guest -> switch worker -> service ring -> receive() -> DHCPServer -> Outbox
///     Outbox.changes -> LeaseFile.append (fsync) -> source guard, NAT and published ports
///     Outbox.frames  -> SwitchControl.sendFromService -> guest
///
/// A lease is on disk before its ACK is sent (RFC 2131 section 3.1), so that a restarted server has every address
/// that a client may be using. The control thread waits for the disk; workers go on forwarding. Sending a reply is a
/// command that the workers execute with the switch's exclusive lock.
///
/// # Other servers
///
/// On a network that is not the program's own there may be another server, so the runner probes for one first
/// (`DHCPServerDetector`):
///
///     state        event                                        next state
///     detecting    no offer twice in time                       serving, and the requests that waited are served
///     detecting    one server offers twice                      yielding
///     serving      a frame of another server, or for one        serving, with a detector (at most every 5 min)
///                  or the DISCOVER of one that serves
///     serving      the detector finds a server                  yielding
///     yielding     after 30 s, doubling up to 5 min             yielding, with a detector
///     yielding     the detector finds none                      serving
package final class DHCPServerRunner {
    private enum State {
        /// Probing for another server; requests wait meanwhile.
        case detecting(DHCPServerDetector, waiting: [ServiceFrame])
        /// Answering requests. With a detector while another server is suspected.
        case serving(DHCPServerDetector?)
        /// Another server serves the network. `nextCheck` is when to probe for it again.
        case yielding(DHCPServerDetector?, nextCheck: Instant)
    }

    /// Requests that wait while detecting.
    private static let maximumWaiting = 64
    /// Minimum time between detections while serving, and the longest one while yielding.
    private static let checkInterval = TimeAmount.minutes(5)
    /// The first time between detections while yielding; it doubles each time that the other server is found.
    private static let firstCheckInterval = TimeAmount.seconds(30)

    private let loop: ControlLoop
    let control: SwitchControl
    private let file: LeaseFile
    private let logger: Logger
    /// Another server is possible: probe for it and yield to it.
    private let yieldsToOthers: Bool
    /// Source of the detector's messages. It stays the same, so that it occupies one offer of another server only.
    private let detectorHardware = MACAddress((Random.value() & 0xfcff_ffff_ffff) | 0x0200_0000_0000)
    /// Compared with those of other servers of this program.
    private var claim: DHCPServerClaim
    private var nextCheckInterval = DHCPServerRunner.firstCheckInterval
    private(set) var server: DHCPServer
    private var state: State
    private var timer: ControlLoop.TimerID?
    /// Called with leases that were assigned or have changed, and at the start with all.
    package var onLeases: ([Lease]) -> Void = { _ in }
    /// Called when `activity` has changed.
    package var onActivity: (Activity) -> Void = { _ in }
    /// Called before requests are handled, at most once a second: updates options that depend on the host.
    package var refreshConfiguration: (inout DHCPConfiguration) -> Void = { _ in }
    private var nextRefresh = Instant.distantPast
    /// The name of a port in log messages.
    package var portName: (PortNumber) -> String = { "port \($0)" }
    /// Conflicts that `onConflict` was called for.
    private var reportedConflicts = 0
    /// When a suspicion may start the next detection.
    private var nextDetection = Instant.distantPast

    /// - Parameters:
    ///   - leases: from `file`.
    ///   - yieldsToOthers: do not answer while another server does.
    package init(
        _ configuration: DHCPConfiguration, leases: [Lease], file: LeaseFile, yieldsToOthers: Bool, loop: ControlLoop,
        control: SwitchControl, logger: Logger
    ) {
        self.loop = loop
        self.control = control
        self.file = file
        self.logger = logger
        self.yieldsToOthers = yieldsToOthers
        claim = DHCPServerClaim(serves: false, identifier: detectorHardware)
        var configuration = configuration
        if yieldsToOthers { configuration.claim = DHCPServerClaim(serves: true, identifier: detectorHardware) }
        server = DHCPServer(configuration, leases: leases)
        state = .serving(nil)
        if yieldsToOthers { state = .detecting(makeDetector(), waiting: []) }
    }

    private func makeDetector() -> DHCPServerDetector {
        DHCPServerDetector(seed: Random.value(), hardware: detectorHardware, claim: claim, now: BootClock.now)
    }

    /// What the server does about guests' requests.
    package enum Activity: Sendable {
        /// It probes for another server, and requests wait.
        case detecting
        case serving
        /// Another server answers.
        case yielding
    }

    /// Whether the server answers guests.
    package var activity: Activity {
        switch state {
        case .detecting: .detecting
        case .serving: .serving
        case .yielding: .yielding
        }
    }

    /// Whether this server answers requests.
    package var isServing: Bool { if case .serving = state { true } else { false } }

    /// All leases, ended ones included, in the order of their addresses.
    package var leases: [Lease] { server.table.leases }

    /// The port of the client of a lease; nil if it is gone or unknown.
    package func port(of lease: Lease) -> PortNumber? {
        guard case .at(let port)? = server.table.presence(on: lease.address), port.kind != .network else { return nil }
        return port.number
    }

    /// The configuration, with its pool and its reservations.
    package var configuration: DHCPConfiguration { server.configuration }

    /// Requests that were not served, by reason, and conflicts that were found.
    package var counters: DHCPServer.Counters { server.counters }

    /// Called with a sentence when another host uses an address that was to be assigned.
    package var onConflict: (String) -> Void = { _ in }

    /// Ends the lease on an address, on disk as well. Returns whether there was an active one.
    package func release(_ address: IPv4Address) -> Bool {
        var outbox = Outbox()
        let wasLeased = server.release(address, now: BootClock.now, into: &outbox)
        finish(&outbox)
        return wasLeased
    }

    /// Reserves an address for a client, until this process ends. Its fixed name and IPv6 address stay.
    package func reserve(_ address: IPv4Address, for hardware: MACAddress) {
        server.reserve(address, for: hardware)
        bindReservations()
    }

    /// Reserves an address for a client that has no DHCP client, until this process ends. No other guest may use it.
    /// - Returns: nil if all are taken.
    package func reserveFreeAddress(for hardware: MACAddress) -> IPv4Address? {
        guard let address = server.reserveFreeAddress(for: hardware, now: BootClock.now) else { return nil }
        control.bind([LeaseBinding(address, hardware, until: .distantFuture)])
        return address
    }

    /// Removes the reservation of a client, and the name that it fixes. Returns whether there was one.
    package func removeReservation(of hardware: MACAddress) -> Bool {
        var outbox = Outbox()
        let wasReserved = server.removeReservation(of: hardware, into: &outbox)
        bindReservations()
        finish(&outbox)
        return wasReserved
    }

    /// Whether a guest holds the lease on an address now.
    package func holds(_ hardware: MACAddress, _ address: IPv4Address) -> Bool {
        guard let lease = server.table.lease(on: address) else { return false }
        return lease.hardware == hardware && lease.expires > BootClock.now
    }

    /// Starts, after the switch has its ports.
    package func start() {
        control.setPolicy(ServicePolicy(takesDHCP: true, watchesDHCP: yieldsToOthers, watchesARP: true))
        // No guest may use the gateway's address either.
        control.bind([
            LeaseBinding(server.configuration.server, server.configuration.serverHardware, until: .distantFuture)
        ])
        bindReservations()
        note(server.table.leases)
        var outbox = Outbox()
        finish(&outbox)
    }

    /// Restarts the detection of other servers: the plug may have been connected to another network.
    package func restart() {
        guard yieldsToOthers else { return }
        state = .detecting(makeDetector(), waiting: [])
        onActivity(.detecting)
        start()
    }

    /// Handles the frames that guests have sent since the last call, and ports that were detached.
    package func receive() {
        var outbox = Outbox()
        let now = BootClock.now
        if now >= nextRefresh {
            nextRefresh = now + .seconds(1)
            refreshConfiguration(&server.configuration)
        }
        // Frames that a port sent before it was detached come first.
        while let frame = control.removeServiceFrame() { receive(frame, now: now, into: &outbox) }
        for port in control.takeDetached() { server.portDetached(port, now: now) }
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
            guard yieldsToOthers else { return }
            detector?.receive(frame.bytes.rawSpan, now: now)
            // A guest selects another server, a server replies, or one of this program that serves looks for others. A
            // guest can forge all three, so they only start a detection.
            if detector == nil, now >= nextDetection,
                DHCPServerDetector.selectsOtherServer(frame.bytes.rawSpan, own: server.configuration.server)
                    || DHCPServerDetector.isAnswer(frame.bytes.rawSpan)
                    || isClaimOfOtherServer(frame.bytes.rawSpan)
            {
                nextDetection = now + Self.checkInterval
                detector = makeDetector()
            }
            state = .serving(detector)
        case .yielding(var detector, let nextCheck):
            detector?.receive(frame.bytes.rawSpan, now: now)
            state = .yielding(detector, nextCheck: nextCheck)
        }
    }

    /// Whether a frame is from another server of this program, which serves.
    private func isClaimOfOtherServer(_ frame: RawSpan) -> Bool {
        guard let other = DHCPServerDetector.claim(in: frame) else { return false }
        return other.serves && other.identifier != claim.identifier
    }

    private func yield(to other: IPv4Address) {
        if case .yielding = state {
        } else {
            logger.notice(
                """
                \(other) serves DHCP on this network, so the built-in server is off and guests get their addresses \
                from it; --dhcp builtin turns it on nevertheless
                """
            )
        }
        claim.serves = false
        state = .yielding(nil, nextCheck: BootClock.now + nextCheckInterval)
        onActivity(.yielding)
        nextCheckInterval = min(2 * nextCheckInterval, Self.checkInterval)
        control.setPolicy(ServicePolicy(watchesDHCP: true))
        bindReservations()
    }

    private func serve(_ waiting: [ServiceFrame], now: Instant, into outbox: inout Outbox) {
        logger.info(
            """
            no other DHCP server on this network; the built-in server assigns \(server.configuration.first) to \
            \(server.configuration.last)
            """
        )
        claim.serves = true
        state = .serving(nil)
        onActivity(.serving)
        nextCheckInterval = Self.firstCheckInterval
        control.setPolicy(ServicePolicy(takesDHCP: true, watchesDHCP: true, watchesARP: true))
        bindReservations()
        for frame in waiting { serve(frame, now: now, into: &outbox) }
    }

    /// Runs the detector and changes the state by its verdict.
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
        case .yielding(let running, let nextCheck):
            guard running != nil || now >= nextCheck else { return }
            var detector = running ?? makeDetector()
            detector.tick(now: now, into: &outbox)
            switch detector.verdict {
            case .undecided: state = .yielding(detector, nextCheck: nextCheck)
            case .alone: serve([], now: now, into: &outbox)
            case .served(let other): yield(to: other)
            }
        case .serving(nil):
            break
        }
    }

    /// Reserved addresses are their guests' alone, before the first lease too, while this server gives addresses.
    private func bindReservations() {
        var addresses: [IPv4Address: MACAddress] = [:]
        if isServing {
            for one in server.configuration.reservations { addresses[one.address] = one.hardware }
        }
        control.reserve(addresses)
    }

    private func note(_ leases: [Lease]) {
        control.bind(leases.map { LeaseBinding($0.address, $0.hardware, until: $0.expires) })
        onLeases(leases)
    }

    /// Handles what is due, writes leases, then sends frames, and sets the timer.
    private func finish(_ outbox: inout Outbox) {
        let now = BootClock.now
        advance(now: now, into: &outbox)
        if case .serving = state { server.tick(now: now, into: &outbox) }
        file.append(outbox.changes, all: server.table.leases)
        if !outbox.changes.isEmpty { note(outbox.changes) }
        for frame in outbox.frames { control.sendFromService(frame) }
        if server.counters.conflicts > reportedConflicts {
            reportedConflicts = server.counters.conflicts
            onConflict(outbox.notes.last?.text ?? "an address is in use by a host without a lease")
        }
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
            case .yielding(let detector, let nextCheck): detector?.nextDeadline ?? nextCheck
            }
        guard let due else { return }
        timer = loop.schedule(at: due) { [unowned self] in
            var outbox = Outbox()
            finish(&outbox)
        }
    }
}
