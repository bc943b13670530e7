// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Lifecycle
import Platform

/// The words after `help`, and before `--help`. The parser shows the help of the last command that it finds among
/// them, and ignores the others.
enum HelpTopic {
    private static let flags: Set<String> = ["-h", "--help", "help"]

    /// - Throws: `usage` if the arguments request the help of a subcommand that does not exist.
    static func check(_ arguments: [String]) throws(ExitError) {
        guard arguments.prefix(while: { $0 != "--" }).contains(where: flags.contains) else { return }
        if arguments.count == 2, !arguments[0].hasPrefix("-"), subcommand(arguments[0], of: Root.self) == nil,
            !flags.contains(arguments[0])
        {
            try Root.checkForMisspelledSubcommand(arguments[0])
        }
        var command: any ParsableCommand.Type = Root.self
        var path = "vde_vmnet"
        var isTopic = false
        for word in arguments {
            if word == "help", !isTopic, !command.configuration.subcommands.isEmpty {
                isTopic = true
            } else if let next = subcommand(word, of: command) {
                command = next
                path += " " + word
            } else if isTopic, !flags.contains(word) {
                throw ExitError(.usage, "there is no help on '\(word)'; \(nextStep(path, command))")
            } else {
                // After a command without subcommands, words are its arguments.
                guard command != Root.self, !command.configuration.subcommands.isEmpty, !word.hasPrefix("-") else {
                    return
                }
                throw ExitError(.usage, "there is no subcommand '\(word)' of \(path); \(nextStep(path, command))")
            }
        }
    }

    /// The names of a command's subcommands, with commas.
    static func names(of command: any ParsableCommand.Type) -> String {
        command.configuration.subcommands.compactMap { $0.configuration.commandName }.joined(separator: ", ")
    }

    private static func subcommand(_ word: String, of command: any ParsableCommand.Type) -> (any ParsableCommand.Type)?
    {
        command.configuration.subcommands.first { $0.configuration.commandName == word }
    }

    private static func nextStep(_ path: String, _ command: any ParsableCommand.Type) -> String {
        let names = names(of: command)
        return names.isEmpty ? "all options: \(path) --help" : "the subcommands of \(path) are \(names)"
    }
}
