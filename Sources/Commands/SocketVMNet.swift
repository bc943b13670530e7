// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Daemon
import Lifecycle
import Platform
import Wire

/// What this program is when it is called `socket_vmnet`: a stream listener with the options, defaults and exit
/// statuses of that program (lima-vm/socket_vmnet, cli.c and main.c), so that Lima, Colima and others start it without
/// knowing. It is told apart by its name only.
struct SocketVMNet: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "socket_vmnet",
        abstract: "vde_vmnet in the words of socket_vmnet.",
        usage: "socket_vmnet [OPTION]... SOCKET",
        version: programVersion)

    @Argument(help: "The socket to make.")
    var socket: String

    @Option(help: ArgumentHelp("The group that may use the socket. (default: staff)", valueName: "group"))
    var socketGroup: String?

    @Option(help: ArgumentHelp("host, shared or bridged.", valueName: "mode"))
    var vmnetMode: ModeArgument = .shared

    @Option(help: ArgumentHelp("For bridged: the interface.", valueName: "interface"))
    var vmnetInterface: String?

    @Option(
        help: ArgumentHelp(
            "For host and shared: the host's address; the next is the first that guests get.", valueName: "ip"))
    var vmnetGateway: IPv4Address?

    @Option(
        help: ArgumentHelp(
            "The last address that guests get. Needs --vmnet-gateway. (default: x.x.x.254)", valueName: "ip"))
    var vmnetDhcpEnd: IPv4Address?

    @Option(help: ArgumentHelp("Needs --vmnet-gateway. (default: 255.255.255.0)", valueName: "mask"))
    var vmnetMask: MaskArgument?

    @Option(help: ArgumentHelp("Makes the hardware address of the host's end.", valueName: "uuid"))
    var vmnetInterfaceId: UUIDArgument?

    @Option(
        help: ArgumentHelp(
            "A UUID, 'random', or nothing. For host without --vmnet-gateway: a network of its own, without DHCP; with nothing, a common one.",
            valueName: "uuid"))
    var vmnetNetworkIdentifier: String = "random"

    @Option(
        help: ArgumentHelp("macOS, for shared: the IPv6 network behind NAT, such as fd00:1:2:3::.", valueName: "prefix")
    )
    var vmnetNat66Prefix: String?

    @Flag(help: "Give no addresses.")
    var vmnetDisableDhcp = false

    @Option(
        name: [.customShort("p", allowingJoined: true), .long],
        help: ArgumentHelp("Write our process id here.", valueName: "file"))
    var pidfile: String?

    /// The group that socket_vmnet gives its socket to.
    static let defaultGroup = "staff"

    func validate() throws {
        guard
            vmnetNetworkIdentifier.isEmpty || vmnetNetworkIdentifier == "random"
                || UUIDArgument(argument: vmnetNetworkIdentifier) != nil
        else {
            throw ValidationError(
                "--vmnet-network-identifier: '\(vmnetNetworkIdentifier)' is neither a UUID nor 'random' nor nothing")
        }
    }

    /// The same in the words of `join`.
    /// - Parameters:
    ///   - hasVmnet: whether vmnet.framework is there.
    ///   - isGroup: whether a group exists.
    func words(hasVmnet: Bool, isGroup: (String) -> Bool) -> [String] {
        var words = ["join", "--stream", socket, "--vmnet-mode", vmnetMode.rawValue]
        func add(_ option: String, _ value: String?) { if let value { words += [option, value] } }
        // A system without the group has nobody who would expect it: the socket is then for who called sudo.
        if let socketGroup {
            words += ["--socket-group", socketGroup, "--vde-mode", "0770"]
        } else if isGroup(SocketVMNet.defaultGroup) {
            words += ["--socket-group", SocketVMNet.defaultGroup, "--vde-mode", "0770"]
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

    /// Long options in full: getopt_long(3) takes them shortened, and an empty value behind `=`.
    static func canonical(_ arguments: [String]) -> [String] {
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
            let command = try parse(canonical(arguments))
            let hasVmnet = Root.vmnet != nil
            if command.vmnetGateway == nil && command.vmnetMode == .shared {
                StandardOutput.writeError(
                    "socket_vmnet: warning: give --vmnet-gateway, so that the network does not depend on what else is running\n"
                )
            }
            guard
                var join = try Root.parseAsRoot(command.words(hasVmnet: hasVmnet) { Accounts.group(named: $0) != nil })
                    as? Join
            else { ProcessExit.exit(1) }
            try join.run()
            ProcessExit.exit(1)
        } catch let error as ExitError {
            StandardOutput.writeError("socket_vmnet: error: \(error)\n")
            ProcessExit.exit(1)
        } catch {
            if exitCode(for: error).isSuccess {
                StandardOutput.write(fullMessage(for: error) + "\n")
                ProcessExit.exit(0)
            }
            StandardOutput.writeError(
                "socket_vmnet: error: \(message(for: error))\nUsage: socket_vmnet [OPTION]... SOCKET (socket_vmnet --help lists the options)\n"
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
            try GuestProgram.become(Array(command), descriptor: connection.raw)
        } catch {
            StandardOutput.writeError("socket_vmnet_client: \(error)\n")
        }
        ProcessExit.exit(1)
    }
}
