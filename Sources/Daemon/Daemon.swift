// SPDX-License-Identifier: Apache-2.0
import CaptureService
import ControlSocket
import DHCPService
import EventLoop
import HostChanges
import Lifecycle
import Logging
import NameService
import NetworkConfiguration
import NetworkControl
import NetworkModel
import NetworkReports
import Platform
import RouterService
import Sessions
import Switching
import TFTPService
import TapUplink
import Timing
import Uplink
import VmnetUplink

// Theory of operation: the daemon
// ===============================
//
// The daemon composes the parts of one network. It makes them in this order, and ends them in the opposite one:
//
//     session      the guests' side: this process's switch, or a connection to another one (`Sessions`)
//     pidfile      before the session, unless the switch's directory may contain it
//     listeners    sockets besides VDE
//     uplink       the connection to the host and the outside, with its rules and services (`Uplink`)
//     forwarder    worker threads, which move frames from then on
//
// Threads. Everything here runs on the control thread, on one `ControlLoop`. The forwarder's workers report events
// through `SwitchControl.notification`. Signals arrive through a `SignalPipe`.
//
// Ends. A signal, the end of the program of `run`, the console, an idle timer, or a failure stops the loop. `end` then
// undoes everything, in every case, including a failed start.

/// One network, from start to end: joins the guests' side, opens the uplink, provides addresses and names, and undoes
/// all changes at the end.
package final class Daemon: ControlledNetwork {
    /// What was configured, with the changes that were made while the network runs.
    package var configuration: Configuration
    package let logger: Logger
    package let loop: ControlLoop
    package let control: SwitchControl

    private var pidfile: Pidfile?
    package private(set) var session: (any NetworkSession)?
    /// The right to serve the guests of another process's switch; nil if this process does not serve them by DHCP.
    private var joinedSwitch: HostChanges?
    package private(set) var listeners: ListenerSession?
    private var idleTimer: IdleTimer?
    package var uplink: (any Uplink)?
    let vmnet: (any VmnetProvider)?
    private var program: ChildProcess?
    /// The exit status of the program of `run`; nil if there is none, or it still runs.
    package private(set) var programTermination: ChildProcess.Termination?
    package var dhcpServer: DHCPServerRunner?
    package var names: DNSGateway?
    var hostNames: HostNameListener?
    /// The files of `--boot`, and the server for guests.
    private(set) var bootDirectory: BootDirectory?
    var bootFiles: BootFileServer?
    /// The gateway's part as an IPv6 router; nil if the uplink has it, or without IPv6.
    package var router: RouterService?
    /// Looks for the NAT64 that the host is behind; nil if guests could not use it.
    var nat64: NAT64Discovery?
    /// Reports changes of the host's interfaces, for `--deny private`.
    var localNetworkMonitor: ChangeMonitor?
    /// What the egress policy refuses, for the log and for events.
    package private(set) lazy var refusals = EgressRefusals(
        EgressRefusals.Sources(
            uplink: { [unowned self] in uplink }, names: { [unowned self] in names?.policy },
            assignedAddresses: { [unowned self] in dhcpServer?.assignedAddresses ?? [:] }),
        loop: loop, logger: logger
    ) { [unowned self] in networkControl?.report($0) }
    /// Follows the guests of published ports.
    package private(set) lazy var publishedGuests = PublishedGuests(configuration.published, logger: logger) {
        [unowned self] in uplink?.publish($0)
    }
    var guestReports: GuestReports
    let descriptors: DescriptorBudget
    let quota: ClientQuota
    private var trafficReport: TrafficReport?
    /// The control socket; nil without one.
    var networkControl: NetworkControl?
    /// The captures of frames.
    package private(set) lazy var captures = NetworkCaptures(control, loop: loop) { [unowned self] in
        captureInterfaces()
    }
    /// Why the uplink was chosen.
    package var uplinkReason = ""
    private var isForwarding = false
    private var failure: ExitError?

    /// - Parameter vmnet: vmnet.framework; nil if the system has none.
    package init(_ configuration: Configuration, vmnet: (any VmnetProvider)? = nil, logger: Logger) throws(ExitError) {
        self.vmnet = vmnet
        self.configuration = configuration
        self.logger = logger
        guestReports = GuestReports(logger: logger)
        let mayBeRootless = configuration.uplink == .user || configuration.uplink == .auto
        let mayHaveNAT6 = configuration.uplink == .tap && TapUplink.mayNeedNAT6(configuration.uplinkOptions)
        descriptors = DescriptorBudget(
            total: ProcessLimits.raiseDescriptors(), hasFlows: mayBeRootless || mayHaveNAT6,
            ports: SwitchControl.portCapacity)
        quota = ClientQuota(limit: descriptors.clients)
        try descriptors.check()
        loop = try orUnavailable(ControlLoop.init)
        control = try orUnavailable(SwitchControl.init)
    }

    /// Runs until a signal, or another reason to end.
    /// - Parameter onReady: called once, when the network is ready.
    /// - Throws: why the daemon could not start or go on, after everything was undone.
    package func run(onReady: (StartReport) -> Void) throws(ExitError) {
        guard !CurrentProcess.isSetID else {
            throw ExitError(
                .noPermission,
                """
                this program must not be installed set-user-id or set-group-id; run it with sudo, or give it \
                capabilities
                """
            )
        }
        SignalPipe.ignore(Signal.pipe)
        SignalPipe.ignore(Signal.fileSize)
        let signals = try orUnavailable { () throws(SystemError) in
            try SignalPipe([Signal.hangup, Signal.interrupt, Signal.terminate, Signal.user1, Signal.child])
        }
        defer { end(signals) }
        try orUnavailable { () throws(SystemError) in
            try loop.watch(signals.descriptor) { [unowned self] _ in signals.received().forEach(handle(signal:)) }
        }
        // Before the first thread is started, because capabilities belong to threads.
        Privileges.keep(.needed(by: configuration))
        // A signal may end the daemon before it is ready.
        guard let summary = try start() else { return }
        if configuration.pidfileReportsReady { try pidfile?.complete() }
        // The program of `run` is started when the network is ready, before privileges are dropped.
        let startsProgram = !configuration.listeners.program.isEmpty
        if !startsProgram { Privileges.drop(logger) }
        onReady(StartReport(summary, configuration, uplink))
        SystemdNotifier.notify("READY=1\nSTATUS=\(summary)")
        if startsProgram {
            program = try listeners?.startProgram()
            Privileges.drop(logger)
        }
        loop.run()
        if let failure { throw failure }
    }

    // MARK: Starting

    /// Returns the ready line; nil if a signal has ended the daemon meanwhile.
    private func start() throws(ExitError) -> String? {
        // Before the first thread is started, and before anything is changed.
        if let boot = configuration.boot, let directory = boot.directory {
            bootDirectory = try BootDirectory(directory, names: boot.servedNames)
        }
        // A name that is taken is refused before anything is changed.
        if configuration.control.isRequired { try openControl() }
        // The switch first: if it is unavailable, the host is not changed.
        let session = makeSession()
        if session.ownsSwitch {
            // The pidfile may be in the directory that the switch makes.
            self.session = session
            try session.join()
            try writePidfile()
        } else {
            try writePidfile()
            self.session = session
            try session.join()
            joinedSwitch = try reserveJoinedSwitch(session)
        }
        // Before slow steps, because the process that started this one waits for the sockets.
        try openListeners(session)
        // After what another instance may have, so that this start does not overwrite its capture.
        if let path = configuration.pcap { try captures.start(toFile: path, logger: logger) }
        guard try openUplink() else { return nil }
        if configuration.isIsolating { control.setIsolation(true) }
        if case .server(let own) = configuration.role {
            for name in own.taps { try attach(tap: name) }
        }
        try orUnavailable { () throws(SystemError) in
            try loop.watch(control.notification.descriptor.raw) { [unowned self] _ in receiveNotification() }
            try ForwardingWorker.start(
                control: control, workers: configuration.workers ?? ForwardingWorker.defaultCount)
        }
        isForwarding = true
        try uplink?.begin()
        if configuration.logsRefusals { refusals.startLog(of: configuration.egress) }
        dhcpServer?.start()
        router?.start()
        try listeners?.configureNamespaces { [unowned self] (hardware) throws(ExitError) in
            try assignAddress(to: hardware)
        }
        trafficReport = configuration.statsInterval.map {
            TrafficReport(interval: .seconds(Int64($0)), loop: loop, control: control, logger: logger) {
                [unowned self] in uplink?.port
            }
        }
        session.onRejoin = { [unowned self] in
            dhcpServer?.restart()
            networkControl?.clientsChanged()
            captures.refresh()
        }
        session.onShutdown = { [unowned self] in
            logger.info("ending on a command of the console")
            loop.stop()
        }
        try session.configure()
        if !configuration.control.isRequired { try openControl() }
        let words = [uplink?.summary, session.description, listeners?.description].compactMap(\.self)
        return words.isEmpty ? "a switch" : words.joined(separator: ", ")
    }

    private func openListeners(_ session: any NetworkSession) throws(ExitError) {
        var sockets = configuration.listeners
        // The network that a bridge belongs to has its own.
        if case .bridged = configuration.mode {} else { sockets.mtu = configuration.mtu }
        let listeners = ListenerSession(sockets, beside: session, quota: quota, loop: loop, logger: logger)
        self.listeners = listeners
        listeners.onEnd = { [unowned self, unowned session] in
            // VDE clients may still connect to a switch with a directory, or be on another process's switch.
            guard session.ownsSwitch, !session.hasDirectory else { return }
            logger.info("ending: the last guest of --fd or --netns has left")
            loop.stop()
        }
        session.onDisconnect = { [unowned listeners] in listeners.disconnect($0) }
        try listeners.open()
        let onChange = { [unowned self] in
            idleTimer?.update()
            networkControl?.clientsChanged()
            captures.refresh()
        }
        listeners.onChange = onChange
        session.onChange = onChange
        guard let seconds = configuration.listeners.idleExit else { return }
        let timer = IdleTimer(
            timeout: .seconds(Int64(seconds)), loop: loop,
            isIdle: { [unowned listeners, unowned session] in listeners.clients.isEmpty && !session.hasClients }
        ) { [unowned self] in
            logger.info("ending: no guest has been connected for \(seconds) s")
            loop.stop()
        }
        idleTimer = timer
    }

    private func writePidfile() throws(ExitError) {
        if let path = configuration.pidfile {
            pidfile = try Pidfile(path, isComplete: !configuration.pidfileReportsReady)
        }
    }

    // MARK: Running

    private func handle(signal number: Int32) {
        if number == Signal.user1 {
            let requested: Logger.Metadata = [LogMetadata.isRequested: "yes"]
            logger.notice("services' port: \(control.serviceCounters)", metadata: requested)
            for port in control.ports {
                logger.notice("\(name(of: port.number)): \(port.counters)", metadata: requested)
            }
            if let report = uplink?.report { logger.notice("\(report)", metadata: requested) }
            if let counters = bootFiles?.counters {
                logger.notice("boot files: \(counters)", metadata: requested)
            }
            return
        }
        if number == Signal.child {
            guard let end = program?.poll() else { return }
            programTermination = end
            program = nil
            return loop.stop()
        }
        if let program {
            // The daemon ends when the program does.
            logger.info("signal \(number) is passed on to \(configuration.listeners.program[0])")
            return program.signal(number)
        }
        logger.info("ending on signal \(number)")
        loop.stop()
    }

    private func receiveNotification() {
        control.notification.drain()
        dhcpServer?.receive()
        names?.receive()
        bootFiles?.receive()
        router?.receive()
        for event in control.takeEvents() {
            switch event {
            case .loop(let port, let other):
                networkControl?.report(loopAt: port, with: other)
                logger.warning(
                    """
                    \(name(of: port)) and \(name(of: other)) are connected to each other outside this switch (a loop); \
                    \(name(of: port)) is closed until the loop ends; remove one of the two connections
                    """
                )
                continue
            case .loopEnded(let port):
                networkControl?.report(loopAt: port, with: nil)
                logger.notice("the loop has ended; \(name(of: port)) is open again")
                continue
            default: report(event)
            }
            uplink?.handle(event)
            listeners?.handle(event)
            session?.handle(event)
        }
    }

    /// A port's name in messages, with its number if the console has one.
    func name(of port: PortNumber) -> String {
        session?.name(of: port) ?? listeners?.name(of: port) ?? control.ports.first {
            $0.number == port
        }?.name ?? "a port that is gone"
    }

    /// Ends the daemon with an error.
    func fail(_ error: ExitError) {
        failure = error
        loop.stop()
    }

    // MARK: Ending

    /// Undoes everything that was done, in the opposite order.
    private func end(_ signals: SignalPipe) {
        SystemdNotifier.notify("STOPPING=1")
        // The network ends before the program.
        if let program {
            programTermination = GracefulTermination.await(
                program, called: configuration.listeners.program[0], signals: signals, logger)
        }
        for port in control.ports { logger.debug("\(name(of: port.number)): \(port.counters)") }
        networkControl?.close()
        pidfile?.remove()
        hostNames?.close()
        bootFiles?.close()
        nat64?.stop()
        router?.close(isForwarding: isForwarding)
        names?.close(isForwarding: isForwarding)
        uplink?.stop()
        listeners?.close()
        session?.leave()
        if isForwarding { control.stop() }
        captures.finish()
        uplink?.undo()
        joinedSwitch?.undo()
    }
}
