// SPDX-License-Identifier: Apache-2.0

extension CommandDescription {
    /// The options that every subcommand of this command has, and the command itself has not.
    var commonActionOptions: [ArgumentDescription] {
        guard let first = actions.first else { return [] }
        return first.options.filter { option in
            !options.contains(option) && actions.allSatisfy { $0.options.contains(option) }
        }
    }
}

/// The page of a command with subcommands, such as `vde_vmnet lease`, describes these too.
extension ManualPage {
    /// How a command, or each of its subcommands, is typed.
    static func synopses(
        _ words: [String], _ command: CommandDescription, options: [ArgumentDescription],
        positionals: [ArgumentDescription], hasBase: Bool
    ) -> String {
        guard !command.actions.isEmpty else {
            return synopsis(words, options: options, positionals: positionals, hasBase: hasBase)
        }
        return command.actions.map { action in
            synopsis(
                words + [action.commandName], options: action.options, positionals: action.positionals, hasBase: false)
        }.joined()
    }

    /// The section with an item for each subcommand; empty without subcommands.
    static func subcommandList(_ command: CommandDescription) -> String {
        guard !command.actions.isEmpty else { return "" }
        let known = command.options + command.commonActionOptions
        let items = command.actions.map { action in
            let values = action.positionals.map { " " + escapedArgument($0.valueName ?? "argument") }.joined()
            let text = [action.abstract, action.discussion].compactMap(\.self).map { paragraph($0) }
                .joined(separator: ".Pp\n")
            let arguments = action.positionals + action.options.filter { !known.contains($0) }
            let list =
                arguments.isEmpty
                ? "" : ".Bl -tag -width Ds -compact\n" + arguments.map { item($0) }.joined() + ".El\n"
            return ".It Cm \(action.commandName)" + (values.isEmpty ? "" : " Ar" + values) + "\n" + text + list
        }
        return ".Sh SUBCOMMANDS\n.Bl -tag -width Ds\n" + items.joined() + ".El\n"
    }
}
