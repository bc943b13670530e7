// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import NetworkConfiguration
import Lifecycle
import Platform
import Wire

/// The program when it is started under the name `socket_vmnet`: a stream listener with the options, defaults and exit
/// statuses of that program (lima-vm/socket_vmnet, cli.c and main.c), as a drop-in replacement for Lima, Colima and
/// others.
struct SocketVMNetAdapter: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "socket_vmnet",
        abstract: "vde_vmnet with the options of socket_vmnet.",
        usage: "socket_vmnet [OPTION]... SOCKET",
        version: programVersion)

    @Argument(help: "The socket to create.")
    var socket: String

    @Option(help: ArgumentHelp("Group that may connect to the socket. (default: staff)", valueName: "group"))
    var socketGroup: String?

    @Option(help: ArgumentHelp("host, shared or bridged.", valueName: "mode"))
    var vmnetMode: ModeArgument = .shared

    @Option(help: ArgumentHelp("Interface for bridged mode.", valueName: "interface"))
    var vmnetInterface: String?

    @Option(
        help: ArgumentHelp(
            "The host's address in host and shared mode. Guests get addresses from the next one on.", valueName: "ip"),
        transform: IPv4Address.parse)
    var vmnetGateway: IPv4Address?

    @Option(
        help: ArgumentHelp(
            "Last address assigned to guests. Needs --vmnet-gateway. (default: x.x.x.254)", valueName: "ip"),
        transform: IPv4Address.parse)
    var vmnetDhcpEnd: IPv4Address?

    @Option(
        help: ArgumentHelp("The network's mask. Needs --vmnet-gateway. (default: 255.255.255.0)", valueName: "mask"),
        transform: MaskArgument.parse)
    var vmnetMask: MaskArgument?

    @Option(
        help: ArgumentHelp("UUID from which the host's hardware address is derived.", valueName: "uuid"),
        transform: UUIDArgument.parse)
    var vmnetInterfaceId: UUIDArgument?

    @Option(
        help: ArgumentHelp(
            """
            UUID of an isolated host network without DHCP, or 'random'. Empty: the shared host network. Host mode \
            without --vmnet-gateway only.
            """,
            valueName: "uuid"))
    var vmnetNetworkIdentifier: String = "random"

    @Option(
        help: ArgumentHelp(
            "IPv6 prefix of the network behind NAT, such as fd00:1:2:3:: (macOS, shared mode).", valueName: "prefix")
    )
    var vmnetNat66Prefix: String?

    @Flag(help: "Do not assign addresses to guests.")
    var vmnetDisableDhcp = false

    @Option(
        name: [.customShort("p", allowingJoined: true), .long],
        help: ArgumentHelp("Write the process id to this file.", valueName: "file"))
    var pidfile: String?

    /// The group that socket_vmnet gives its socket to.
    static let defaultGroup = "staff"

    func validate() throws {
        guard
            vmnetNetworkIdentifier.isEmpty || vmnetNetworkIdentifier == "random"
                || UUIDArgument(argument: vmnetNetworkIdentifier) != nil
        else {
            throw ValidationError(
                "--vmnet-network-identifier: '\(vmnetNetworkIdentifier)' is not a UUID, 'random' or empty")
        }
    }

    /// The same as arguments of `join`.
    /// - Parameters:
    ///   - hasVmnet: whether vmnet.framework is there.
    ///   - isGroup: whether a group exists.
    func arguments(hasVmnet: Bool, isGroup: (String) -> Bool) -> [String] {
        var words = ["join", "--stream", ListenerArgument.escaped(socket), "--vmnet-mode", vmnetMode.rawValue]
        func add(_ option: String, _ value: String?) { if let value { words += [option, value] } }
        // Without that group on the system, the socket belongs to the user that called sudo.
        if let socketGroup {
            words += ["--socket-group", socketGroup, "--vde-mode", "0770"]
        } else if isGroup(SocketVMNetAdapter.defaultGroup) {
            words += ["--socket-group", SocketVMNetAdapter.defaultGroup, "--vde-mode", "0770"]
        }
        add("--vmnet-interface", vmnetInterface)
        add("--vmnet-gateway", vmnetGateway?.description)
        add("--vmnet-dhcp-end", (vmnetDhcpEnd ?? defaultEnd)?.description)
        add("--vmnet-mask", vmnetMask?.address.description)
        add("--vmnet-interface-id", vmnetInterfaceId?.text)
        add("--vmnet-nat66-prefix", vmnetNat66Prefix)
        let isNetworkOfItsOwn = vmnetMode == .host && vmnetGateway == nil && !vmnetNetworkIdentifier.isEmpty
        if isNetworkOfItsOwn || vmnetDisableDhcp { words += ["--dhcp", "off"] }
        if isNetworkOfItsOwn && hasVmnet {
            let identifier =
                UUIDArgument(argument: vmnetNetworkIdentifier)
                ?? UUIDArgument(bytes: (0..<16).map { _ in Random.value() })
            words += ["--vmnet-network-identifier", identifier.text]
        }
        add("--pidfile", pidfile)
        return words
    }

    /// 254 in the last place, whatever the mask is, as long as that lies in the network.
    private var defaultEnd: IPv4Address? {
        guard let gateway = vmnetGateway,
            let network = IPv4Network(containing: gateway, mask: vmnetMask?.address ?? IPv4Address(0xffff_ff00))
        else { return nil }
        let end = IPv4Address(gateway.value & 0xffff_ff00 | 254)
        return network.contains(end) && end != network.broadcast && gateway < end ? end : nil
    }

    /// The arguments with long options in full. getopt_long(3) accepts unambiguous abbreviations, and an empty value
    /// after `=`.
    static func normalized(_ arguments: [String]) -> [String] {
        let names = [
            "socket-group", "vmnet-mode", "vmnet-interface", "vmnet-gateway", "vmnet-dhcp-end", "vmnet-mask",
            "vmnet-interface-id", "vmnet-network-identifier",
            "vmnet-nat66-prefix", "vmnet-disable-dhcp", "pidfile", "help", "version",
        ]
        return arguments.flatMap { argument -> [String] in
            if argument == "-v" { return ["--version"] }
            guard argument.hasPrefix("--"), argument.count > 2 else { return [argument] }
            let name = argument.dropFirst(2).prefix { $0 != "=" }
            let found = names.contains(String(name)) ? [String(name)] : names.filter { $0.hasPrefix(name) }
            guard found.count == 1 else { return [argument] }
            let value = argument.dropFirst(2 + name.count)
            return value == "=" ? ["--" + found[0], ""] : ["--" + found[0] + value]
        }
    }

    /// Runs as socket_vmnet: 0 for help and version, 1 for everything else, the end by a signal included.
    static func run(_ arguments: [String]) -> Never {
        do {
            let command = try parse(normalized(arguments))
            let hasVmnet = Root.vmnet != nil
            if command.vmnetGateway == nil && command.vmnetMode == .shared {
                StandardOutput.writeError(
                    "socket_vmnet: warning: without --vmnet-gateway the network may change between runs; give one\n"
                )
            }
            guard
                let join = try Root.parseAsRoot(
                    command.arguments(hasVmnet: hasVmnet) { UserDatabase.group(named: $0) != nil })
                    as? Join
            else { ProcessExit.exit(1) }
            // Lima takes a pidfile with a number in it as the sign that the network is ready.
            var configuration = try join.makeConfiguration()
            configuration.pidfileReportsReady = true
            try join.run(configuration)
            ProcessExit.exit(1)
        } catch let error as ExitError {
            StandardOutput.writeError("socket_vmnet: error: \(error)\n")
            ProcessExit.exit(1)
        } catch {
            if exitCode(for: error).isSuccess {
                do throws(ExitError) {
                    try CommandOutput.write(fullMessage(for: error) + "\n")
                    ProcessExit.exit(0)
                } catch {
                    StandardOutput.writeError("socket_vmnet: error: \(error)\n")
                    ProcessExit.exit(1)
                }
            }
            StandardOutput.writeError(
                "socket_vmnet: error: \(message(for: error))\n"
                    + "Usage: socket_vmnet [OPTION]... SOCKET (socket_vmnet --help lists the options)\n"
            )
            ProcessExit.exit(1)
        }
    }

    /// Runs as socket_vmnet_client: its program's exit status, or 1.
    static func runClient(_ arguments: [String]) -> Never {
        var command = arguments.dropFirst()
        if command.first == "--" { command = command.dropFirst() }
        guard let socket = arguments.first, !command.isEmpty else {
            StandardOutput.writeError("Usage: socket_vmnet_client SOCKET COMMAND [ARGS...]\n")
            ProcessExit.exit(1)
        }
        do throws(SystemError) {
            let connection = try Client.connect(to: socket)
            try GuestProgram.exec(Array(command), descriptor: connection.raw)
        } catch {
            StandardOutput.writeError("socket_vmnet_client: \(error)\n")
        }
        ProcessExit.exit(1)
    }
}
