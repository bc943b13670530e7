// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import NetworkConfiguration
import Lifecycle
import Platform
import VmnetUplink
import Wire

/// `vde_vmnet`, whose default subcommand is `join`.
package struct Root: ParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "vde_vmnet",
        abstract: "Networking for virtual machines that do not run as root.",
        version: programVersion,
        subcommands: [
            Join.self, Switch.self, Run.self, Client.self, Check.self, Interfaces.self, List.self, Status.self,
            Stop.self, Events.self, CaptureCommand.self, Publish.self, Egress.self, Allow.self, Lease.self, Port.self,
            DoctorCommand.self, Version.self,
        ],
        defaultSubcommand: Join.self)

    /// vmnet.framework, where the program has it. Set for the whole run, and for single tests.
    @TaskLocal static var vmnet: (any VmnetProvider)?

    package init() {}

    /// Parses the command line, runs its command, and ends the process with the status that README lists.
    ///
    /// - Parameters:
    ///   - arguments: the program's, its name first.
    ///   - vmnet: what `--uplink vmnet` uses.
    package static func run(_ arguments: [String], vmnet: any VmnetProvider) -> Never {
        Root.$vmnet.withValue(vmnet) { run(arguments) }
    }

    /// The same without vmnet.framework.
    package static func run(_ arguments: [String]) -> Never {
        StandardOutput.ensureOpen()
        let name = arguments.first.map { String($0.split(separator: "/").last ?? "") }
        let arguments = Array(arguments.dropFirst())
        if name == "socket_vmnet" { SocketVMNetAdapter.run(arguments) }
        if name == "socket_vmnet_client" { SocketVMNetAdapter.runClient(arguments) }
        var origins = OptionOrigins()
        do {
            // The root command's own help would omit the options of `join`.
            if let first = arguments.first, arguments.count == 1, ["-h", "--help", "help"].contains(first) {
                throw CleanExit.message(help)
            }
            if arguments == ["-v"] { throw CleanExit.message(programVersion) }
            try HelpTopic.check(arguments)
            let arguments = try normalized(arguments, &origins)
            if let (join, configuration) = Join.direct(arguments) {
                try join.run(configuration)
            } else if let (run, configuration) = Run.direct(arguments) {
                try run.run(configuration)
            } else {
                var command = try parseAsRoot(arguments)
                try command.run()
            }
            StandardErrorLog.flush()
            ProcessExit.exit(ExitStatus.success.rawValue)
        } catch let error as ExitError {
            StandardErrorLog.flush()
            fail(error, origins)
        } catch {
            let status = exitCode(for: error)
            if status.rawValue == ExitStatus.usage.rawValue {
                StandardOutput.writeError(usageMessage(fullMessage(for: error), arguments, origins))
                ProcessExit.exit(ExitStatus.usage.rawValue)
            }
            // The parser's own texts, such as help and completions. Its function for them ignores a full disk.
            let text = fullMessage(for: error)
            do throws(ExitError) {
                if status.isSuccess, !text.isEmpty {
                    try CommandOutput.write(text.hasSuffix("\n") ? text : text + "\n")
                }
            } catch {
                fail(error, origins)
            }
            if !status.isSuccess, !text.isEmpty { StandardOutput.writeError(text + "\n") }
            ProcessExit.exit(status.rawValue)
        }
    }

    private static func fail(_ error: ExitError, _ origins: OptionOrigins) -> Never {
        let notes = origins.notes(on: error.description).map { $0 + "\n" }.joined()
        // Paths in it may have any character.
        let message = PrintableText.message(error.description)
        StandardOutput.writeError("vde_vmnet: error: \(message)\n" + notes)
        ProcessExit.exit(error.status.rawValue)
    }

    /// The parser's message in the form of the program's other messages: the cause, the option's help, and the command
    /// that shows all help; each line with the program's name. The line of a file with options follows the cause.
    static func usageMessage(_ text: String, _ arguments: [String], _ origins: OptionOrigins) -> String {
        var lines = text.split(separator: "\n").prefix { !$0.hasPrefix("Usage:") }.map {
            $0.replacing(text: "Error: ", with: "").replacing(text: "Help:  ", with: "vde_vmnet: ")
        }
        // One line for what the parser lists below each other.
        let listed = lines.filter { $0.hasPrefix("  - ") }.map { $0.dropFirst(4) }
        lines.removeAll { $0.hasPrefix("  - ") }
        if !listed.isEmpty { lines[0] += " " + listed.joined(separator: ", ") }
        // One line for an option's help, which may have a line for each value.
        if let help = lines.firstIndex(where: { $0.hasPrefix("vde_vmnet: -") || $0.hasPrefix("vde_vmnet: <") }) {
            let rest = lines[(help + 1)...].map { String($0.drop { $0 == " " }) }
            lines.removeSubrange((help + 1)...)
            for line in rest { lines[help] += (":.".contains(lines[help].last ?? " ") ? " " : "; ") + line }
        }
        let names = configuration.subcommands.compactMap { $0.configuration.commandName }
        let subcommand = names.first { $0 == arguments.first && $0 != "join" }
        let late = zip(arguments, arguments.dropFirst()).first {
            names.contains($1) && !optionsWithNames.contains($0)
        }?.1
        if subcommand == nil, let late {
            lines.append("vde_vmnet: a subcommand comes before its options: vde_vmnet \(late) ...")
        }
        if subcommand == nil, let word = vdeSwitchOption(in: text) {
            lines.append(
                """
                vde_vmnet: \(word) is an option of vde_switch; use vde_vmnet switch for its options, or vde_vmnet \
                --switch with the directory as argument
                """
            )
        }
        var words = subcommand.map { [$0] } ?? []
        if let group = configuration.subcommands.first(where: { $0.configuration.commandName == subcommand }),
            let nested = group.configuration.subcommands.first(where: {
                $0.configuration.commandName == arguments.dropFirst().first
            })?.configuration.commandName
        {
            words.append(nested)
        }
        if let error = lines.first { lines.insert(contentsOf: origins.notes(on: error), at: 1) }
        return "vde_vmnet: error: " + lines.map { PrintableText.line($0, limit: 16_384) }.joined(separator: "\n")
            + "\nvde_vmnet: all options: \((["vde_vmnet"] + words + ["--help"]).joined(separator: " "))\n"
    }

    /// Options with values that are names of subcommands, too.
    private static let optionsWithNames = ["--egress", "--control-allow"]

    /// The unknown option in the parser's message, if vde_switch has it.
    private static func vdeSwitchOption(in message: String) -> String? {
        guard message.contains(text: "Unknown option"), let word = message.split(separator: "'").dropFirst().first
        else {
            return nil
        }
        return VDESwitchArguments.isKnown(String(word)) ? String(word) : nil
    }

    /// - Throws: if the VDE argument looks like a misspelled subcommand: one word that is not an existing directory.
    static func checkForMisspelledSubcommand(_ vde: String?) throws(ExitError) {
        guard let vde, !vde.isEmpty, !vde.contains("/"), !vde.contains("["), !Files.exists(vde) else { return }
        let names = HelpTopic.names(of: Root.self)
        throw ExitError(
            .usage,
            """
            there is no subcommand '\(vde)', and no directory of that name here; the subcommands are \(names); \
            to create a network: vde_vmnet --switch /tmp/vde; for all options: vde_vmnet --help
            """
        )
    }

    /// The arguments in the form that the subcommands' parsers accept.
    /// - Parameter origins: gets the lines of files with options.
    static func normalized(_ arguments: [String], _ origins: inout OptionOrigins) throws -> [String] {
        switch arguments.first {
        case "switch": ["switch"] + (try VDESwitchArguments.normalized(Array(arguments.dropFirst())))
        case "run":
            ["run", "--with-program"]
                + emptyValues(try OptionsFile.expanded(Array(arguments.dropFirst()), &origins)[...])
        case "client": arguments
        case "check", "interfaces": emptyValues(arguments[...])
        default: emptyValues(try OptionsFile.expanded(arguments, &origins)[...])
        }
    }

    /// The same for a command line whose errors need not name lines of files.
    static func normalized(_ arguments: [String]) throws -> [String] {
        var origins = OptionOrigins()
        return try normalized(arguments, &origins)
    }

    /// Splits `--option=` into the option and an empty value; the parser would take the next argument for the value.
    private static func emptyValues(_ arguments: ArraySlice<String>) -> [String] {
        let end = arguments.firstIndex(of: "--") ?? arguments.endIndex
        return arguments[..<end].flatMap {
            $0.hasPrefix("--") && $0.hasSuffix("=") ? [String($0.dropLast()), ""] : [$0]
        } + arguments[end...]
    }

    /// The help of `join`, and a list of the subcommands.
    static var help: String {
        var text = helpMessage(for: Join.self)
        text +=
            "\nSUBCOMMANDS (vde_vmnet SUBCOMMAND --help has more; write ./PATH for a path with a subcommand's name):\n"
        for command in configuration.subcommands {
            let name = command.configuration.commandName ?? ""
            text +=
                "  \(name)\(String(repeating: " ", count: max(1, 24 - name.count)))\(command.configuration.abstract)\n"
        }
        return text
    }
}
