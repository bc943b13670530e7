// SPDX-License-Identifier: Apache-2.0
import Logging
import Platform
import Switching
import Uplinks

/// The way out through vmnet: keeps an interface attached to the forwarder. One that dies is started again, with growing pauses, while the
/// guests' ports stay as they are.
final class VmnetLink {
    /// Interfaces of which the forwarder does not let go.
    private static let abandoned = Guarded<[any VmnetInterface]>([])

    private let provider: any VmnetProvider
    private var options: VmnetOptions
    private let loop: ControlLoop
    private let control: ForwarderControl
    private let logger: Logger
    private let attach: (PortConfiguration) -> PortNumber?
    private let detach: (PortNumber) -> Void
    /// Set when the forwarder has started, from when on it may be using the interface.
    var isForwarding = false
    private var interface: (any VmnetInterface)?
    private var port: PortNumber?
    private var backoff = Backoff()
    private var timer: ControlLoop.TimerID?
    private var lastFailure = ""

    /// - Parameters:
    ///   - attach: makes a port of the forwarder.
    ///   - detach: takes it away.
    init(
        _ provider: any VmnetProvider, _ options: VmnetOptions, loop: ControlLoop, control: ForwarderControl, logger: Logger,
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

    /// Starts it for the first time.
    func start() throws(ExitError) -> VmnetParameters {
        do throws(VmnetFailure) {
            let parameters = try open()
            // Whatever comes, the guests' addresses stay valid.
            if case .bridged = options.mode {} else { options.network = parameters.network ?? options.network }
            if options.mode == .shared { options.nat66Prefix = options.nat66Prefix ?? parameters.nat66Prefix }
            return parameters
        } catch {
            throw ExitError(error.isPermission ? .noPermission : .unavailable, error.description)
        }
    }

    private func open() throws(VmnetFailure) -> VmnetParameters {
        let started = try provider.start(options)
        let descriptor: Int32
        do throws(SystemError) {
            descriptor = try started.wakeupDescriptor().release()
        } catch {
            throw VmnetFailure(status: 0, description: error.description)
        }
        var configuration = PortConfiguration(
            name: "vmnet", kind: .device, role: .uplink, descriptor: descriptor, maximumFrame: started.parameters.maximumFrame)
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
        close()
        restart()
    }

    private func restart() {
        timer = loop.schedule(after: backoff.next()) { [unowned self] in
            do throws(VmnetFailure) {
                _ = try open()
                backoff.reset()
                lastFailure = ""
                logger.notice("the vmnet interface is back")
            } catch {
                if error.description != lastFailure { logger.warning("\(error)") }
                lastFailure = error.description
                restart()
            }
        }
    }

    private func close() {
        guard let port, let interface else { return }
        detach(port)
        self.port = nil
        self.interface = nil
        // The forwarder must be done with it. One that hangs inside the framework keeps it.
        guard !isForwarding || control.settle() else {
            logger.error("vmnet.framework does not return from a call; its interface is left to the end of this process")
            VmnetLink.abandoned.withLock { $0.append(interface) }
            return
        }
        do throws(VmnetFailure) {
            try interface.stop()
        } catch {
            logger.warning("\(error)")
        }
    }

    func stop() {
        loop.cancel(timer)
        close()
    }
}

extension Configuration {
    /// The same as vmnet wants it.
    var vmnetOptions: VmnetOptions {
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
        options.hasOffload = hasVmnetOffload
        return options
    }
}
