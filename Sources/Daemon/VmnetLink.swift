// SPDX-License-Identifier: Apache-2.0
import EventLoop
import Lifecycle
import Logging
import NetworkModel
import Platform
import Switching
import Uplinks

/// The way out through vmnet: keeps an interface attached to the forwarder. One that dies is started again, with
/// growing pauses, while the guests' ports stay as they are.
final class VmnetLink {
    /// Interfaces of which the forwarder does not let go.
    private static let abandoned = Mutex<[any VmnetInterface]>([])

    private let provider: any VmnetProvider
    private var options: VmnetOptions
    private let loop: ControlLoop
    private let control: SwitchControl
    private let logger: Logger
    private let attach: (PortConfiguration) -> PortNumber?
    private let detach: (PortNumber) -> Void
    /// Set when the forwarder has started, from when on it may be using the interface.
    var isForwarding = false
    private var interface: (any VmnetInterface)?
    private(set) var port: PortNumber?
    private var backoff = Backoff()
    private var timer: ControlLoop.TimerID?
    private var lastFailure = ""
    private var watch: VmnetWatch?

    /// - Parameters:
    ///   - attach: makes a port of the forwarder.
    ///   - detach: takes it away.
    init(
        _ provider: any VmnetProvider, _ options: VmnetOptions, loop: ControlLoop, control: SwitchControl,
        logger: Logger,
        attach: @escaping (PortConfiguration) -> PortNumber?, detach: @escaping (PortNumber) -> Void
    ) {
        self.provider = provider
        self.options = options
        self.loop = loop
        self.control = control
        self.logger = logger
        self.attach = attach
        self.detach = detach
    }

    /// Starts it for the first time. Signals, and what else the loop watches, are handled meanwhile.
    /// - Returns: nil if the loop was stopped before it had started.
    func start() throws(ExitError) -> VmnetParameters? {
        var outcome: Outcome?
        try orUnavailable { () throws(SystemError) in try begin { outcome = $0 } }
        guard loop.run(until: { outcome != nil }), let outcome else { return nil }
        do throws(VmnetFailure) {
            let parameters = try open(outcome)
            // Whatever comes, the guests' addresses stay valid.
            if case .bridged = options.mode {} else { options.network = parameters.network ?? options.network }
            if options.mode == .shared { options.nat66Prefix = options.nat66Prefix ?? parameters.nat66Prefix }
            startWatch()
            return parameters
        } catch {
            throw ExitError(error.isPermission ? .noPermission : .unavailable, error.description)
        }
    }

    private typealias Outcome = Result<any VmnetInterface, VmnetFailure>

    /// Starts an interface away from this thread: the framework may take its time.
    private func begin(then completion: @escaping (Outcome) -> Void) throws(SystemError) {
        try loop.runInBackground(
            named: "vmnet",
            { [provider, options] in Outcome { () throws(VmnetFailure) in try provider.start(options) } },
            then: completion)
    }

    private func open(_ outcome: Outcome) throws(VmnetFailure) -> VmnetParameters {
        let started = try outcome.get()
        let descriptor: Int32
        do throws(SystemError) {
            descriptor = try started.wakeupDescriptor().release()
        } catch {
            throw VmnetFailure(status: 0, description: error.description)
        }
        var configuration = PortConfiguration(
            name: "vmnet", kind: .device, role: .uplink, descriptor: descriptor,
            maximumFrame: started.parameters.maximumFrame)
        configuration.device = started.device
        guard let number = attach(configuration) else {
            _ = Descriptor(adopting: descriptor)
            throw VmnetFailure(status: 0, description: "no port is left for the way out")
        }
        interface = started
        port = number
        return started.parameters
    }

    /// Takes an event of the forwarder if it is about this port.
    func handle(_ event: PortEvent) {
        guard event.port == port, case .unreachable(_, let code) = event else { return }
        logger.warning("the vmnet interface has failed (\(code)); starting another")
        replace()
    }

    private func startWatch() {
        watch = VmnetWatch(options, provider: provider, loop: loop, control: control, logger: logger) {
            [unowned self] in
            port
        } onLoss: { [unowned self] reason in
            logger.notice("\(reason); starting another")
            replace()
        }
    }

    private func replace() {
        guard let dead = release() else { return restart() }
        do throws(SystemError) {
            try loop.runInBackground(named: "vmnet") {
                VmnetLink.end(dead)
            } then: { [unowned self] failure in
                if let failure { logger.warning("\(failure)") }
                restart()
            }
        } catch {
            logger.warning("\(error)")
            restart()
        }
    }

    private func restart() {
        timer = loop.schedule(after: backoff.next()) { [unowned self] in
            do throws(SystemError) {
                try begin { [unowned self] outcome in
                    do throws(VmnetFailure) {
                        _ = try open(outcome)
                        backoff.reset()
                        lastFailure = ""
                        logger.notice("the vmnet interface is back")
                    } catch {
                        retry(error.description)
                    }
                }
            } catch {
                retry(error.description)
            }
        }
    }

    private func retry(_ reason: String) {
        if reason != lastFailure { logger.warning("\(reason)") }
        lastFailure = reason
        restart()
    }

    /// Takes the interface away from the forwarder. Returns it if it may be stopped.
    private func release() -> (any VmnetInterface)? {
        guard let port, let interface else { return nil }
        detach(port)
        self.port = nil
        self.interface = nil
        // The forwarder must be done with it. One that hangs inside the framework keeps it.
        guard !isForwarding || control.barrier() else {
            logger.error(
                "vmnet.framework does not return from a call; its interface is left to the end of this process")
            VmnetLink.abandoned.withLock { $0.append(interface) }
            return nil
        }
        return interface
    }

    private static func end(_ interface: any VmnetInterface) -> VmnetFailure? {
        do throws(VmnetFailure) {
            try interface.stop()
            return nil
        } catch {
            return error
        }
    }

    func stop() {
        loop.cancel(timer)
        watch?.stop()
        if let interface = release(), let failure = VmnetLink.end(interface) { logger.warning("\(failure)") }
    }
}

extension Configuration {
    /// The same as `provider` wants it.
    func vmnetOptions(_ provider: any VmnetProvider) -> VmnetOptions {
        let vmnetMode: VmnetOptions.Mode =
            switch mode {
            case .shared: .shared
            case .host: .host
            case .bridged(let interface): .bridged(interface)
            }
        var options = VmnetOptions(mode: vmnetMode)
        options.network = network
        options.mtu = mtu == 1500 ? nil : mtu
        options.interfaceID = interfaceID
        options.networkID = networkIdentifier
        options.nat66Prefix = nat66Prefix
        options.isIsolated = isIsolating
        options.published = published
        options.externalInterface = externalInterface
        // Ours does it, where we serve.
        if dhcp == .system { options.reservations = reservations }
        // An object is ours alone, and its gateway the first address: only where nothing speaks against that.
        let mayBeObject =
            provider.hasNetworkObjects && networkIdentifier == nil && interfaceID == nil
            && network.map(\.gatewayIsFirstHost) ?? true
        if case .bridged = mode {} else { options.disablesDHCP = dhcp == .off && mayBeObject }
        // Virtio headers are not for interfaces on an object.
        if hasVmnetOffload {
            options.offload = provider.hasVirtioHeaders && !options.needsNetworkObject ? .virtio : .plain
        }
        return options
    }
}
