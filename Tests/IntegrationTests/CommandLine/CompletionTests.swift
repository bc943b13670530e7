// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

extension IntegrationTests {
    /// What bash, zsh and fish propose for the program's command line.
    @Suite struct Completions {
        enum Shell: String, CaseIterable {
            case bash, zsh, fish
        }

        /// Runs `_vde_vmnet` on a line, whose words are split as bash splits them.
        private static let bash = """
            source "$1/bash/vde_vmnet"
            COMP_LINE=$2
            COMP_POINT=${#COMP_LINE}
            read -ra COMP_WORDS <<<"${2//=/ = }"
            [[ $2 == *' ' ]] && COMP_WORDS+=('')
            COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
            complete -p vde_vmnet >/dev/null || exit 1
            _vde_vmnet vde_vmnet "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
            printf '%s\\n' "${COMPREPLY[@]}"
            """

        /// Types the line in an interactive zsh and completes it. `compadd` prints what it is given, and the only
        /// proposal is what the line then has.
        private static let zsh = """
            zmodload zsh/zpty
            zpty -b shell "TERM=dumb zsh -f -i"
            zpty -w shell "PROMPT=; fpath=(${(q)1}/zsh \\$fpath); autoload -Uz compinit; compinit -D -u
            zstyle ':completion:*' list-colors; LISTMAX=10000; setopt nolistbeep; COLUMNS=200; LINES=200
            compadd() { local -a found; builtin compadd -O found \\"\\$@\\"; print -rl -- '<'\\${^found}'>'
                builtin compadd \\"\\$@\\"; }
            propose() { local typed=\\$BUFFER; zle list-choices; zle complete-word
                [[ \\$BUFFER == \\$typed ]] || print -r -- '<'\\${\\${\\${BUFFER% }##* }##*=}'>'; print -r -- 'E''ND'; }
            zle -N propose; bindkey '^X' propose
            echo 'RE''ADY'"
            zpty -r -m shell text '*READY*' || exit 1
            zpty -n -w shell "$2"$'\\C-x'
            zpty -r -m shell text '*END*' || exit 1
            print -r -- "$text"
            zpty -d shell
            """

        private static let fish = "source $argv[1]/fish/vde_vmnet.fish; complete -C $argv[2]"

        /// What the shell proposes for the line.
        private func propose(_ line: String, _ shell: Shell, _ fixture: ReferenceFixture) throws -> Set<String> {
            let command =
                switch shell {
                case .bash: ["bash", "-c", Completions.bash, "bash", fixture.folder.path, line]
                case .zsh: ["zsh", "-f", "-c", Completions.zsh, "zsh", fixture.folder.path, line]
                case .fish: ["fish", "-N", "-c", Completions.fish, fixture.folder.path, line]
                }
            let result = try ChildProcess.run(
                ["timeout", "30"] + command,
                environment: ["PATH": fixture.path, "HOME": fixture.folder.path, "LC_ALL": "C.UTF-8"])
            #expect(result.succeeded, "\(shell): \(result.error)\(result.output)")
            return Set(
                // A carriage return and a line feed are one character.
                result.output.split(whereSeparator: \.isNewline).compactMap { line in
                    let text = String(line)
                    switch shell {
                    case .bash: return text
                    // fish describes a proposal behind a tab.
                    case .fish: return String(text.prefix { $0 != "\t" })
                    case .zsh:
                        guard let start = text.lastIndex(of: "<"), text.hasSuffix(">") else { return nil }
                        return String(text[text.index(after: start)...].dropLast())
                    }
                })
        }

        private func expect(
            _ line: String, _ wanted: Set<String>, without: Set<String> = [], in fixture: ReferenceFixture,
            _ location: SourceLocation = #_sourceLocation
        ) throws {
            for shell in Shell.allCases {
                let proposed = try propose(line, shell, fixture)
                #expect(
                    wanted.isSubset(of: proposed), "\(shell): \(line): \(proposed.sorted())", sourceLocation: location)
                #expect(proposed.isDisjoint(with: without), "\(shell): \(line)", sourceLocation: location)
            }
        }

        @Test func subcommandsAreProposed() throws {
            let fixture = try ReferenceFixture()
            try expect(
                "vde_vmnet ", ["join", "switch", "run", "client", "check", "interfaces", "version", "doctor"],
                in: fixture)
            try expect("vde_vmnet ch", ["check"], without: ["run"], in: fixture)
        }

        @Test func optionsOfTheDefaultSubcommandAreProposed() throws {
            let fixture = try ReferenceFixture()
            try expect("vde_vmnet --vmnet-m", ["--vmnet-mode", "--vmnet-mtu"], without: ["--tap"], in: fixture)
            try expect("vde_vmnet switch --t", ["--tap"], without: ["--tap-name"], in: fixture)
            try expect("vde_vmnet run --tap", ["--tap-name"], in: fixture)
        }

        @Test func valuesAreProposed() throws {
            let fixture = try ReferenceFixture()
            try expect("vde_vmnet --vmnet-mode ", ["shared", "host", "bridged"], in: fixture)
            try expect("vde_vmnet --switch --uplink ", ["auto", "tap", "user", "vmnet", "none"], in: fixture)
            try expect("vde_vmnet run --dhcp b", ["builtin"], without: ["off"], in: fixture)
            try expect("vde_vmnet --socket-group roo", ["root"], in: fixture)
            for shell in Shell.allCases {
                // fish proposes the whole word.
                let proposed = try propose("vde_vmnet --egress=d", shell, fixture)
                #expect(proposed.contains(shell == .fish ? "--egress=deny" : "deny"), "\(shell): \(proposed)")
            }
        }

        @Test func interfacesAreProposed() throws {
            let fixture = try ReferenceFixture()
            let output = try ChildProcess.run([TestHost.product("vde_vmnet"), "interfaces"]).output
            let names = output.split(separator: "\n").map { String($0.prefix { $0 != " " }) }
            try expect("vde_vmnet --vmnet-mode bridged --vmnet-interface ", Set(names), in: fixture)
        }

        @Test func pathsAreProposed() throws {
            let fixture = try ReferenceFixture()
            let place = fixture.folder.file("place")
            try Files.makeDirectories(place + "/net-folder")
            try Files.replace(place + "/net-file", [])
            for shell in Shell.allCases {
                func names(_ line: String) throws -> Set<String> {
                    // zsh proposes each part of the path.
                    Set(
                        try propose(line + place + "/net-", shell, fixture).map { path in
                            String(path.split(separator: "/").last ?? "")
                        }
                        .filter { $0.hasPrefix("net-") })
                }
                for line in ["vde_vmnet --stream ", "vde_vmnet --config ", "vde_vmnet client "] {
                    let proposed = try names(line)
                    #expect(proposed == ["net-file", "net-folder"], "\(shell): \(line)\(proposed)")
                }
                for line in ["vde_vmnet --switch ", "vde_vmnet check "] {
                    let proposed = try names(line)
                    #expect(proposed == ["net-folder"], "\(shell): \(line)\(proposed)")
                }
            }
        }

        @Test func programToStartIsProposed() throws {
            let fixture = try ReferenceFixture()
            try expect("vde_vmnet run --switch -- chmo", ["chmod"], in: fixture)
            try expect("vde_vmnet client /tmp/socket chmo", ["chmod"], in: fixture)
        }
    }
}
