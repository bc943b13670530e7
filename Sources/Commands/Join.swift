// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import ControlProtocol
import Daemon
import Lifecycle
import Logging
import NetworkModel
import Platform
import Uplink
import VDEPlug
import Wire

/// `vde_vmnet [join] VDE`: joins a VDE network, or creates one, and connects it to an uplink.
package struct Join: ParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "join",
        abstract: "Give the guests on a VDE network addresses, the host and the outside (default).",
        usage: "vde_vmnet [OPTIONS] [VDE]\nvde_vmnet --switch [OPTIONS] [VDE]\nvde_vmnet --stream PATH [OPTIONS]",
        discussion: """
            Start vde_vmnet, then start guests without privilege:

              sudo vde_vmnet --switch /tmp/vde
              qemu-system-x86_64 -m 1G -nic vde,sock=/tmp/vde,model=virtio

            Without sudo the uplink is a user-mode NAT. Without --switch, vde_vmnet joins an existing VDE switch.
            """)

    @Argument(
        help:
            """
            The VDE network to join:
            PATH: the directory of a VDE switch
            PATH[N]: its port N
            PATH[] or ptp://PATH: a cable without a switch
            With --switch: the directory to create (default: /var/run/vde.ctl for root, else /tmp/vde.ctl).
            Default: the directories that libvdeplug tries; none if --stream, --dgram or --fd is given.
            """
    )
    var vde: String?

    @OptionGroup(title: "Switch")
    var own: SwitchOptions

    @OptionGroup(title: "Other sockets for guests")
    var listeners: ListenerOptions

    @Option(
        help: ArgumentHelp(
            """
            Group that may write to the sockets that vde_vmnet creates in the switch's directory. (default: staff on \
            macOS)
            """,
            valueName: "group"))
    var vdeGroup: String?

    @Option(
        help: ArgumentHelp(
            """
            How guests reach the outside:
            auto: the best that the system and the user's rights allow
            vmnet: vmnet.framework (macOS)
            tap: a TAP with kernel NAT (Linux, needs root)
            user: a user-mode NAT (no privilege needed)
            none: no uplink, a switch only (no privilege needed)
            """,
            valueName: "kind"))
    var uplink: Configuration.UplinkKind = .auto

    @Option(
        help: ArgumentHelp(
            """
            Which networks guests are connected to:
            shared: the host, each other, and the outside through NAT (default)
            host: the host and each other
            bridged: an existing network, through --vmnet-interface
            """,
            valueName: "mode"))
    var vmnetMode: ModeArgument?

    @Option(
        help: ArgumentHelp(
            """
            Interface for bridged mode: a network card or a Linux bridge. 'vde_vmnet interfaces' lists them.
            """, valueName: "interface"))
    var vmnetInterface: String?

    @Option(
        help: ArgumentHelp(
            """
            QEMU's bridge helper, which joins a Linux bridge without privilege. (default: the installed one)
            """,
            valueName: "program"))
    var bridgeHelper: String?

    @Option(
        help: ArgumentHelp(
            """
            The host's address on a shared or host network, such as 192.168.105.1; the mask is given by --vmnet-mask. \
            Guests get addresses from the next one on. (default: 192.168.105.1, or the next free network)
            """,
            valueName: "ip"))
    var vmnetGateway: IPv4Address?

    @Option(
        help: ArgumentHelp(
            """
            Last address assigned to guests. Needs --vmnet-gateway. (default: the network's last address)
            """, valueName: "ip"))
    var vmnetDhcpEnd: IPv4Address?

    @Option(
        help: ArgumentHelp(
            "The network's mask, such as 255.255.255.0, /24 or 24. Needs --vmnet-gateway. (default: 24)",
            valueName: "mask"))
    var vmnetMask: MaskArgument?

    @Option(
        help: ArgumentHelp(
            """
            UUID from which the host's hardware address on the network is derived. (default: derived from the \
            gateway)
            """, valueName: "uuid"))
    var vmnetInterfaceId: UUIDArgument?

    @OptionGroup var vmnet: VmnetOptionGroup

    @Option(
        help: ArgumentHelp(
            """
            Largest IP packet on the network in bytes, announced to guests by DHCP. (default: 1500; with a TAP, the \
            MTU of the host's route if that is smaller)
            """,
            valueName: "bytes"))
    var vmnetMtu: Int?

    @OptionGroup var addresses: AddressOptions

    @OptionGroup var servers: ServerOptions

    @OptionGroup var publishing: PublishOptions

    @OptionGroup var policy: PolicyOptions

    @Option(help: ArgumentHelp("Name of the TAP. (default: the first free of vmnet0, vmnet1, ...)", valueName: "name"))
    var tapName: String?

    @Option(
        help: ArgumentHelp(
            """
            Directory for the DHCP server's leases. (default: /var/lib/vde_vmnet, or $XDG_STATE_HOME/vde_vmnet)
            """,
            valueName: "directory"))
    var stateDir: String?

    @Option(
        name: [.customShort("p", allowingJoined: true), .long],
        help: ArgumentHelp(
            "Write the process id to this file, and refuse to start while another process uses the file.",
            valueName: "file"))
    var pidfile: String?

    @OptionGroup var controlling: ControlOptions

    @OptionGroup var threads: WorkerOptions

    @Option(
        help: ArgumentHelp(
            """
            Log counters of forwarded and dropped frames at this interval, as '[stats] {JSON}' on standard error.
            """,
            valueName: "seconds"))
    var statsInterval: Int?

    @Option(
        help: ArgumentHelp(
            """
            Least severe messages to log: trace, debug, info, notice, warning or error. DEBUG=1 in the environment \
            selects debug.
            """, valueName: "level")
    )
    var logLevel: Logger.Level?

    @Option(
        help: ArgumentHelp(
            """
            How messages on standard error look: text, or json for one JSON object on each line. (default: text; \
            journald gets fields if it reads standard error)
            """, valueName: "format"))
    var logFormat: StandardErrorLog.Format?

    @Flag(name: .customShort("v"), help: "Show the version.")
    var version = false

    package init() {}

    package mutating func validate() throws {
        if version { throw CleanExit.message(programVersion) }
        _ = try makeConfiguration()
    }

    package mutating func run() throws {
        if !own.isSwitch { try Root.checkForMisspelledSubcommand(vde) }
        guard !listeners.hasProgram else { throw ValidationError("--with-program is for 'run' only") }
        let logger = makeLogger()
        let configuration = try makeConfiguration()
        if uplink == .auto, configuration.uplink == .user {
            logger.notice(
                """
                the uplink is a user-mode NAT, because of \(policy.needingUserMode); the host cannot reach guests at \
                their own addresses, use --publish for that
                """
            )
        }
        let daemon = try Daemon(configuration, vmnet: Root.vmnet, logger: logger)
        try daemon.run { [listeners] in
            guard !listeners.fd.isEmpty else { return StandardOutput.write("vde_vmnet: ready: \($0.summary)\n") }
            StandardOutput.write($0.json.text + "\n")
            logger.info("ready: \($0.summary)")
        }
    }

    func makeLogger() -> Logger {
        let level =
            logLevel ?? (CurrentProcess.environment("DEBUG").map { !$0.isEmpty && $0 != "0" } == true ? .debug : .info)
        let format = logFormat ?? .text
        return Logger(label: "vde_vmnet") { _ in StandardErrorLog(logLevel: level, format: format) }
    }

    /// The group of the sockets if --vde-group is not given, as in the C vde_vmnet: `staff` on macOS, which has all
    /// users as members; elsewhere none.
    static var defaultSocketGroup: UInt32? {
        OperatingSystem.isMacOS ? UserDatabase.group(named: "staff") : nil
    }

    // MARK: Checking

    /// The options as a configuration. Changes nothing on the host.
    /// - Throws: `ValidationError` that names the options that cannot be combined, or the value that is invalid.
    func makeConfiguration() throws -> Configuration {
        let locator: VirtualNetworkLocator
        do {
            locator = try VirtualNetworkLocator(vde, home: CurrentProcess.environment("HOME"))
        } catch {
            throw ValidationError(error.description)
        }
        var group = Join.defaultSocketGroup
        if let vdeGroup {
            group = UserDatabase.group(named: vdeGroup)
            if group == nil { throw ValidationError("--vde-group: there is no group '\(vdeGroup)'") }
        }
        // Listeners first: the sockets of the service manager count as listeners in the rules below. With other
        // listeners and no VDE argument, the switch has no directory.
        let inheriting = try listeners.makeListeners(mode: own.vdeMode?.value, group: group)
        let framework = [.auto, .vmnet].contains(uplink) ? Root.vmnet : nil
        let resolved = try OptionRules.check(given(locator, hasVmnet: framework != nil))
        let role =
            try own.makeSwitch(locator, group: group, hasOtherListeners: vde == nil && listeners.isGiven).map {
                Configuration.SwitchRole.server($0)
            } ?? .client(locator)
        var configuration = Configuration(role: role, mode: try makeMode())
        configuration.vdeGroup = group
        configuration.listeners = inheriting
        configuration.isIsolating = own.vmnetIsolation
        configuration.uplink = resolved
        if let vmnetMtu {
            guard Join.mtus.contains(vmnetMtu) else {
                throw ValidationError(
                    "--vmnet-mtu: \(vmnetMtu) is not between \(Join.mtus.lowerBound) and \(Join.mtus.upperBound)")
            }
            configuration.mtu = vmnetMtu
            configuration.isMTUFixed = true
        }
        configuration.network = try makeNetwork()
        configuration.published = try publishing.makePublished(configuration.network)
        configuration.interfaceID = vmnetInterfaceId?.bytes
        configuration.bridgeHelper = try bridgeHelper.map { Files.absolute(try nonEmpty($0, "--bridge-helper")) }
        let vmnetInUse = resolved == .user ? nil : framework
        try addresses.apply(to: &configuration, hasSystemServer: vmnetInUse != nil)
        try vmnet.apply(to: &configuration, vmnet: vmnetInUse)
        try policy.apply(to: &configuration)
        try servers.apply(to: &configuration)
        try controlling.apply(to: &configuration)
        if let tapName {
            guard NetworkInterfaces.isName(tapName)
            else {
                throw ValidationError(
                    """
                    --tap-name: '\(tapName)' cannot be an interface's name: use 1 to \
                    \(NetworkInterfaces.maximumNameLength) characters without white space, / : % " and \\
                    """
                )
            }
        }
        configuration.tapName = tapName
        configuration.workers = try threads.makeWorkers()
        if let statsInterval, !(1...1_000_000).contains(statsInterval) {
            throw ValidationError("--stats-interval: \(statsInterval) is not between 1 and 1000000 seconds")
        }
        configuration.statsInterval = statsInterval
        configuration.stateDirectory = try stateDir.map { try nonEmpty($0, "--state-dir") }
        configuration.pidfile = try pidfile.map { Files.absolute(try nonEmpty($0, "--pidfile")) }
        return configuration
    }

    /// From what every host must accept (RFC 791 section 3.1) to what a TAP of Linux can carry.
    private static let mtus = 576...65_521

    /// The options as the rules see them.
    private func given(_ locator: VirtualNetworkLocator, hasVmnet: Bool) -> GivenOptions {
        var given = GivenOptions()
        given.uplink = uplink
        given.mode = vmnetMode ?? .shared
        given.hasVmnet = hasVmnet
        given.listeners = listeners.listeners
        if own.isSwitch {
            given.listeners.insert(.ownSwitch)
        } else if vde != nil || !listeners.isGiven {
            if case .pointToPoint = locator { given.listeners.insert(.cable) } else { given.listeners.insert(.joined) }
        }
        own.note(in: &given)
        listeners.note(in: &given)
        given.note(.vdeGroup, vdeGroup != nil)
        given.note(.uplinkNone, uplink == .none)
        given.note(.mode, vmnetMode != nil)
        given.note(.bridged, vmnetMode == .bridged)
        given.note(.interface, vmnetInterface != nil)
        given.note(.bridgeHelper, bridgeHelper != nil)
        given.note(.gateway, vmnetGateway != nil)
        given.note(.dhcpEnd, vmnetDhcpEnd != nil)
        given.note(.mask, vmnetMask != nil)
        given.note(.interfaceID, vmnetInterfaceId != nil)
        given.note(.mtu, vmnetMtu != nil)
        publishing.note(in: &given)
        given.note(.tapName, tapName != nil)
        vmnet.note(in: &given)
        addresses.note(in: &given)
        policy.note(in: &given)
        servers.note(in: &given)
        controlling.note(in: &given)
        return given
    }

    private func nonEmpty(_ value: String, _ option: String) throws -> String {
        if value.isEmpty { throw ValidationError("\(option) needs a path") }
        return value
    }

    private func makeMode() throws -> NetworkMode {
        switch vmnetMode {
        case .bridged?:
            guard let vmnetInterface, !vmnetInterface.isEmpty else {
                throw ValidationError(
                    "--vmnet-interface needs the name of an interface; vde_vmnet interfaces lists them")
            }
            return .bridged(interface: vmnetInterface)
        case .host?: return .host
        case .shared?, nil: return .shared
        }
    }

    private func makeNetwork() throws -> GuestNetwork? {
        guard let gateway = vmnetGateway else { return nil }
        let mask = vmnetMask?.address ?? IPv4Address(0xffff_ff00)
        guard let network = IPv4Network(containing: gateway, mask: mask), (8...30).contains(network.prefixLength) else {
            throw ValidationError(
                "--vmnet-mask: \(mask) is not a mask of 8 to 30 leading ones, such as 255.255.255.0 or 24")
        }
        guard network.base.isPrivate, network.broadcast.isPrivate else {
            throw ValidationError(
                """
                --vmnet-gateway: \(network) is not private; use one from 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16 \
                (RFC 1918)
                """
            )
        }
        guard gateway != network.base, gateway != network.broadcast else {
            throw ValidationError(
                """
                --vmnet-gateway: \(gateway) is the \(gateway == network.base ? "first" : "last") address of \
                \(network), which is not a host address; choose another
                """
            )
        }
        if let end = vmnetDhcpEnd {
            guard network.contains(end), end != network.broadcast else {
                throw ValidationError(
                    "--vmnet-dhcp-end: \(end) is not an address for hosts in \(network), the network of the gateway")
            }
            guard gateway < end else {
                throw ValidationError("--vmnet-dhcp-end: \(end) must lie above the gateway \(gateway)")
            }
        } else {
            guard gateway.advanced(by: 1) < network.broadcast else {
                throw ValidationError("--vmnet-gateway: \(gateway) leaves no address for guests above it in \(network)")
            }
        }
        return GuestNetwork(gateway: gateway, prefixLength: network.prefixLength, lastLease: vmnetDhcpEnd)
    }
}
