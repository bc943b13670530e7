// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Daemon
import NetworkConfiguration
import Lifecycle
import Logging
import Platform
import Sessions
import Uplink
import VDESwitch

/// `vde_vmnet switch`: a switch without uplink, with the options of vde_switch(1).
package struct Switch: ParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "switch",
        abstract: "Run a VDE switch without uplink, with the options of vde_switch(1).",
        discussion: """
            Takes the command line of vde_switch. Long options may be written with one dash (-tap tap0). Unless \
            --daemon or --nostdin is given, standard input is the console, and the switch ends at the end of the \
            input. For a switch with an uplink, use vde_vmnet --switch.
            """)

    @Option(
        name: [.customShort("s"), .customLong("sock"), .customLong("unix"), .customLong("vdesock")],
        help: ArgumentHelp(
            "Directory of the switch. (default: /var/run/vde.ctl for root, else /tmp/vde.ctl)",
            valueName: "directory"),
        completion: .directory)
    var sock: String?

    @Option(
        name: [.customShort("t"), .long],
        help: ArgumentHelp(
            "Connect this TAP to a port; it is created if it does not exist. May be repeated.", valueName: "name"))
    var tap: [String] = []

    @Option(name: [.customShort("n"), .long], help: ArgumentHelp("Maximum number of ports.", valueName: "n"))
    var numports = 32

    @Flag(name: [.customShort("x"), .long], help: "Act as a hub: send each frame to all ports.")
    var hub = false

    @Flag(name: [.short, .long], help: "Run in the background once started; messages go to the system log.")
    var daemon = false

    @Flag(help: "Do not run a console on standard input.")
    var nostdin = false

    @Option(
        name: [.customShort("p", allowingJoined: true), .long],
        help: ArgumentHelp("Write the process id to this file.", valueName: "file"),
        completion: .file())
    var pidfile: String?

    @Option(
        name: [.customShort("m"), .customLong("mode"), .customLong("mod")],
        help: ArgumentHelp(
            "Octal mode of the control socket: the users that may join. (default: 0600)", valueName: "mode"),
        transform: OctalMode.parse)
    var mode: OctalMode?

    @Option(
        help: ArgumentHelp("Octal mode of the directory. (default: derived from --mode)", valueName: "mode"),
        transform: OctalMode.parse)
    var dirmode: OctalMode?

    @Option(
        name: [.customShort("g"), .long],
        help: ArgumentHelp("Group of the directory and its sockets.", valueName: "group"),
        completion: Completions.groups)
    var group: String?

    @Option(
        name: [.customShort("M"), .long], help: ArgumentHelp("Create a socket for the console.", valueName: "path"),
        completion: .file())
    var mgmt: String?

    @Option(
        help: ArgumentHelp("Octal mode of the console's socket. (default: 0600)", valueName: "mode"),
        transform: OctalMode.parse)
    var mgmtmode: OctalMode?

    @Option(
        help: ArgumentHelp("Group of the console's socket.", valueName: "group"),
        completion: Completions.groups)
    var mgmtgroup: String?

    @Option(
        name: [.customShort("f"), .long],
        help: ArgumentHelp(
            """
            Run the console commands in this file at start. (default: ~/.vde2/vde_switch.rc or \
            /etc/vde2/vde_switch.rc, if it exists)
            """,
            valueName: "file"),
        completion: .file())
    var rcfile: String?

    @OptionGroup var threads: WorkerOptions

    @Option(
        help: ArgumentHelp(
            "Least severe messages to log: trace, debug, info, notice, warning, error or critical.",
            valueName: "level"))
    var logLevel: Logger.Level = .info

    package init() {}

    package mutating func validate() throws { _ = try makeConfiguration() }

    package mutating func run() throws {
        let configuration = try makeConfiguration()
        let level = logLevel
        let background = Box<Daemonizer?>(nil)
        if daemon {
            do {
                background.value = try Daemonizer()
            } catch {
                throw ExitError(.unavailable, error.explanation)
            }
        }
        let running = try Daemon(
            configuration, logger: Logger(label: "vde_vmnet") { _ in StandardErrorLog(logLevel: level) })
        try running.run { _ in
            guard background.value != nil else { return }
            StandardErrorLog.isInBackground.withLock { $0 = true }
            background.value.take()!.succeed()
        }
    }

    func makeConfiguration() throws -> Configuration {
        guard (1...VirtualSwitch.maximumPorts).contains(numports) else {
            throw ValidationError("--numports: \(numports) is not between 1 and \(VirtualSwitch.maximumPorts)")
        }
        for path in [sock, mgmt, pidfile, rcfile] where path?.isEmpty == true {
            throw ValidationError("a path is empty; --sock, --mgmt, --pidfile and --rcfile need one")
        }
        if mgmt == nil, mgmtmode != nil || mgmtgroup != nil {
            throw ValidationError("--mgmtmode and --mgmtgroup need --mgmt")
        }
        var own = SwitchConfiguration(path: Files.absolute(sock ?? SwitchConfiguration.defaultPath))
        own.access = SwitchAccess(
            mode: mode?.value, directoryMode: dirmode?.value, group: try group.map { try Switch.group($0, "--group") },
            owner: CurrentProcess.sudoCaller)
        own.portLimit = numports
        own.console = try mgmt.map {
            SwitchConfiguration.Console(
                path: Files.absolute($0), mode: mgmtmode?.value ?? 0o600,
                group: try mgmtgroup.map { try Switch.group($0, "--mgmtgroup") })
        }
        let defaults = [
            CurrentProcess.environment("HOME").map { $0 + "/.vde2/vde_switch.rc" }, "/etc/vde2/vde_switch.rc",
        ]
        .compactMap(\.self)
        own.commandFile = rcfile.map { Files.absolute($0) } ?? defaults.first { Files.exists($0) }
        own.isHub = hub
        own.taps = tap
        own.readsStandardInput = !daemon && !nostdin
        var configuration = Configuration(role: .server(own), mode: .shared)
        configuration.uplink = .none
        configuration.workers = try threads.makeWorkers()
        configuration.pidfile = pidfile.map { Files.absolute($0) }
        return configuration
    }

    private static func group(_ name: String, _ option: String) throws -> UInt32 {
        guard let group = UserDatabase.group(named: name) else {
            throw ValidationError("\(option): there is no group '\(name)'; getent group lists those there are")
        }
        return group
    }
}
