// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Daemon
import Lifecycle
import Logging
import Platform
import Sessions
import Uplink
import VDESwitch

/// `vde_vmnet switch`: a plain switch, started in the words of vde_switch(1).
package struct Switch: ParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "switch",
        abstract: "Be a plain VDE switch, in the words of vde_switch(1).",
        discussion: """
            A script that starts vde_switch can start this with the same line. Long options may be written with one dash (-tap tap0). \
            Unless it is a daemon, standard input is its console, and the end of that its end. For a switch with a way out: vde_vmnet --switch.
            """)

    @Option(
        name: [.customShort("s"), .customLong("sock"), .customLong("unix"), .customLong("vdesock")],
        help: ArgumentHelp(
            "The directory of the switch. (default: /var/run/vde.ctl for root, else /tmp/vde.ctl)",
            valueName: "directory"))
    var sock: String?

    @Option(
        name: [.customShort("t"), .long],
        help: ArgumentHelp(
            "A TAP that becomes a port; it is made if need be. May be given several times.", valueName: "name"))
    var tap: [String] = []

    @Option(name: [.customShort("n"), .long], help: ArgumentHelp("How many ports there are at most.", valueName: "n"))
    var numports = 32

    @Flag(name: [.customShort("x"), .long], help: "Be a hub: every frame goes to everybody.")
    var hub = false

    @Flag(name: [.short, .long], help: "Go into the background once started; messages go to the system's log.")
    var daemon = false

    @Flag(help: "No console on standard input.")
    var nostdin = false

    @Option(
        name: [.customShort("p", allowingJoined: true), .long],
        help: ArgumentHelp("Write our process id here.", valueName: "file"))
    var pidfile: String?

    @Option(
        name: [.customShort("m"), .customLong("mode"), .customLong("mod")],
        help: ArgumentHelp("Who may join: octal mode of the control socket. (default: 0600)", valueName: "mode"))
    var mode: OctalMode?

    @Option(help: ArgumentHelp("Octal mode of the directory. (default: made from --mode)", valueName: "mode"))
    var dirmode: OctalMode?

    @Option(
        name: [.customShort("g"), .long],
        help: ArgumentHelp("The group of the directory and the sockets.", valueName: "group"))
    var group: String?

    @Option(name: [.customShort("M"), .long], help: ArgumentHelp("A socket for the console.", valueName: "path"))
    var mgmt: String?

    @Option(help: ArgumentHelp("Octal mode of the console's socket. (default: 0600)", valueName: "mode"))
    var mgmtmode: OctalMode?

    @Option(help: ArgumentHelp("The group of the console's socket.", valueName: "group"))
    var mgmtgroup: String?

    @Option(
        name: [.customShort("f"), .long],
        help: ArgumentHelp(
            "Console commands to carry out at start. (default: ~/.vde2/vde_switch.rc or /etc/vde2/vde_switch.rc, if there is one)",
            valueName: "file"))
    var rcfile: String?

    @OptionGroup var threads: WorkerOptions

    @Option(help: ArgumentHelp("trace, debug, info, notice, warning or error.", valueName: "level"))
    var logLevel: Logger.Level = .info

    package init() {}

    package mutating func validate() throws { _ = try makeConfiguration() }

    package mutating func run() throws {
        let configuration = try makeConfiguration()
        let level = logLevel
        let background = Holder()
        if daemon {
            do {
                background.start = try BackgroundStart()
            } catch {
                throw ExitError(.unavailable, error.description)
            }
        }
        let running = try Daemon(
            configuration, logger: Logger(label: "vde_vmnet") { _ in StandardErrorLog(logLevel: level) })
        try running.run { _ in
            guard background.start != nil else { return }
            StandardErrorLog.isInBackground.withLock { $0 = true }
            background.start.take()!.succeed()
        }
    }

    private final class Holder {
        var start: BackgroundStart?
    }

    func makeConfiguration() throws -> Configuration {
        guard (1...VirtualSwitch.maximumPorts).contains(numports) else {
            throw ValidationError("--numports: \(numports) is not between 1 and \(VirtualSwitch.maximumPorts)")
        }
        for path in [sock, mgmt, pidfile, rcfile] where path?.isEmpty == true {
            throw ValidationError("an empty path was given")
        }
        if mgmt == nil, mgmtmode != nil || mgmtgroup != nil {
            throw ValidationError("--mgmtmode and --mgmtgroup need --mgmt")
        }
        var own = SwitchConfiguration(path: Files.absolute(sock ?? SwitchConfiguration.defaultPath))
        own.access = SwitchAccess(
            mode: mode?.value, directoryMode: dirmode?.value, group: try group.map { try Switch.group($0, "--group") },
            owner: Accounts.sudoCaller)
        own.portLimit = numports
        own.console = try mgmt.map {
            SwitchConfiguration.Console(
                path: Files.absolute($0), mode: mgmtmode?.value ?? 0o600,
                group: try mgmtgroup.map { try Switch.group($0, "--mgmtgroup") })
        }
        let defaults = [Accounts.environment("HOME").map { $0 + "/.vde2/vde_switch.rc" }, "/etc/vde2/vde_switch.rc"]
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
        guard let group = Accounts.group(named: name) else {
            throw ValidationError("\(option): there is no group '\(name)'")
        }
        return group
    }
}

