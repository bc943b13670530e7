// SPDX-License-Identifier: Apache-2.0

/// The completion script for fish.
enum FishCompletions {
    static func script(_ program: ProgramDescription) -> String {
        let name = program.command.commandName
        let commands = program.subcommands
        let nested = commands.flatMap { command in command.actions.map { "\(command.commandName):\($0.commandName)" } }
            .joined(separator: " ")
        var lines: [String] = []
        for command in commands {
            lines.append(
                "complete -c \(name) -n '__\(name)_is_first' -a \(command.commandName) -d "
                    + quoted(summary(command.abstract ?? "")))
        }
        for command in commands {
            lines += command.options.map { option(command.commandName, $0, name) }
            lines += positionals(command.commandName, command, name)
            for action in command.actions {
                lines.append(
                    "complete -c \(name) -n '__\(name)_is \(command.commandName)' -a \(action.commandName) -d "
                        + quoted(summary(action.abstract ?? "")))
                let words = "\"\(command.commandName) \(action.commandName)\""
                lines += action.options.map { option(words, $0, name) }
                lines += positionals(words, action, name)
            }
            if command.positionals.contains(where: { $0.parsingStrategy != "default" }) {
                lines.append(
                    "complete -c \(name) -n '__\(name)_has_program \(command.commandName)' -x "
                        + "-a '(__\(name)_program)'")
            }
        }
        return """
            # Completions of \(name) for fish. Made by command_reference.

            function __\(name)_is_first
                test (count (commandline -opc)) -eq 1
            end

            # The subcommand that the line has, or the default one.
            function __\(name)_command
                set -l words (commandline -opc)
                if set -q words[2]; and contains -- $words[2] \(commands.map(\.commandName).joined(separator: " "))
                    if set -q words[3]; and contains -- $words[2]:$words[3] \(nested)
                        echo $words[2] $words[3]
                    else
                        echo $words[2]
                    end
                else
                    echo \(program.defaultCommand.commandName)
                end
            end

            # Whether the line is one of subcommand $argv[1], and the program to start is not yet named.
            function __\(name)_is
                test (__\(name)_command) = "$argv[1]"; and not __\(name)_has_program $argv[1]
            end

            # Whether the line has that many words before the one that is typed.
            function __\(name)_has
                test (count (commandline -opc)) -eq $argv[1]
            end

            # The number of words before the program that `run` or `client` starts; fails before it.
            function __\(name)_has_program
                test (__\(name)_command) = "$argv[1]"; and __\(name)_offset >/dev/null
            end

            function __\(name)_offset
                set -l words (commandline -opc)
                switch (__\(name)_command)
                    case run
                        contains -i -- -- $words
                    case client
                        test (count $words) -ge 3; and echo 3
                    case '*'
                        return 1
                end
            end

            # Completes the command line of that program.
            function __\(name)_program
                set -l words (commandline -opc)
                set -l words $words[(math (__\(name)_offset) + 1)..]
                complete -C (string join ' ' -- (string escape -- $words) (commandline -ct))
            end

            complete -c \(name) -f
            \(lines.joined(separator: "\n"))

            """
    }

    private static func summary(_ text: String) -> String { text.hasSuffix(".") ? String(text.dropLast()) : text }

    /// - Parameter words: the subcommand, in quotation marks if it has two words.
    private static func option(_ words: String, _ option: ArgumentDescription, _ name: String) -> String {
        var line = "complete -c \(name) -n '__\(name)_is \(words)'"
        for one in option.names ?? [] { line += one.kind == "long" ? " -l \(one.name)" : " -s \(one.name)" }
        if option.kind == .option { line += " " + value(option.completion) }
        return line + " -d " + quoted(option.summary)
    }

    /// What the first argument may be, and in its place, if no option precedes it, the second one.
    private static func positionals(_ words: String, _ command: CommandDescription, _ name: String) -> [String] {
        let all = command.positionals.filter { $0.parsingStrategy == "default" }
        let place = "__\(name)_has \(words.split(separator: " ").count + 2)"
        return all.prefix(2).enumerated().compactMap { index, one in
            guard one.completion != nil else { return nil }
            let condition = all.count < 2 ? "" : index == 0 ? "; and not \(place)" : "; and \(place)"
            return "complete -c \(name) -n '__\(name)_is \(words)\(condition)' "
                + value(one.completion, isOption: false)
        }
    }

    private static func value(_ completion: ArgumentDescription.Completion?, isOption: Bool = true) -> String {
        let exclusive = isOption ? "-x " : ""
        return switch completion {
        case .list(let values)?: exclusive + "-a " + quoted(values.joined(separator: " "))
        case .file?: isOption ? "-r -F" : "-F"
        case .directory?: exclusive + "-a '(__fish_complete_directories (commandline -ct))'"
        case .shellCommand(let command)?: exclusive + "-a " + quoted("(\(command))")
        case .custom?, .customAsync?, .customDeprecated?, nil: exclusive
        }
    }

    private static func quoted(_ text: String) -> String {
        "'" + text.replacing("\\", with: "\\\\").replacing("'", with: "\\'") + "'"
    }
}
