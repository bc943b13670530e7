// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Daemon
import Platform
import Uplinks

/// `vde_vmnet`, whose default subcommand is `join`.
package struct Root: ParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "vde_vmnet",
        abstract: "Networking for virtual machines that do not run as root.",
        version: programVersion,
        subcommands: [Join.self, Switch.self, Run.self, Client.self, Check.self, Interfaces.self],
        defaultSubcommand: Join.self)

    /// vmnet.framework, where the program has it. Set for the whole run, and for single tests.
    @TaskLocal static var vmnet: (any VmnetProvider)?

    package init() {}

    /// - Parameters:
    ///   - arguments: the program's, its name first.
    ///   - vmnet: what `--uplink vmnet` uses.
    ///
    /// Parses the command line, runs what it asks for, and ends the process with the status that README lists.
    package static func run(_ arguments: [String], vmnet: (any VmnetProvider)? = nil) -> Never {
        Root.$vmnet.withValue(vmnet) { run(arguments) }
    }

    private static func run(_ arguments: [String]) -> Never {
        StandardOutput.ensureOpen()
        let name = arguments.first.map { String($0.split(separator: "/").last ?? "") }
        let arguments = Array(arguments.dropFirst())
        if name == "socket_vmnet" { SocketVMNet.run(arguments) }
        if name == "socket_vmnet_client" { SocketVMNet.runClient(arguments) }
        // The root's own help would hide the options that everybody needs, those of `join`.
        if let first = arguments.first, arguments.count == 1, ["-h", "--help", "help"].contains(first) {
            StandardOutput.write(help)
            ProcessExit.exit(ExitStatus.success.rawValue)
        }
        if arguments == ["-v"] {
            StandardOutput.write(programVersion + "\n")
            ProcessExit.exit(ExitStatus.success.rawValue)
        }
        do {
            var command = try parseAsRoot(words(arguments))
            try command.run()
            ProcessExit.exit(ExitStatus.success.rawValue)
        } catch let error as ExitError {
            StandardOutput.writeError("vde_vmnet: error: \(error)\n")
            ProcessExit.exit(error.status.rawValue)
        } catch {
            exit(withError: error)
        }
    }

    /// The arguments as the subcommands take them.
    static func words(_ arguments: [String]) throws -> [String] {
        switch arguments.first {
        case "switch": ["switch"] + (try VDESwitchWords.canonical(Array(arguments.dropFirst())))
        case "run": ["run", "--with-program"] + arguments.dropFirst()
        default: arguments
        }
    }

    /// The help of `join`, and a list of the subcommands.
    static var help: String {
        var text = helpMessage(for: Join.self)
        text += "\nSUBCOMMANDS (vde_vmnet SUBCOMMAND --help tells more; a path that is called like one is written ./PATH):\n"
        for command in configuration.subcommands {
            let name = command.configuration.commandName ?? ""
            text += "  \(name)\(String(repeating: " ", count: max(1, 24 - name.count)))\(command.configuration.abstract)\n"
        }
        return text
    }
}