/// vde_switch's command line as ours. It takes long options with one dash and abbreviated, as getopt_long_only(3) does.
enum VDESwitchWords {
    private static let withValue: Set<String> = [
        "sock", "unix", "vdesock", "tap", "numports", "pidfile", "mode", "mod", "dirmode", "group", "mgmt", "mgmtmode",
        "mgmtgroup", "rcfile", "workers", "log-level",
    ]
    private static let flags: Set<String> = ["hub", "daemon", "nostdin", "help", "version"]
    /// Words of vde_switch that are not offered, with the reason.
    private static let unknown: [String: String] = [
        "fstp": "there is no spanning tree: a loop is found by itself, and one of its ports closed",
        "F": "there is no spanning tree: a loop is found by itself, and one of its ports closed",
        "macaddr": "it is the address of the spanning tree, which is not offered",
        "priority": "it is a setting of the spanning tree, which is not offered",
        "hashsize": "the address table has a fixed size", "debugclients": "the console has no debug categories",
        "D": "the console has no debug categories",
    ]

    /// The arguments with every long option written out and with two dashes.
    static func canonical(_ arguments: [String]) throws(ExitError) -> [String] {
        var result: [String] = []
        var isValue = false
        for (index, argument) in arguments.enumerated() {
            if isValue || argument == "-" || !argument.hasPrefix("-") {
                isValue = false
                result.append(argument)
                continue
            }
            if argument == "--" { return result + arguments[index...] }
            let name = String(argument.drop { $0 == "-" }.prefix { $0 != "=" })
            let rest = argument.drop { $0 == "-" }.dropFirst(name.count)
            if let reason = unknown[name] { throw ExitError(.usage, "\(argument): \(reason); leave it out") }
            if !argument.hasPrefix("--"), name.count == 1 || expand(name) == nil {
                let (words, needsValue) = letters(argument.dropFirst())
                result += words
                isValue = needsValue
            } else if let long = expand(name) {
                result.append("--" + long + rest)
                isValue = withValue.contains(long) && rest.isEmpty
            } else {
                result.append(argument)
            }
        }
        return result
    }

    /// Letters behind one dash: flags, until one takes the rest, or the next word, for its value.
    private static func letters(_ text: Substring) -> (words: [String], needsValue: Bool) {
        var words: [String] = []
        var rest = text
        while let letter = rest.popFirst() {
            words.append(letter == "v" ? "--version" : "-\(letter)")
            guard "stnpmgMf".contains(letter) else { continue }
            if rest.isEmpty { return (words, true) }
            return (words + [String(rest)], false)
        }
        return (words, false)
    }

    /// Whether `word` is an option of vde_switch.
    static func isKnown(_ word: String) -> Bool {
        let name = String(word.drop { $0 == "-" })
        return unknown[name] != nil || withValue.union(flags).contains(name)
            || (name.count == 1 && "stnpmgMfxdFD".contains(name))
    }

    /// The option that `name` is, or begins in only one way.
    private static func expand(_ name: String) -> String? {
        let all = withValue.union(flags)
        if all.contains(name) { return name }
        let candidates = all.filter { $0.hasPrefix(name) }
        return candidates.count == 1 ? candidates.first : nil
    }
}
