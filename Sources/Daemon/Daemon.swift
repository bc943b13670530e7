// SPDX-License-Identifier: Apache-2.0
import DHCPService
import EventLoop
import Lifecycle
import Logging
import NameService
import NetworkModel
import Platform
import Switching
import Timing
import Uplinks
import Wire

/// One network, from start to end: joins the guests' side, opens the way out, serves addresses and names, and leaves
/// nothing behind.
package final class Daemon {
    let configuration: Configuration
    let logger: Logger
    let loop: ControlLoop
    let control: SwitchControl

    private var pidfile: Pidfile?
    var session: (any NetworkSession)?
    private var listeners: ListenerSession?
    private var idleWatch: IdleTimer?
    var uplink: Uplink?
    var uplinkPort: PortNumber?
    var privileged: Privileged?
    let vmnet: (any VmnetProvider)?
    var vmnetLink: VmnetLink?
    var vmnetSummary: String?
    var vmnetParameters: VmnetParameters?
    private var program: ChildProcess?
    /// How the program that was started has ended, if one was.
    package private(set) var programEnd: ChildProcess.Termination?
    var userLink: UserLink?
    var addressService: DHCPServerRunner?
    var names: DNSGateway?
    private var hostWatch: HostWatch?
    var guestReports: GuestReports
    let descriptors: DescriptorBudget
    let quota: ClientQuota
    private var trafficReport: TrafficReport?
    private var isForwarding = false
    private var failure: ExitError?

    /// - Parameter vmnet: vmnet.framework, where there is one.
    package init(_ configuration: Configuration, vmnet: (any VmnetProvider)? = nil, logger: Logger) throws(ExitError) {
        self.vmnet = vmnet
        self.configuration = configuration
        self.logger = logger
        guestReports = GuestReports(logger: logger)
        let mayBeRootless = configuration.uplink == .user || configuration.uplink == .auto
        descriptors = DescriptorBudget(
            total: ProcessLimits.raiseDescriptors(), hasFlows: mayBeRootless, ports: SwitchControl.portCapacity)
        quota = ClientQuota(limit: descriptors.clients)
        loop = try orUnavailable(ControlLoop.init)
        control = try orUnavailable(SwitchControl.init)
    }

    /// Runs until a signal ends it.
    /// - Parameter onReady: called once, with one line that says what there is.
    /// - Throws: why it could not start, or not go on; everything is undone by then.
    package func run(onReady: (StartReport) -> Void) throws(ExitError) {
        guard !Accounts.isSetID else {
            throw ExitError(
                .noPermission,
                "this program must not be installed set-user-id or set-group-id; run it with sudo, or give it capabilities"
            )
        }
        SignalPipe.ignore(Signal.pipe)
        let signals = try orUnavailable { () throws(SystemError) in
            try SignalPipe([Signal.hangup, Signal.interrupt, Signal.terminate, Signal.user1, Signal.child])
        }
        defer { end(signals) }
        try orUnavailable { () throws(SystemError) in
            try loop.watch(signals.descriptor) { [unowned self] _ in signals.received().forEach(handle(signal:)) }
        }
        // Before the first thread.
        Privileges.keep(.needed(by: configuration))
        // A signal may come before it is ready.
        guard let summary = try start() else { return }
        // A program is the user's own, and gets what the user has; it is started when its network is ready.
        let startsProgram = !configuration.listeners.program.isEmpty
        if !startsProgram { Privileges.drop(logger) }
        onReady(
            StartReport(
                summary, configuration, network: uplink?.presence?.network ?? userLink?.presence.network,
                vmnet: vmnetParameters))
        ServiceManager.notify("READY=1\nSTATUS=\(summary)")
        if startsProgram {
            program = try listeners?.startProgram()
            Privileges.drop(logger)
        }
        loop.run()
        if let failure { throw failure }
    }

    // MARK: Starting

    /// Returns the ready line; nil if a signal has ended it before.
    private func start() throws(ExitError) -> String? {
        // The switch first: without one, nothing of the host is touched.
        let session = makeSession()
        if session is SwitchSession {
            // The directory that it makes may be where the pidfile is to be.
            self.session = session
            try session.join()
            try writePidfile()
        } else {
            try writePidfile()
            self.session = session
            try session.join()
        }
        // Before what is slow: who starts us waits for the sockets.
        try openListeners(session)
        guard try openWayOut(session) else { return nil }
        if configuration.isIsolating { control.setIsolation(true) }
        if case .serve(let own) = configuration.side {
            for name in own.taps { try attach(tap: name) }
        }
        try orUnavailable { () throws(SystemError) in
            try loop.watch(control.notification.descriptor.raw) { [unowned self] _ in receiveNotification() }
            try ForwardingWorker.start(
                control: control, workers: configuration.workers ?? ForwardingWorker.defaultCount)
        }
        isForwarding = true
        vmnetLink?.isForwarding = true
        userLink?.isForwarding = true
        addressService?.start()
        trafficReport = configuration.statsInterval.map {
            TrafficReport(seconds: $0, loop: loop, control: control, logger: logger) { [unowned self] in
                uplinkPort ?? vmnetLink?.port ?? userLink?.port
            }
        }
        session.onRejoin = { [unowned self] in addressService?.restart() }
        if let own = session as? SwitchSession {
            own.onShutdown = { [unowned self] in
                logger.info("ending on a command of the console")
                loop.stop()
            }
            try own.configure()
        }
        if configuration.mode == .shared, uplink != nil || userLink != nil, HostRoutes.isOffline {
            logger.notice("\(HostRoutes.offlineNotice)")
        }
        if let privileged, let presence = uplink?.presence, let tap = presence.interface {
            hostWatch = try HostWatch(
                privileged, tap: tap, guests: presence.network, leadsOut: configuration.mode == .shared, loop: loop,
                logger: logger
            ) { [unowned self] in
                failure = $0
                loop.stop()
            }
        }
        let words = [uplink?.summary ?? vmnetSummary ?? userLink?.summary, session.description, listeners?.description]
            .compactMap(\.self)
        return words.isEmpty ? "a switch" : words.joined(separator: ", ")
    }

    private func openListeners(_ session: any NetworkSession) throws(ExitError) {
        let own = session as? SwitchSession
        let listeners = ListenerSession(
            configuration.listeners, lockedDirectory: own?.directoryPath, quota: quota, loop: loop, control: control,
            logger: logger
        ) { [control] in
            own == nil ? control.attach($0) : own!.attachClient($0, $1)
        } detach: { [control] in
            if let own { own.detachClient($0) } else { control.detach($0) }
        }
        self.listeners = listeners
        listeners.onEnd = { [unowned self] in
            guard own?.hasDirectory == false else { return }
            logger.info("ending: the machine that this was started for has gone")
            loop.stop()
        }
        own?.onDisconnect = { [unowned listeners] in listeners.disconnect($0) }
        try listeners.open()
        guard let seconds = configuration.listeners.idleExit else { return }
        let watch = IdleTimer(
            seconds: seconds, loop: loop,
            isIdle: { [unowned listeners] in listeners.clients.isEmpty && !(own?.hasClients ?? false) }
        ) { [unowned self] in
            logger.info("ending: no machine has been here for \(seconds) s")
            loop.stop()
        }
        idleWatch = watch
        listeners.onChange = { [unowned watch] in watch.update() }
        own?.onChange = { [unowned watch] in watch.update() }
    }

    private func writePidfile() throws(ExitError) {
        if let path = configuration.pidfile { pidfile = try Pidfile(path) }
    }

    /// - Parameter nameServers: those that guests are to use, where they are not for us to start.
    func startServices(_ presence: Uplink.Presence, nameServers: [IPv4Address]? = nil) throws(ExitError) {
        let network = presence.network
        var dhcp = DHCPConfiguration(
            network: network.network, server: network.gateway, serverHardware: presence.hardware,
            first: network.firstLease, last: network.lastLease)
        dhcp.mtu = UInt16(configuration.mtu)
        let facts: HostFacts? = configuration.mode == .shared ? HostFacts(presence, configuration) : nil
        facts?.apply(to: &dhcp)
        // In host mode there is no way out, so nobody is told of one, nor are names resolved for those that are to be
        // cut off.
        if configuration.mode == .shared {
            let resolvers = Resolvers()
            dhcp.router = network.gateway
            // vmnet's own gateway answers DNS.
            dhcp.nameServers =
                if let nameServers { nameServers } else {
                    presence.interface == nil ? [network.gateway] : try startNames(presence, resolvers)
                }
        }
        dhcp.reservations = configuration.reservations
        dhcp.adapt(to: session)
        // A client of a guest that may serve has an address of which ours knows nothing.
        if !configuration.allowedServers.isEmpty { dhcp.isAuthoritative = false }
        guard configuration.dhcp == .auto || configuration.dhcp == .builtin else { return }
        let directory = try Directories.state(configuration.stateDirectory)
        let path = "\(directory)/\(network.network.description.replacing("/", with: "-")).leases"
        let (file, leases) = try LeaseFile.open(path, logger: logger)
        // On a cable there is one guest and nobody else; on somebody's switch there may be another server.
        let yieldsToOthers = configuration.dhcp == .auto && session is PlugSession
        addressService = DHCPServerRunner(
            dhcp, leases: leases, file: file, yieldsToOthers: yieldsToOthers, loop: loop, control: control,
            logger: logger
        )
        if let facts { addressService?.refreshConfiguration = { facts.apply(to: &$0) } }
        addressService?.portName = { [unowned self] in name(of: $0) }
        let published = PublishedGuests(configuration.published, logger: logger) { [unowned self] in
            privileged?.publish($0)
        }
        addressService?.onLeases = { [unowned self] leases in
            names?.note(leases.map { ($0.address, $0.hardware, $0.expires) })
            userLink?.note(leases)
            published.note(leases, now: BootClock.now)
        }
    }

    /// Answers questions for names by what the host's resolvers say. Returns the name servers that guests are to use:
    /// none where they may ask for nothing.
    private func startNames(_ presence: Uplink.Presence, _ resolvers: Resolvers) throws(ExitError) -> [IPv4Address] {
        guard configuration.egress.allowsNames else { return [] }
        names = try DNSGateway(
            presence.network, hardware: presence.hardware, mtu: configuration.mtu, resolvers: resolvers,
            descriptors: descriptors.names, loop: loop, control: control, logger: logger)
        try names?.open(terminatesTCP: true)
        return [presence.network.gateway]
    }

    // MARK: Running

    private func handle(signal number: Int32) {
        if number == Signal.user1 {
            logger.notice("address service: \(control.serviceCounters)")
            for port in control.ports { logger.notice("\(name(of: port.number)): \(port.counters)") }
            if let userLink { logger.notice("user-mode NAT: \(userLink.report)") }
            return
        }
        if number == Signal.child {
            guard let end = program?.poll() else { return }
            programEnd = end
            program = nil
            return loop.stop()
        }
        if let program {
            // Its end is ours.
            logger.info("signal \(number) is passed on to \(configuration.listeners.program[0])")
            return program.signal(number)
        }
        logger.info("ending on signal \(number)")
        loop.stop()
    }

    private func receiveNotification() {
        control.notification.drain()
        addressService?.receive()
        names?.receive()
        for event in control.takeEvents() {
            switch event {
            case .loop(let port, let other):
                logger.warning(
                    "\(name(of: port)) and \(name(of: other)) are connected to each other outside (a loop); \(name(of: port)) is closed until that ends; remove one of the two connections"
                )
                continue
            case .loopEnded(let port):
                logger.notice("the loop has ended; \(name(of: port)) is open again")
                continue
            default: report(event)
            }
            vmnetLink?.handle(event)
            listeners?.handle(event)
            if event.port == uplinkPort {
                if case .unreachable(_, let code) = event, code != Errno.ioError {
                    fail("the uplink \(uplink!.port.name) has failed", code)
                }
            } else if let cable = session as? CableSession {
                cable.handle(event)
            }
        }
    }

    /// What a port is called in messages: with its number where the console has one.
    func name(of port: PortNumber) -> String {
        (session as? SwitchSession)?.name(of: port) ?? listeners?.name(of: port) ?? control.ports.first {
            $0.number == port
        }?.name ?? "a port that is gone"
    }

    private func fail(_ what: String, _ code: Int32) {
        failure = ExitError(.unavailable, "\(what): \(SystemError(code: code, "use").reason)")
        loop.stop()
    }

    // MARK: Ending

    /// Undoes whatever was done, in the opposite order.
    private func end(_ signals: SignalPipe) {
        ServiceManager.notify("STOPPING=1")
        // The network has failed under it.
        if let program {
            programEnd = ProgramEnd.await(program, called: configuration.listeners.program[0], signals: signals, logger)
        }
        for port in control.ports { logger.debug("\(name(of: port.number)): \(port.counters)") }
        privileged?.closeNetwork()
        pidfile?.remove()
        vmnetLink?.stop()
        if userLink == nil { names?.close(isForwarding: isForwarding) }
        userLink?.stop()
        listeners?.close()
        session?.leave()
        if isForwarding { control.stop() }
        privileged?.undo()
    }
}
