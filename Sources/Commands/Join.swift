// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import ControlProtocol
import Daemon
import NetworkConfiguration
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
            Default: the directories that libvdeplug tries; none with a socket of another kind (--stream, --fd, ...).
            """,
        completion: .directory)
    var vde: String?

    @OptionGroup var file: OptionsFileOption

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
            valueName: "group"),
        completion: Completions.groups)
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
            Interface for bridged mode: a NIC or a Linux bridge. 'vde_vmnet interfaces' lists them.
            """, valueName: "interface"),
        completion: Completions.interfaces)
    var vmnetInterface: String?

    @Option(
        help: ArgumentHelp(
            """
            QEMU's bridge helper, which joins a Linux bridge without privilege. (default: the installed one)
            """,
            valueName: "program"),
        completion: .file())
    var bridgeHelper: String?

    @Option(
        help: ArgumentHelp(
            """
            The host's address on a shared or host network, such as 192.168.105.1; the mask is given by --vmnet-mask. \
            Guests get addresses from the next one on. (default: 192.168.105.1, or the next free network)
            """,
            valueName: "ip"), transform: IPv4Address.parse)
    var vmnetGateway: IPv4Address?

    @Option(
        help: ArgumentHelp(
            """
            Last address assigned to guests. Needs --vmnet-gateway. (default: the network's last address)
            """, valueName: "ip"), transform: IPv4Address.parse)
    var vmnetDhcpEnd: IPv4Address?

    @Option(
        help: ArgumentHelp(
            "The network's mask, such as 255.255.255.0, /24 or 24. Needs --vmnet-gateway. (default: 24)",
            valueName: "mask"), transform: MaskArgument.parse)
    var vmnetMask: MaskArgument?

    @Option(
        help: ArgumentHelp(
            """
            UUID from which the host's hardware address on the network is derived. (default: derived from the \
            gateway)
            """, valueName: "uuid"), transform: UUIDArgument.parse)
    var vmnetInterfaceId: UUIDArgument?

    @OptionGroup var vmnet: VmnetOptionGroup

    @Option(
        help: ArgumentHelp(
            """
            Largest IP packet on the network in bytes, announced to guests by DHCP. (default: 1500; with a TAP, the \
            MTU of the host's route if that is smaller)
            """,
            valueName: "bytes"), transform: Int.parse)
    var vmnetMtu: Int?

    @OptionGroup var addresses: AddressOptions

    @OptionGroup var leases: LeaseOptions

    @OptionGroup var servers: ServerOptions

    @OptionGroup var publishing: PublishOptions

    @OptionGroup var policy: PolicyOptions

    @Option(help: ArgumentHelp("Name of the TAP. (default: the first free of vmnet0, vmnet1, ...)", valueName: "name"))
    var tapName: String?

    @Option(
        help: ArgumentHelp(
            """
            Directory for the DHCP server's leases. (default: /var/lib/vde_vmnet; without privilege \
            vde_vmnet in $XDG_STATE_HOME, or in ~/.local/state)
            """,
            valueName: "directory"),
        completion: .directory)
    var stateDir: String?

    @Option(
        name: [.customShort("p", allowingJoined: true), .long],
        help: ArgumentHelp(
            "Write the process id to this file, and refuse to start while another process uses the file.",
            valueName: "file"),
        completion: .file())
    var pidfile: String?

    @OptionGroup var controlling: ControlOptions

    @OptionGroup var threads: WorkerOptions

    @Option(
        help: ArgumentHelp(
            """
            Log counters of forwarded and dropped frames at this interval, as '[stats] {JSON}' on standard error.
            """,
            valueName: "seconds"), transform: Int.parse)
    var statsInterval: Int?

    @Option(
        help: ArgumentHelp(
            """
            Least severe messages to log: trace, debug, info, notice, warning, error or critical. DEBUG=1 in the \
            environment selects debug.
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

    package mutating func run() throws { try run(makeConfiguration()) }

    /// - Parameter configuration: that of the options.
    func run(_ configuration: Configuration) throws {
        if !own.isSwitch { try Root.checkForMisspelledSubcommand(vde) }
        guard !listeners.hasProgram else { throw ValidationError("--with-program is for 'run' only") }
        let logger = makeLogger()
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
            guard listeners.announcesByJSON else {
                return StandardOutput.writeIfPossible(
                    "vde_vmnet: ready: \(PrintableText.line($0.summary, limit: 16_384))\n")
            }
            StandardOutput.writeIfPossible($0.json.text + "\n")
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
}
