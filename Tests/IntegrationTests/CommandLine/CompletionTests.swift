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
                    // fish describes a proposal after a tab.
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
            try expect("vde_vmnet --control-group roo", ["root"], in: fixture)
            try expect("vde_vmnet --control-allow ", ["publish", "egress", "capture"], in: fixture)
            try expect("vde_vmnet --ipv6 ", ["auto", "kernel", "off"], in: fixture)
            try expect("vde_vmnet events --only l", ["leave", "lease", "loop"], without: ["host"], in: fixture)
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
            try expect("vde_vmnet --switch --outbound ", ["lo"], in: fixture)
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

        /// A network of another user may print anything. No shell runs it.
        @Test func hostileValuesAreNotExpanded() throws {
            let fixture = try ReferenceFixture()
            let command = fixture.folder.file("bin/vde_vmnet"), mark = fixture.folder.file("mark")
            try Files.replace(
                fixture.folder.file("bin/values"),
                Array("ADDRESS\n$(touch${IFS}\(mark)) - -\n`touch${IFS}\(mark)` - -\n192.168.105.2 - -\n".utf8))
            try Files.remove(command)
            try Files.replace(command, Array("#!/bin/sh\ncat \"${0%/*}/values\"\n".utf8), mode: 0o755)
            for line in ["lease release ", "publish remove "] {
                try expect("vde_vmnet " + line, ["192.168.105.2"], without: ["ADDRESS"], in: fixture)
            }
            #expect(!Files.exists(mark))
        }

        /// What the program prints of a network that runs.
        @Test func valuesOfRunningNetworkAreProposed() throws {
            let mac = "52:54:00:00:00:01"
            let control = try ControlFixture(
                "user",
                [
                    "--publish", "127.0.0.1:8080:192.168.105.2:80", "--egress", "deny", "--allow", "198.51.100.0/24:80",
                    "--dhcp-host", "52:54:00:00:00:09,192.168.105.9",
                ])
            let guest = try control.guest(mac: mac)
            try guest.lease("-x", "hostname:web")
            // A program in place of this one prints the same: other networks run on the test's host.
            let fixture = try ReferenceFixture()
            let command = fixture.folder.file("bin/vde_vmnet")
            for words in ["publish list", "allow list", "lease list", "port list"] {
                let result = try control.attempt(words.split(separator: " ").map(String.init))
                #expect(result.succeeded, "\(words): \(result.error)")
                try Files.replace(fixture.folder.file("bin/" + words), Array(result.output.utf8))
            }
            try Files.replace(
                fixture.folder.file("bin/list"), Array("NAME  OWNER  PROCESS\nlab   root   42\nother root   43\n".utf8))
            try Files.remove(command)
            try Files.replace(
                command, Array("#!/bin/sh\ncase $1 in list) set -- list ;; esac\ncat \"${0%/*}/$*\"\n".utf8),
                mode: 0o755)
            try expect("vde_vmnet publish ", ["add", "remove", "list"], without: ["release"], in: fixture)
            try expect("vde_vmnet lease re", ["release", "reserve"], without: ["list", "add"], in: fixture)
            try expect("vde_vmnet port list --", ["--json", "--network"], without: ["--log"], in: fixture)
            for line in [
                "status ", "stop ", "events ", "capture ", "doctor ", "publish add --network ", "status --watch ",
            ] {
                try expect("vde_vmnet " + line, ["lab", "other"], without: ["NAME", "list"], in: fixture)
            }
            try expect("vde_vmnet stop l", ["lab"], without: ["other"], in: fixture)
            try expect("vde_vmnet capture --guest ", ["web", mac], without: ["-", "NAME"], in: fixture)
            try expect("vde_vmnet capture --port ", ["uplink"], without: ["PORT", "-"], in: fixture)
            try expect("vde_vmnet port disconnect ", [], without: ["uplink", "PORT"], in: fixture)
            try expect("vde_vmnet port isolate 2 ", ["on", "off"], without: ["2", "3"], in: fixture)
            try expect("vde_vmnet lease release ", ["192.168.105.2", "192.168.105.9"], in: fixture)
            try expect("vde_vmnet lease unreserve ", ["52:54:00:00:00:09"], in: fixture)
            try expect("vde_vmnet publish remove ", ["127.0.0.1:8080:192.168.105.2:80/tcp"], in: fixture)
            try expect("vde_vmnet allow remove ", ["198.51.100.0/24:80"], without: ["policy"], in: fixture)
            try expect("vde_vmnet egress ", ["allow", "deny"], in: fixture)
            // bash replaces what follows the last colon.
            for shell in Shell.allCases {
                for line in ["capture --guest 52:54:00:00:00:0", "capture --guest=52:54:00:00:00:0"] {
                    let proposed = try propose("vde_vmnet " + line, shell, fixture)
                    let end = shell == .bash ? "01" : mac
                    #expect(proposed.contains { $0.hasSuffix(end) }, "\(shell): \(line): \(proposed)")
                    #expect(shell != .bash || proposed == [end, "09"], "\(proposed)")
                }
            }
            #expect(try control.daemon.stop() == .exited(0))
        }
    }
}
