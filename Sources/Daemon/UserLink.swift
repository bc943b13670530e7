// SPDX-License-Identifier: Apache-2.0
import DHCPService
import EventLoop
import FrameIO
import Lifecycle
import Logging
import NameService
import NetworkModel
import Platform
import Switching
import Timing
import Uplinks
import UserUplink
import Wire

/// The way out by a user-mode NAT, which needs no privilege: keeps it attached to the forwarder, tells it of leases,
/// and asks names for guests.
final class UserLink {
    /// A NAT whose thread does not end.
    private static let abandoned = Mutex<[UserNAT]>([])

    let presence: Uplink.Presence
    private let network: UserNAT
    /// By which it sends to guests.
    private let worker: InjectionPort
    private let claim: Privileged
    private let loop: ControlLoop
    private let control: SwitchControl
    private let logger: Logger
    private let mtu: Int
    private let detach: (PortNumber) -> Void
    private(set) var port: PortNumber?
    /// Set when the forwarder has started, from when on it may be using the device.
    var isForwarding = false
    /// Answers questions for names, where guests may ask any.
    private(set) var names: DNSGateway?

    /// Starts the library; nothing moves yet.
    init(
        _ configuration: Configuration, resolvers: Resolvers, descriptors: DescriptorBudget, loop: ControlLoop,
        control: SwitchControl, logger: Logger, detach: @escaping (PortNumber) -> Void
    ) throws(ExitError) {
        self.loop = loop
        self.control = control
        self.logger = logger
        self.detach = detach
        worker = InjectionPort(control)
        mtu = configuration.mtu
        let (guests, claim) = try Uplink.claimNetwork(configuration, try Directories.runtime(), logger)
        self.claim = claim
        let hardware = configuration.hardwareAddress(gateway: guests.gateway)
        presence = Uplink.Presence(network: guests, hardware: hardware, interface: nil)
        var options = NATGateway.Options(network: guests, hardware: hardware)
        options.mtu = configuration.mtu
        options.policy = configuration.egress
        options.policy.isClosed = configuration.mode == .host
        options.prefix = configuration.uniqueLocalPrefix(gateway: guests.gateway)
        do throws(ExitError) {
            try configuration.checkGuests(of: guests)
            if options.policy.allowsNames {
                names = try DNSGateway(
                    presence.network, hardware: presence.hardware, mtu: configuration.mtu, resolvers: resolvers,
                    descriptors: descriptors.names, loop: loop, control: control, logger: logger)
                options.answersDNS = true
            }
            options.flowLimit = max(16, descriptors.flows)
            network = try UserLink.start(options, configuration.published, names?.inlet, worker)
            logger.info(
                "user-mode NAT by libslirp \(network.libraryVersion), for up to \(options.flowLimit) conversations at a time (this process may open \(descriptors.total) files)"
            )
        } catch {
            claim.undo()
            throw error
        }
    }

    private static func start(
        _ options: NATGateway.Options, _ published: [PublishedPort], _ names: DNSConnectionQueue?,
        _ worker: InjectionPort
    ) throws(ExitError) -> UserNAT {
        do throws(UserNATError) {
            return try UserNAT(options, publishing: published, dnsQueue: names, to: worker)
        } catch {
            switch error {
            case .noLibrary:
                throw ExitError(
                    .unavailable,
                    "--uplink user needs libslirp, which comes with QEMU; install the package libslirp0 (Debian, Ubuntu) or libslirp (Fedora, Arch, Alpine, Homebrew)"
                )
            case .unusableLibrary(let reason):
                throw ExitError(
                    .unavailable,
                    "--uplink user: the installed libslirp cannot be used (\(reason)); versions 4.1 to 4.9 are known to work"
                )
            case .port(let published, let port, let code):
                throw PortReservations.failure(code, published, port: port)
            case .system(let error):
                throw ExitError(.unavailable, error.description)
            }
        }
    }

    /// What a user without privilege goes without.
    static let loss =
        "without privilege the way out is a user-mode NAT: this host does not reach guests at their own addresses (--publish leads to their ports), and they ping the outside only where net.ipv4.ping_group_range lets you; all of that comes with: sudo vde_vmnet"

    /// For the ready line.
    var summary: String { "\(presence.network.network) by user-mode NAT, gateway \(presence.network.gateway)" }

    /// The gateway's addresses for guests.
    var gatewayIPv6: [IPv6Address] { network.gatewayIPv6 }

    /// The name servers that guests are to use.
    var nameServers: [IPv4Address] { names == nil ? [] : [presence.network.gateway] }

    /// Attaches it to the forwarder.
    /// - Parameter attach: makes a port of it.
    func open(_ attach: (PortConfiguration) -> PortNumber?) throws(ExitError) {
        let descriptor = try orUnavailable { () throws(SystemError) in try network.readyDescriptor().release() }
        var configuration = PortConfiguration(
            name: "user", kind: .device, role: .uplink, descriptor: descriptor,
            maximumFrame: FrameLimits.link(mtu: mtu), receivesUnknown: false)
        configuration.device = network.device
        configuration.injector = worker
        guard let number = attach(configuration) else {
            _ = Descriptor(adopting: descriptor)
            throw ExitError(.unavailable, "no port is left for the way out")
        }
        port = number
        control.addStatic(presence.hardware, at: number)
        try orUnavailable { () throws(SystemError) in
            try network.start()
        }
        try names?.open(terminatesTCP: false)
    }

    // MARK: Leases

    /// Addresses belong to those who have leases.
    func note(_ leases: [Lease]) {
        network.note(leases.map { ($0.address, $0.hardware, $0.name, $0.expires) })
    }

    // MARK: Counters, end

    /// What did not get through, for the log.
    var report: String {
        let drops = NATDropReason.allCases.filter { network.dropped($0) > 0 }.map { "\(network.dropped($0)) \($0)" }
        let streams = network.streams
        return "\(streams.count) TCP connections, \(streams.retransmissions) parts of streams sent again, "
            + (drops.isEmpty ? "nothing dropped" : "dropped " + drops.joined(separator: ", "))
    }

    func stop() {
        names?.close(isForwarding: isForwarding)
        if let port { detach(port) }
        // The forwarder must be done with it.
        if (isForwarding && !control.barrier()) || !network.stop() {
            logger.error("the user-mode NAT does not come back from a call; it is left to the end of this process")
            UserLink.abandoned.withLock { $0.append(network) }
        }
        claim.undo()
    }
}

extension Configuration {
    /// The upper half of guests' IPv6 addresses, the same in every run (RFC 4193).
    func uniqueLocalPrefix(gateway: IPv4Address) -> UInt64 {
        0xfd << 56 | (hardwareAddress(gateway: gateway).value & 0xff_ffff_ffff) << 16
    }
}
