// SPDX-License-Identifier: Apache-2.0

/// The completion script for bash. It needs no other script, and uses bash-completion for another program's command
/// line if that is loaded.
enum BashCompletions {
    static func script(_ program: ProgramDescription) -> String {
        let name = program.command.commandName
        let commands = program.subcommands
        let all = commands.flatMap { command in
            [(command.commandName, command)] + command.actions.map { ("\(command.commandName) \($0.commandName)", $0) }
        }
        let nested = commands.flatMap { command in command.actions.map { "\(command.commandName):\($0.commandName)" } }
        let words = commands.map(\.commandName).joined(separator: " ")
        let defaultName = program.defaultCommand.commandName
        return """
            # Completions of \(name) for bash. Made by command_reference.

            # Proposes what a command prints, a line each.
            _\(name)_propose() {
                local line
                while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen "$@" -- "$cur")
            }

            # Proposes the lines of its input. A network of another user may have written them: the shell expands none,
            # and those with characters that it would expand later are left out.
            _\(name)_lines() {
                local line
                while IFS= read -r line; do
                    if [[ $line == "$cur"* && $line != *[^][A-Za-z0-9._:/,@+*%=-]* ]]; then COMPREPLY+=("$line"); fi
                done
            }

            # Proposes paths; the first argument is compgen's option for the kind.
            _\(name)_paths() {
                compopt -o filenames 2>/dev/null
                _\(name)_propose "$1"
            }

            # Completes the command line of another program, whose name is word $1.
            _\(name)_program() {
                if ((COMP_CWORD > $1)) && declare -F _command_offset >/dev/null; then
                    _command_offset "$1"
                elif ((COMP_CWORD > $1)); then
                    _\(name)_paths -f
                else
                    _\(name)_propose -c
                fi
            }

            _\(name)() {
                local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} behind=
                COMPREPLY=()
                local line=${COMP_LINE:0:COMP_POINT}
                local typed=${line##*[[:space:]]}
                # bash has split --option=value at the sign, and an address at its colons.
                if [[ $typed == *:* && $COMP_WORDBREAKS == *:* ]]; then
                    local -a words
                    read -ra words <<<"${line%"$typed"}"
                    prev=${words[${#words[@]} - 1]}
                    if [[ $typed == --*=* ]]; then
                        prev=${typed%%=*}
                        typed=${typed#*=}
                    fi
                    cur=$typed
                    behind=${typed%"${typed##*:}"}
                elif [[ $cur == = ]]; then
                    cur=
                elif [[ $prev == = ]]; then
                    prev=${COMP_WORDS[COMP_CWORD - 2]}
                fi
                _\(name)_command
                # What is before the last colon is not replaced.
                if [[ -n $behind ]]; then
                    COMPREPLY=("${COMPREPLY[@]#"$behind"}")
                fi
            }

            _\(name)_command() {
                local command=\(defaultName) index
                case ${COMP_WORDS[1]} in
                \(words.replacing(" ", with: " | ")))
                    ((COMP_CWORD > 1)) && command=${COMP_WORDS[1]}
                    ;;
                esac
                case $command:${COMP_WORDS[2]} in
                \(nested.joined(separator: " | ")))
                    ((COMP_CWORD > 2)) && command="$command ${COMP_WORDS[2]}"
                    ;;
                esac
                for ((index = 2; index < COMP_CWORD; index++)); do
                    if [[ $command == run && ${COMP_WORDS[index]} == -- ]]; then
                        _\(name)_program $((index + 1))
                        return
                    fi
                done
                if [[ $command == client ]] && ((COMP_CWORD > 2)); then
                    _\(name)_program 3
                    return
                fi
                case $command:$prev in
            \(all.map { values($0, $1, name) }.joined())\
                esac
                case $command in
            \(all.map { arguments($0, $1, name) }.joined())\
                esac
                if [[ $cur != -* ]] && ((COMP_CWORD == 1)); then
                    _\(name)_propose -W $'\(words.replacing(" ", with: "\\n"))'
                fi
            }
            complete -F _\(name) \(name)

            """
    }

    /// A case for each option with a value.
    private static func values(_ words: String, _ command: CommandDescription, _ name: String) -> String {
        command.options.filter { $0.kind == .option }.map { option in
            let patterns = option.spellings.map { "'\(words):\($0)'" }.joined(separator: " | ")
            let action = action(option.completion, name).map { "\n            \($0)" } ?? ""
            return "    \(patterns))\(action)\n            return\n            ;;\n"
        }.joined()
    }

    /// The options of a command, and its subcommands or what its first argument may be.
    private static func arguments(_ words: String, _ command: CommandDescription, _ name: String) -> String {
        let options = command.options.flatMap(\.spellings).joined(separator: "\\n")
        var text = "    '\(words)')\n            if [[ $cur == -* ]]; then\n"
        text += "                _\(name)_propose -W $'\(options)'\n"
        let actions = command.actions.map(\.commandName).joined(separator: "\\n")
        if !actions.isEmpty {
            text += "            elif ((COMP_CWORD == 2)); then\n                _\(name)_propose -W $'\(actions)'\n"
        } else {
            text += positionals(words, command, name)
        }
        return text + "            fi\n            ;;\n"
    }

    /// What the first argument may be, and in its place, if no option precedes it, the second one.
    private static func positionals(_ words: String, _ command: CommandDescription, _ name: String) -> String {
        let all = command.positionals.filter { $0.parsingStrategy == "default" }
        let actions = all.prefix(2).map { action($0.completion, name) }
        guard let first = actions.first, first != nil || actions.count > 1 else { return "" }
        let place = words.split(separator: " ").count + 2
        var text = ""
        if actions.count > 1 {
            text += "            elif ((COMP_CWORD == \(place))); then\n                \(actions[1] ?? ":")\n"
        }
        if let first { text += "            else\n                \(first)\n" }
        return text
    }

    private static func action(_ completion: ArgumentDescription.Completion?, _ name: String) -> String? {
        switch completion {
        case .list(let values)?: "_\(name)_propose -W $'\(values.joined(separator: "\\n"))'"
        case .file?: "_\(name)_paths -f"
        case .directory?: "_\(name)_paths -d"
        case .shellCommand(let command)?: "_\(name)_lines < <(\(command))"
        case .custom?, .customAsync?, .customDeprecated?, nil: nil
        }
    }
}
