// SPDX-License-Identifier: Apache-2.0

/// The completion script for zsh, for a folder in `$fpath`.
enum ZshCompletions {
    static func script(_ program: ProgramDescription) -> String {
        let name = program.command.commandName
        let commands = program.subcommands
        let list = commands.map { "        \(quoted($0.commandName + ":" + summary($0)))\n" }.joined()
        let words = commands.map(\.commandName).joined(separator: "|")
        return """
            #compdef \(name)
            # Completions of \(name) for zsh. Made by command_reference.

            # Proposes the lines that a command prints.
            _\(name)_lines() {
                local -a lines
                lines=(${(f)"$(eval "$1")"})
                compadd -a lines
            }

            \(commands.map { function($0, name) }.joined(separator: "\n"))
            _\(name)() {
                # Not `commands`, which is zsh's table of programs.
                local -a subcommands
                subcommands=(
            \(list)    )
                case $words[2] in
                (\(words))
                    if ((CURRENT > 2)); then
                        local command=$words[2]
                        shift words
                        ((CURRENT--))
                        _\(name)_$command
                        return
                    fi
                    ;;
                esac
                local result=1
                if ((CURRENT == 2)) && [[ $PREFIX != -* ]]; then
                    _describe -t commands subcommand subcommands && result=0
                fi
                _\(name)_\(program.defaultCommand.commandName) && result=0
                return result
            }

            _\(name) "$@"

            """
    }

    private static func summary(_ command: CommandDescription) -> String {
        let text = command.abstract ?? ""
        return text.hasSuffix(".") ? String(text.dropLast()) : text
    }

    /// The function of a subcommand that has subcommands, with theirs.
    private static func functions(_ command: CommandDescription, _ name: String) -> String {
        let own = "\(name)_\(command.commandName)"
        let list = command.actions.map { "        \(quoted($0.commandName + ":" + summary($0)))\n" }.joined()
        return """
            _\(own)() {
                local -a subcommands
                subcommands=(
            \(list)    )
                if ((CURRENT > 2)); then
                    local action=_\(own)_$words[2]
                    shift words
                    ((CURRENT--))
                    ((${+functions[$action]})) && $action
                    return
                fi
                _describe -t commands subcommand subcommands
            }

            """ + "\n" + command.actions.map { function($0, name, in: own) }.joined(separator: "\n")
    }

    /// The function of one subcommand, by _arguments.
    /// - Parameter place: what precedes the subcommand in the function's name; nil for the program's name.
    private static func function(
        _ command: CommandDescription, _ name: String, in place: String? = nil
    ) -> String {
        guard command.actions.isEmpty else { return functions(command, name) }
        var specifications = command.options.map { option($0, name) }
        for (index, one) in command.positionals.enumerated() {
            let value = escaped(one.valueName ?? "argument")
            if one.parsingStrategy == "default" {
                specifications.append(quoted("\(index + 1):\(value):\(action(one.completion, name))"))
            } else {
                // Another program's name, and its own completions. The VDE argument of `join` is none of `run`.
                let isBehindDashes = one.parsingStrategy == "postTerminator"
                if isBehindDashes { specifications.removeAll { $0.hasPrefix("'1:") } }
                specifications.append(quoted("(-)\(isBehindDashes ? 1 : index + 1):\(value):_command_names -e"))
                specifications.append(quoted("*::argument: _normal"))
            }
        }
        return "_\(place ?? name)_\(command.commandName)() {\n    _arguments -s -S : \\\n"
            + specifications.map { "        \($0)" }.joined(separator: " \\\n") + "\n}\n"
    }

    private static func option(_ option: ArgumentDescription, _ name: String) -> String {
        let names = option.spellings
        let summary = "[" + escaped(option.summary).replacing("[", with: "\\[").replacing("]", with: "\\]") + "]"
        let isLong = { (name: String) in name.hasPrefix("--") }
        let value =
            option.kind == .flag
            ? "" : ":\(escaped(option.valueName ?? "value")):\(action(option.completion, name))"
        return names.map { one in
            // `=`: in the same word after a sign, or in the next word.
            let sign = option.kind == .flag || !isLong(one) ? "" : "="
            let exclusion = option.isRepeating ? "*" : names.count > 1 ? "(\(names.joined(separator: " ")))" : ""
            return quoted(exclusion + one + sign + summary + value)
        }.joined(separator: " \\\n        ")
    }

    private static func action(_ completion: ArgumentDescription.Completion?, _ name: String) -> String {
        switch completion {
        case .list(let values)?: "(\(values.joined(separator: " ")))"
        case .file?: "_files"
        case .directory?: "_files -/"
        case .shellCommand(let command)?:
            "{_\(name)_lines \"\(command.replacing(":", with: "\\:"))\"}"
        case .custom?, .customAsync?, .customDeprecated?, nil: " "
        }
    }

    private static func escaped(_ text: String) -> String { text.replacing(":", with: "\\:") }

    private static func quoted(_ text: String) -> String { "'" + text.replacing("'", with: "'\\''") + "'" }
}
