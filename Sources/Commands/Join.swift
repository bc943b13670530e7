// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Daemon
import Lifecycle
import Logging
import NetworkModel
import Platform
import Uplink
import VDEPlug
import Wire

/// `vde_vmnet [join] VDE`: joins somebody's VDE network and leads it out.
package struct Join: ParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "join",
        abstract: "Give the machines on a VDE network addresses, the host and the outside (default).",
        usage: "vde_vmnet [OPTIONS] [VDE]\nvde_vmnet --switch [OPTIONS] [VDE]\nvde_vmnet --stream PATH [OPTIONS]",
        discussion: """
            Start this, then machines as yourself:

              sudo vde_vmnet --switch /tmp/vde
              qemu-system-x86_64 -m 1G -nic vde,sock=/tmp/vde,model=virtio

            Without sudo the uplink is a user-mode NAT. Without --switch it joins a switch that is there, as vde_switch makes it.
            """)

    @Argument(
        help:
            "The directory of a vde_switch; VDE[N] for its port N; VDE[] or ptp://VDE for a cable without a switch. Default: where libvdeplug looks. With --stream and nothing else: none. With --switch the directory to make; default: /var/run/vde.ctl for root, else /tmp/vde.ctl."
    )
    var vde: String?

    @OptionGroup(title: "Switch")
    var own: SwitchOptions

    @OptionGroup(title: "Other ways in")
    var listeners: ListenerOptions

    @Option(
        help: ArgumentHelp(
            "The group that may use our sockets in the switch's directory. (default: staff on macOS)",
            valueName: "group"))
    var vdeGroup: String?

    @Option(
        help: ArgumentHelp(
            "The way out. auto: what the system offers. vmnet: macOS. tap: a TAP of Linux. user: a NAT in user mode, without privilege. none: a switch and nothing else, without privilege.",
            valueName: "kind"))
    var uplink: Configuration.UplinkKind = .auto

    @Option(
        help: ArgumentHelp(
            "shared: host, guests, and the outside through NAT. host: host and guests only. bridged: part of a network of yours. (default: shared)",
            valueName: "mode"))
    var vmnetMode: ModeArgument?

    @Option(help: ArgumentHelp("For bridged: the interface, a NIC or a Linux bridge.", valueName: "interface"))
    var vmnetInterface: String?

    @Option(
        help: ArgumentHelp(
            "For a Linux bridge, without privilege: QEMU's bridge helper. (default: where it is installed)",
            valueName: "program"))
    var bridgeHelper: String?

    @Option(
        help: ArgumentHelp(
            "For shared and host: the host's address, such as 192.168.105.1, without a mask (--vmnet-mask) (default: that, or the next free network). The next address is the first that guests get.",
            valueName: "ip"))
    var vmnetGateway: IPv4Address?

    @Option(
        help: ArgumentHelp(
            "The last address that guests get. Needs --vmnet-gateway. (default: the network's last)", valueName: "ip"))
    var vmnetDhcpEnd: IPv4Address?

    @Option(
        help: ArgumentHelp(
            "The network's mask, such as 255.255.255.0, /24 or 24. Needs --vmnet-gateway. (default: 24)",
            valueName: "mask"))
    var vmnetMask: MaskArgument?

    @Option(
        help: ArgumentHelp(
            "Makes the host's hardware address on the network. (default: made from the gateway)", valueName: "uuid"))
    var vmnetInterfaceId: UUIDArgument?

    @OptionGroup var vmnet: VmnetOptionGroup

    @Option(
        help: ArgumentHelp(
            "Bytes of the longest IP packet on the network, given to guests by DHCP. (default: 1500; on a TAP guests are given the MTU of the way out where that is smaller)",
            valueName: "bytes"))
    var vmnetMtu: Int?

    @OptionGroup var addresses: AddressOptions

    @OptionGroup var servers: ServerOptions

    @OptionGroup var publishing: PublishOptions

    @OptionGroup var policy: PolicyOptions

    @Option(help: ArgumentHelp("The TAP's name. (default: the first free of vmnet0, vmnet1, ...)", valueName: "name"))
    var tapName: String?

    @Option(
        help: ArgumentHelp(
            "Where leases are kept, if this gives addresses. (default: /var/lib/vde_vmnet, or $XDG_STATE_HOME/vde_vmnet)",
            valueName: "directory"))
    var stateDir: String?

    @Option(
        name: [.customShort("p", allowingJoined: true), .long],
        help: ArgumentHelp("Write our process id here, and refuse to start twice with one file.", valueName: "file"))
    var pidfile: String?

    @OptionGroup var threads: WorkerOptions

    @Option(
        help: ArgumentHelp(
            "Log every so often what has passed and was dropped so far, as '[stats] {JSON}' on standard error.",
            valueName: "seconds"))
    var statsInterval: Int?

    @Option(
        help: ArgumentHelp(
            "trace, debug, info, notice, warning or error. DEBUG=1 in the environment means debug.", valueName: "level")
    )
    var logLevel: Logger.Level?

    @Flag(name: .customShort("v"), help: "Show the version.")
    var version = false

    package init() {}

    package mutating func validate() throws {
        if version { throw CleanExit.message(programVersion) }
        _ = try makeConfiguration()
    }

    package mutating func run() throws {
        if !own.isSwitch { try Root.checkWord(vde) }
        guard !listeners.hasProgram else { throw ValidationError("--with-program is for 'run' only") }
        let logger = makeLogger()
        let configuration = try makeConfiguration()
        if uplink == .auto, configuration.uplink == .user {
            logger.notice(
                "the uplink is a user-mode NAT, which the options need (\(policy.needingUserMode)); this host does not reach guests at their own addresses"
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
            logLevel ?? (Accounts.environment("DEBUG").map { !$0.isEmpty && $0 != "0" } == true ? .debug : .info)
        return Logger(label: "vde_vmnet") { _ in StandardErrorLog(logLevel: level) }
    }

    // MARK: Checking

    /// The options as a configuration, or a `ValidationError` that says what does not fit. Touches nothing.
    func makeConfiguration() throws -> Configuration {
        let locator: PlugLocator
        do {
            locator = try PlugLocator(vde, home: Accounts.environment("HOME"))
        } catch {
            throw ValidationError(error.description)
        }
        var group = Accounts.defaultSocketGroup
        if let vdeGroup {
            group = Accounts.group(named: vdeGroup)
            if group == nil { throw ValidationError("--vde-group: there is no group '\(vdeGroup)'") }
        }
        // Without a VDE argument, but with another way in, a switch without a directory.
        // First, for what the service manager has passed on tells which listeners there are.
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
        if let tapName {
            guard NetworkInterfaces.isName(tapName)
            else {
                throw ValidationError(
                    "--tap-name: '\(tapName)' cannot be an interface's name: 1 to \(NetworkInterfaces.maximumNameLength) characters, none of them white space, / : % \" or \\"
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

    /// What every host must take (RFC 791 section 3.1), and what a TAP of Linux can carry.
    private static let mtus = 576...65_521

    /// The options as the rules see them.
    private func given(_ locator: PlugLocator, hasVmnet: Bool) -> GivenOptions {
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
                "--vmnet-gateway: \(network) is not private; take one from 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16 (RFC 1918)"
            )
        }
        guard gateway != network.base, gateway != network.broadcast else {
            throw ValidationError(
                "--vmnet-gateway: \(gateway) is the \(gateway == network.base ? "first" : "last") address of \(network), which no host can have"
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
