// SPDX-License-Identifier: Apache-2.0
import DHCPService
import EventLoop
import Lifecycle
import Logging
import NetworkModel
import Platform
import Switching
import Timing
import Uplink
import Wire

/// The uplink through vmnet.framework. Keeps an interface attached to the switch: one that fails is started again, with
/// growing pauses, while the guests' ports stay as they are.
///
/// # Theory of operation
///
///     state        port  interface  left by
///     starting     nil   nil        the interface has started (running), or has failed (waiting)
///     running      set   set        `replace`: a device error, or a loss that `VmnetMonitor` detects (stopping)
///     stopping     nil   nil        the old interface has stopped (waiting)
///     waiting      nil   nil        the backoff timer (starting)
///
/// Calls of vmnet may take seconds or hang, so they run on background threads (`ControlLoop.runInBackground`), except
/// the last `stop`.
package final class VmnetUplink: Uplink {
    /// Interfaces that a worker may still be using. They stay allocated until the process ends.
    private static let abandoned = Mutex<[any VmnetInterface]>([])

    private let provider: any VmnetProvider
    private var vmnetOptions: VmnetOptions
    private let options: UplinkOptions
    private let hasDHCPServer: Bool
    private let context: UplinkContext
    /// The forwarder has started, so its workers may be using the interface.
    private var isForwarding = false
    private var interface: (any VmnetInterface)?
    package private(set) var port: PortNumber?
    package private(set) var parameters: UplinkParameters?
    package private(set) var hostAddressing: HostAddressing?
    private var backoff = Backoff()
    private var timer: ControlLoop.TimerID?
    private var lastFailure = ""
    private var monitor: VmnetMonitor?

    /// - Parameters:
    ///   - vmnetOptions: the same wishes as `options`, as far as vmnet can fulfil them.
    ///   - hasDHCPServer: guests get addresses from some DHCP server.
    package init(
        _ provider: any VmnetProvider, _ vmnetOptions: VmnetOptions, _ options: UplinkOptions, hasDHCPServer: Bool,
        _ context: UplinkContext
    ) {
        self.provider = provider
        self.vmnetOptions = vmnetOptions
        self.options = options
        self.hasDHCPServer = hasDHCPServer
        self.context = context
    }

    package var isBridged: Bool { options.mode.isBridged }

    package var summary: String {
        if isBridged { return "bridged by vmnet" }
        guard let network = hostAddressing?.network else { return "a network by vmnet" }
        return "\(network.network) by vmnet, gateway \(network.gateway)"
    }

    package func open() throws(ExitError) -> Bool {
        guard let parameters = try start() else { return false }
        self.parameters = parameters
        if isBridged { return true }
        // Without this program's DHCP server, Apple's must not answer either.
        if !hasDHCPServer { context.control.setPolicy(ServicePolicy(withholdsDHCP: true)) }
        // vmnet does not report the addresses of a network with an identifier.
        guard let network = parameters.network ?? options.network else {
            if hasDHCPServer {
                context.logger.notice(
                    """
                    vmnet.framework reports no addresses of this network, so guests get none from this program; choose \
                    them with --vmnet-gateway
                    """)
            }
            return true
        }
        try options.checkGuests(of: network)
        hostAddressing = HostAddressing(
            network: network, hardware: options.hardwareAddress(gateway: network.gateway), answersDNS: true)
        return true
    }

    package var details: UplinkDetails {
        var details = UplinkDetails()
        details.kind = "vmnet"
        return details
    }

    package func begin() { isForwarding = true }

    /// The pauses before further attempts while the service behind vmnet.framework is not registered. At boot it
    /// appears within seconds.
    private static let bootPauses = [1, 2, 4, 8].map(TimeAmount.seconds)

    /// Starts the interface for the first time. The event loop runs meanwhile, so that signals are handled.
    /// - Returns: nil if the event loop was stopped.
    private func start() throws(ExitError) -> UplinkParameters? {
        var pauses = VmnetUplink.bootPauses[...]
        while true {
            // Read before the attempt: the service may appear during it.
            let isRegistered = provider.isServiceRegistered
            var outcome: Outcome?
            try orUnavailable { () throws(SystemError) in try startInterface { outcome = $0 } }
            guard context.loop.run(until: { outcome != nil }), let outcome else { return nil }
            do throws(VmnetError) {
                return try begin(with: outcome)
            } catch  where isRegistered {
                throw ExitError(error.isPermission ? .noPermission : .unavailable, error.description)
            } catch {
                guard let pause = pauses.popFirst() else {
                    throw ExitError(
                        .unavailable,
                        """
                        \(error); launchd does not offer com.apple.NetworkSharing, the service that vmnet.framework \
                        calls: it may be disabled, type: sudo launchctl enable system/com.apple.NetworkSharing
                        """)
                }
                context.logger.notice(
                    """
                    vmnet.framework is not available yet: launchd does not offer com.apple.NetworkSharing, as during \
                    boot; trying again in \(pause)
                    """)
                guard wait(pause) else { return nil }
            }
        }
    }

    /// Runs the event loop for a while.
    /// - Returns: false if the event loop was stopped.
    private func wait(_ pause: TimeAmount) -> Bool {
        var isOver = false
        let timer = context.loop.schedule(after: pause) { isOver = true }
        defer { context.loop.cancel(timer) }
        return context.loop.run(until: { isOver })
    }

    private func begin(with outcome: Outcome) throws(VmnetError) -> UplinkParameters {
        let parameters = try attach(outcome)
        // An interface that replaces this one gets the same network, so that the guests' addresses stay valid.
        if !isBridged { vmnetOptions.network = parameters.network ?? vmnetOptions.network }
        if vmnetOptions.mode == .shared {
            vmnetOptions.nat66Prefix = vmnetOptions.nat66Prefix ?? parameters.nat66Prefix
        }
        startMonitor()
        return parameters
    }

    private typealias Outcome = Result<any VmnetInterface, VmnetError>

    /// Starts an interface on a background thread.
    private func startInterface(then completion: @escaping (Outcome) -> Void) throws(SystemError) {
        try context.loop.runInBackground(
            named: "vmnet",
            { [provider, vmnetOptions] in Outcome { () throws(VmnetError) in try provider.start(vmnetOptions) } },
            then: completion)
    }

    /// Attaches a started interface to the switch.
    private func attach(_ outcome: Outcome) throws(VmnetError) -> UplinkParameters {
        let started = try outcome.get()
        let descriptor: Int32
        do throws(SystemError) {
            descriptor = try started.wakeupDescriptor().release()
        } catch {
            throw VmnetError(status: 0, description: error.description)
        }
        var configuration = PortConfiguration(
            name: "vmnet", kind: .device, role: .uplink, descriptor: descriptor,
            maximumFrame: started.parameters.maximumFrame)
        configuration.device = started.device
        guard let number = context.attach(configuration) else {
            _ = Descriptor(adopting: descriptor)
            throw VmnetError(status: 0, description: "no port is left for the uplink")
        }
        interface = started
        port = number
        return started.parameters
    }

    package func handle(_ event: PortEvent) {
        guard event.port == port, case .unreachable(_, let code) = event else { return }
        context.logger.warning("the vmnet interface has failed (\(code)); starting another")
        replace()
    }

    private func startMonitor() {
        monitor = VmnetMonitor(
            vmnetOptions, provider: provider, loop: context.loop, control: context.control, logger: context.logger
        ) {
            [unowned self] in
            port
        } onLoss: { [unowned self] reason in
            context.logger.notice("\(reason); starting another")
            replace()
        }
    }

    private func replace() {
        guard let dead = release() else { return restart() }
        do throws(SystemError) {
            try context.loop.runInBackground(named: "vmnet") {
                VmnetUplink.end(dead)
            } then: { [unowned self] failure in
                if let failure { context.logger.warning("\(failure)") }
                restart()
            }
        } catch {
            context.logger.warning("\(error)")
            restart()
        }
    }

    private func restart() {
        timer = context.loop.schedule(after: backoff.next()) { [unowned self] in
            do throws(SystemError) {
                try startInterface { [unowned self] outcome in
                    do throws(VmnetError) {
                        _ = try attach(outcome)
                        backoff.reset()
                        lastFailure = ""
                        context.logger.notice("the vmnet interface works again")
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
        if reason != lastFailure { context.logger.warning("\(reason)") }
        lastFailure = reason
        restart()
    }

    /// Takes the interface away from the switch. Returns it if it may be stopped.
    private func release() -> (any VmnetInterface)? {
        guard let port, let interface else { return nil }
        context.detach(port)
        self.port = nil
        self.interface = nil
        // No worker may be using it. One that hangs in a call of vmnet is.
        guard !isForwarding || context.control.barrier() else {
            context.logger.error(
                "a call of vmnet.framework did not return; its interface stays open until this process ends")
            VmnetUplink.abandoned.withLock { $0.append(interface) }
            return nil
        }
        return interface
    }

    private static func end(_ interface: any VmnetInterface) -> VmnetError? {
        do throws(VmnetError) {
            try interface.stop()
            return nil
        } catch {
            return error
        }
    }

    package func stop() {
        context.loop.cancel(timer)
        monitor?.stop()
        if let interface = release(), let failure = VmnetUplink.end(interface) { context.logger.warning("\(failure)") }
    }
}
