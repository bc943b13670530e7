// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
@testable import Commands
import NetworkConfiguration
import Platform
import TestSupport
import Testing
import VhostUser
import VmnetUplink

/// A vmnet.framework that is there and is never started.
private struct IdleVmnet: VmnetProvider {
    func start(_ options: VmnetOptions) throws(VmnetError) -> any VmnetInterface {
        throw VmnetError(status: 0, description: "not started")
    }
    func bridgeableInterfaces() -> [String] { [] }
    var isServiceRegistered: Bool { true }
    var hasVirtioHeaders: Bool { true }
    var hasNetworkObjects: Bool { true }
}

/// Every option with every uplink, mode and listener, and with every other option: `+` works and has an effect, `-` is
/// refused with a message that names both.
private enum Expected {
    static let uplinks = ["auto", "tap", "user", "vmnet", "none"]
    static let modes = ["shared", "host", "bridged"]
    static let listeners = [
        "joined", "cable", "switch", "stream", "dgram", "seqpacket", "vhost-user", "fd", "run",
    ]
    /// Those that this system has.
    static let offered = listeners.filter {
        switch $0 {
        case "vhost-user": VhostConnection.isSupported
        case "seqpacket": Socket.hasSequencedPackets
        default: true
        }
    }

    /// The option as it is written; then uplinks, modes and listeners in the order above; then what it needs beside it.
    static let table = """
        --vde-mode 0660                             | +++++ | +++ | --+++++-- |
        --vde-dirmode 0750                          | +++++ | +++ | --+------ |
        --vde-group 0                               | +++++ | +++ | +++------ |
        --mgmt m                                    | +++++ | +++ | --+++++++ |
        --mgmtmode 0660                             | +++++ | +++ | --+++++++ | --mgmt m
        --rcfile f                                  | +++++ | +++ | --+++++++ |
        --vmnet-isolation                           | +++++ | +++ | --+++++++ |
        --trunk 3                                   | ++++- | ++- | --+++++++ |
        --limit 50mbit                              | +++++ | +++ | --+++++++ |
        --allow-server 3                            | ++++- | ++- | --+++++++ |
        --stream s2                                 | +++++ | +++ | +++++++++ |
        --dgram d2                                  | +++++ | +++ | +++++++++ |
        --seqpacket q2                              | +++++ | +++ | +++++++++ |
        --vhost-user u2                             | +++++ | +++ | +++++++++ |
        --vhost-user-fd FD3                         | +++++ | +++ | +++++++++ |
        --fd FD2                                    | +++++ | +++ | +++++++++ |
        --netns 1                                   | +++++ | +++ | +++++++++ |
        --netns 1,configure                         | ++++- | ++- | +++++++++ |
        --idle-exit 9                               | +++++ | +++ | --+++++-- |
        --socket-group 0                            | +++++ | +++ | ---++++-- |
        --vmnet-interface e1                        | ++-+- | --+ | +++++++++ | --vmnet-mode bridged
        --bridge-helper h                          | ++--- | --+ | +++++++++ | --vmnet-mode bridged --vmnet-interface e0
        --vmnet-gateway 10.0.0.1                    | ++++- | ++- | +++++++++ |
        --vmnet-dhcp-end 10.0.0.9                   | ++++- | ++- | +++++++++ | --vmnet-gateway 10.0.0.1
        --vmnet-mask 255.255.0.0                    | ++++- | ++- | +++++++++ | --vmnet-gateway 10.0.0.1
        --vmnet-interface-id UUID                   | ++++- | +++ | +++++++++ |
        --vmnet-network-identifier UUID             | ---+- | -+- | +++++++++ | --vmnet-mode host
        --vmnet-nat66-prefix fd00:1::               | ---+- | +-- | +++++++++ |
        --vmnet-offload                             | ---+- | +++ | +++++++++ |
        --vmnet-external-interface en0              | ---+- | +-- | +++++++++ |
        --vmnet-mtu 9000                            | ++++- | ++- | +++++++++ |
        --dhcp auto                                 | ++++- | ++- | +++++++++ |
        --dhcp builtin                              | ++++- | ++- | +++++++++ |
        --dhcp system                               | ++-+- | ++- | +++++++++ |
        --dhcp off                                  | +++++ | +++ | +++++++++ |
        --ipv6 fd00:1:2:3::/64                      | +++-- | ++- | +++++++++ |
        --ipv6 off                                  | +++-- | ++- | +++++++++ |
        --ipv6 kernel                               | ++--- | +-- | +++++++++ |
        --vmnet-disable-dhcp                        | +++++ | +++ | +++++++++ |
        --dhcp-host 52:54:00:00:00:01,10.0.0.7      | ++++- | ++- | +++++++++ |
        --dhcp-host 52:54:00:00:00:03,10.0.0.9,::9  | +++-- | ++- | +++++++++ |
        --dhcp-host 52:54:00:00:00:02,10.0.0.8,web  | +++-- | +-- | +++++++++ |
        --domain lab.example                        | +++-- | +-- | +++++++++ |
        --domain off                                | +++++ | +++ | +++++++++ |
        --host-dns 127.0.0.1:5300                   | +++-- | +-- | +++++++++ |
        --dns 192.0.2.1                             | +++-- | +-- | +++++++++ |
        --dns-cache off                             | +++-- | +-- | +++++++++ |
        --dhcp-option ntp-server=10.0.0.1           | ++++- | ++- | +++++++++ |
        --lease-time 2h                             | ++++- | ++- | +++++++++ |
        --no-router                                 | +++-- | +-- | +++++++++ |
        --boot bf                                   | ++++- | ++- | +++++++++ |
        --publish 2222:10.0.0.2:22                  | ++++- | +-- | +++++++++ |
        --publish 2222:52:54:00:00:00:01:22         | +++-- | +-- | +++++++++ |
        --publish 2222:52:54:00:00:00:01:22/udp     | +++-- | +-- | +++++++++ |
        --publish 2222:[::10]:22                    | +++-- | +-- | +++++++++ |
        --publish 2222:web:22                       | +++-- | +-- | +++++++++ |
        --publish 2222:web:22/udp                   | +++-- | +-- | +++++++++ |
        --egress allow                              | +++-- | +-- | +++++++++ |
        --egress deny                               | +++-- | +-- | +++++++++ |
        --allow 203.0.113.0/24                      | +++-- | +-- | +++++++++ | --egress deny
        --deny private                              | +++-- | +-- | +++++++++ |
        --egress-log                                | +++-- | +-- | +++++++++ |
        --check-names                               | +-+-- | +-- | +++++++++ | --egress deny --allow a.example
        --proxy socks5://127.0.0.1:1080             | +-+-- | +-- | +++++++++ |
        --proxy-credentials pc                      | +-+-- | +-- | +++++++++ | --proxy http://127.0.0.1:3128
        --host-loopback                             | +-+-- | +-- | +++++++++ |
        --udp-filtering endpoint                    | +-+-- | +-- | +++++++++ |
        --outbound eth1                             | +-+-- | +-- | +++++++++ |
        --tap-name t0                               | ++--- | +++ | +++++++++ |
        --name n1                                   | +++++ | +++ | +++++++++ |
        --control cs                                | +++++ | +++ | +++++++++ |
        --control off                               | +++++ | +++ | +++++++++ |
        --control-group 0                           | +++++ | +++ | +++++++++ |
        --control-allow publish                     | ++++- | +-- | +++++++++ |
        --control-allow egress                      | +++++ | +++ | +++++++++ |
        --pcap f.pcapng                             | +++++ | +++ | +++++++++ |
        --state-dir sd                              | +++++ | +++ | +++++++++ |
        --pidfile p                                 | +++++ | +++ | +++++++++ |
        --workers 2                                 | +++++ | +++ | +++++++++ |
        --stats-interval 5                          | +++++ | +++ | +++++++++ |
        --log-level debug                           | +++++ | +++ | +++++++++ |
        --log-format json                           | +++++ | +++ | +++++++++ |
        """

    /// Pairs of options that do not go together although one uplink, mode and listener has both.
    static let contradictions: [(String, [String])] = [
        ("--vmnet-disable-dhcp", ["--dhcp auto", "--dhcp builtin", "--dhcp system", "--dhcp-host"]),
        ("--dhcp-host", ["--dhcp off", "--dhcp system"]),
        ("--dhcp-host 52:54:00:00:00:03,10.0.0.9,::9", ["--ipv6 off"]),
        ("--dhcp-option", ["--dhcp off", "--dhcp system", "--vmnet-disable-dhcp"]),
        ("--lease-time", ["--dhcp off", "--dhcp system", "--vmnet-disable-dhcp"]),
        ("--no-router", ["--dhcp off", "--dhcp system", "--vmnet-disable-dhcp"]),
        ("--boot", ["--dhcp off", "--dhcp system", "--vmnet-disable-dhcp"]),
        ("--netns 1,configure", ["--dhcp off", "--dhcp system", "--vmnet-disable-dhcp"]),
        ("--host-dns", ["--domain off"]),
        ("--allow", ["--egress allow", "--deny private"]),
        ("--deny private", ["--egress deny", "--host-loopback"]),
        ("--udp-filtering endpoint", ["--proxy", "--proxy-credentials"]),
        ("--check-names", ["--egress allow", "--deny private", "--allow 203.0.113.0/24"]),
        ("--control off", ["--name", "--control-group", "--control-allow"]),
        ("--allow-server", ["--vmnet-isolation"]),
        ("--publish 2222:52:54:00:00:00:01:22", ["--dhcp off", "--dhcp system", "--vmnet-disable-dhcp"]),
        ("--publish 2222:52:54:00:00:00:01:22/udp", ["--dhcp off", "--dhcp system", "--vmnet-disable-dhcp"]),
        ("--publish 2222:[::10]:22", ["--ipv6 off"]),
        ("--publish 2222:web:22", ["--dhcp off", "--dhcp system", "--vmnet-disable-dhcp"]),
        ("--publish 2222:web:22/udp", ["--dhcp off", "--dhcp system", "--vmnet-disable-dhcp"]),
        ("--vmnet-external-interface", ["--vmnet-interface-id", "--vmnet-dhcp-end"]),
    ]

    /// Two names of one setting.
    static let synonyms: Set = ["--dhcp off", "--vmnet-disable-dhcp"]

    /// What is the default anyway, or is no part of the configuration.
    static let withoutTrace: Set = ["--dhcp auto", "--egress allow", "--log-level debug", "--log-format json"]
}

private struct Row: CustomTestStringConvertible {
    let words: [String]
    let uplinks: Set<String>
    let modes: Set<String>
    let listeners: Set<String>
    let companions: [String]

    var name: String { words[0] }
    var testDescription: String { words.joined(separator: " ") }

    /// The options that this system has.
    static let offered = all.filter {
        (!$0.name.hasPrefix("--vhost-user") || VhostConnection.isSupported)
            && ($0.name != "--seqpacket" || Socket.hasSequencedPackets)
    }

    static let all: [Row] = Expected.table.split(separator: "\n").map { line in
        let fields = line.split(separator: "|", omittingEmptySubsequences: false).map {
            $0.split(separator: " ").map(String.init)
        }
        func chosen(_ field: [String], _ names: [String]) -> Set<String> {
            precondition(field[0].count == names.count)
            return Set(zip(names, field[0]).filter { $0.1 == "+" }.map(\.0))
        }
        return Row(
            words: fields[0], uplinks: chosen(fields[1], Expected.uplinks), modes: chosen(fields[2], Expected.modes),
            listeners: chosen(fields[3], Expected.listeners),
            companions: fields[4])
    }
}

/// A command line in parts, none of which is given twice.
private struct Line {
    /// Connected sockets for --fd, which stay open: their other ends are descriptors as well.
    private static let sockets: [Int32] = (0..<3).map { _ in
        guard let pair = try? DescriptorPair.streamSockets(), (try? pair.second.duplicate().release()) != nil else {
            return -1
        }
        return (try? pair.first.duplicate().release()) ?? -1
    }

    var uplink: String?
    var mode: String?
    var listener = "switch"
    var options: [String] = []

    mutating func add(_ words: [String]) {
        var index = 0
        while index < words.count {
            let hasValue = index + 1 < words.count && !words[index + 1].hasPrefix("--")
            let one = Array(words[index..<index + (hasValue ? 2 : 1)])
            if one[0] == "--vmnet-mode" { mode = mode ?? one[1] } else if !options.contains(one[0]) { options += one }
            index += one.count
        }
    }

    var words: [String] {
        var words: [String]
        switch listener {
        case "joined": words = ["v"]
        case "cable": words = ["v[]"]
        case "switch": words = ["--switch", "v"]
        case "stream": words = ["--stream", "s"]
        case "dgram": words = ["--dgram", "d"]
        case "seqpacket": words = ["--seqpacket", "q"]
        case "vhost-user": words = ["--vhost-user", "u"]
        case "fd": words = ["--fd", "\(Line.sockets[0])"]
        default: words = ["--with-program"]
        }
        if let uplink, uplink != "auto" { words += ["--uplink", uplink] }
        if let mode {
            words += ["--vmnet-mode", mode]
            if mode == "bridged" && !options.contains("--vmnet-interface") { words += ["--vmnet-interface", "e0"] }
        }
        return words
            + options.map {
                switch $0 {
                case "UUID": "3f2504e0-4f89-11d3-9a0c-0305e82c3301"
                case "FD2": "\(Line.sockets[1])"
                case "FD3": "\(Line.sockets[2])"
                default: $0
                }
            }
    }

    /// Whether the argument parser reads the line as well, which takes its time: one in ten does, `make prove` all.
    private let isParsed = Rounds.factor > 1 || Int.random(in: 0..<10) == 0

    /// What was read already.
    private static let known = Mutex<[[String]: Result<String, Refusal>]>([:])

    /// The configuration in words, or the message with which the line is refused.
    func parsed(hasVmnet: Bool) -> Result<String, Refusal> {
        let words = words, key = words + ["\(hasVmnet)"]
        if let known = Line.known.withLock({ $0[key] }) { return known }
        let result: Result<String, Refusal> = Root.$vmnet.withValue(hasVmnet ? IdleVmnet() : nil) {
            let read = Join.reading(words)
            do {
                if let read, !isParsed { return .success("\(try read.makeConfiguration())") }
                let configuration = "\(try Join.parse(words).makeConfiguration())"
                let direct = read.map { join in (try? join.makeConfiguration()).map { "\($0)" } }
                #expect(direct == configuration, "\(words)")
                return .success(configuration)
            } catch {
                #expect(Join.direct(words) == nil, "\(words)")
                return .failure(Refusal(message: Join.message(for: error)))
            }
        }
        Line.known.withLock { $0[key] = result }
        return result
    }

    struct Refusal: Error { let message: String }
}

@Suite struct OptionTableTests {
    /// One that is refused names `name` and something else of the line.
    private func expect(_ line: Line, hasVmnet: Bool, works: Bool, _ rows: [Row], naming others: [String]) {
        let text = line.words.joined(separator: " ")
        switch line.parsed(hasVmnet: hasVmnet) {
        case .failure(let refusal):
            #expect(!works, "\(text): \(refusal.message)")
            let names = rows.flatMap { $0.words + $0.companions }.filter { $0.hasPrefix("--") }
            let isNamed =
                names.contains { refusal.message.contains($0) } && others.contains { refusal.message.contains($0) }
            #expect(isNamed, "\(text): \(refusal.message)")
        case .success(let configuration):
            #expect(works, "\(text) is accepted")
            let isOneTwice = Expected.synonyms == Set(rows.map(\.testDescription))
            for row in rows where works && !isOneTwice && !Expected.withoutTrace.contains(row.testDescription) {
                // What another one needs cannot be left out.
                if rows.contains(where: { $0.companions.contains(row.name) }) { continue }
                var without = line
                without.options = []
                for other in rows where other.words != row.words { without.add(other.companions + other.words) }
                for word in row.companions where !without.options.contains(word) { without.options.append(word) }
                without.options.removeAll { $0 == "--vmnet-mode" || Expected.modes.contains($0) }
                guard case .success(let plain) = without.parsed(hasVmnet: hasVmnet) else { continue }
                let hasEffect = plain != configuration
                #expect(hasEffect, "\(row.testDescription) has no effect in: \(text)")
            }
        }
    }

    private func line(_ row: Row) -> Line {
        var line = Line()
        line.listener =
            row.listeners.contains("switch") ? "switch" : Expected.listeners.first(where: row.listeners.contains)!
        line.add(row.companions + row.words)
        return line
    }

    @Test(arguments: Row.offered) fileprivate func optionWithEachUplink(row: Row) {
        for uplink in Expected.uplinks {
            var line = line(row)
            line.uplink = uplink
            expect(
                line, hasVmnet: uplink == "vmnet", works: row.uplinks.contains(uplink), [row],
                naming: ["--uplink", "vmnet.framework"])
        }
    }

    @Test(arguments: Row.offered) fileprivate func optionInEachMode(row: Row) {
        for mode in Expected.modes {
            var line = line(row)
            line.mode = mode
            expect(
                line, hasVmnet: row.uplinks == ["vmnet"], works: row.modes.contains(mode), [row],
                naming: ["--vmnet-mode"])
        }
    }

    @Test(arguments: Row.offered) fileprivate func optionWithEachListener(row: Row) {
        let names = ["joined": "a switch to join", "cable": "a cable", "run": "run"]
        for listener in Expected.offered {
            var line = line(row)
            line.listener = listener
            expect(
                line, hasVmnet: row.uplinks == ["vmnet"], works: row.listeners.contains(listener), [row],
                naming: [names[listener] ?? "--" + listener])
        }
    }

    /// All pairs of options are thousands of command lines. A run takes every fifth, from a random one on; `make prove`
    /// takes all.
    private static let step = Rounds.factor > 1 ? 1 : 5
    private static let firstPair = Int.random(in: 0..<step)

    @Test(arguments: Row.offered.indices) func optionWithEachOther(index: Int) {
        let one = Row.offered[index]
        for second in Row.offered.indices where second > index && (second + index) % Self.step == Self.firstPair {
            let other = Row.offered[second]
            if other.name == one.name { continue }
            let uplinks = Expected.uplinks.dropFirst().filter { one.uplinks.contains($0) && other.uplinks.contains($0) }
            let mode = Expected.modes.first { one.modes.contains($0) && other.modes.contains($0) }
            let listener = Expected.offered.first { one.listeners.contains($0) && other.listeners.contains($0) }
            var line = Line()
            let hasVmnet = one.uplinks == ["vmnet"] || other.uplinks == ["vmnet"]
            // Left to us where we may choose: the choice must have both.
            if one.uplinks.contains("auto"), other.uplinks.contains("auto") {
                line.uplink = nil
            } else {
                line.uplink = uplinks.first
            }
            line.mode = mode == "shared" ? nil : mode
            line.listener = listener ?? "switch"
            line.add(one.companions + one.words + other.companions + other.words)
            let isContradiction = Expected.contradictions.contains { pair in
                func isNamed(_ row: Row, _ name: String) -> Bool { name == row.name || name == row.testDescription }
                return (isNamed(one, pair.0) && pair.1.contains { isNamed(other, $0) })
                    || (isNamed(other, pair.0) && pair.1.contains { isNamed(one, $0) })
            }
            let words = line.words.filter { $0.hasPrefix("--") && $0 != "--switch" } + ["vmnet.framework"]
            expect(
                line, hasVmnet: hasVmnet, works: !uplinks.isEmpty && mode != nil && listener != nil && !isContradiction,
                [one, other], naming: words)
        }
    }

    @Test func uplinkModeAndListenerCombinations() {
        let together: [String: [String]] = [
            "auto": Expected.modes, "tap": Expected.modes, "user": ["shared", "host"], "vmnet": Expected.modes,
            "none": [],
        ]
        for uplink in Expected.uplinks {
            for mode in Expected.modes {
                var line = Line(uplink: uplink, mode: mode)
                if case .failure(let refusal) = line.parsed(hasVmnet: uplink == "vmnet") {
                    #expect(!together[uplink]!.contains(mode), "\(refusal.message)")
                    #expect(
                        refusal.message.contains("--vmnet-mode") && refusal.message.contains("--uplink \(uplink)"),
                        "\(refusal.message)")
                } else {
                    #expect(together[uplink]!.contains(mode), "\(line.words)")
                }
                line.mode = nil
            }
            for listener in Expected.offered {
                let line = Line(uplink: uplink, listener: listener)
                let isAlone = uplink == "none" && ["joined", "cable"].contains(listener)
                if case .failure(let refusal) = line.parsed(hasVmnet: uplink == "vmnet") {
                    #expect(
                        isAlone && refusal.message.contains("--uplink none")
                            && refusal.message.contains(listener == "cable" ? "a cable" : "a switch to join"),
                        "\(refusal.message)")
                } else {
                    #expect(!isAlone)
                }
            }
        }
    }

    /// One that is added has a row above.
    @Test func everyOptionIsInTheTable() {
        let help = Join.helpMessage(columns: 400)
        let options = Set(
            help.split(whereSeparator: { " ,\n".contains($0) }).filter { $0.hasPrefix("--") && $0.count > 3 }.map {
                String($0.prefix { $0 != "." && $0 != ")" && $0 != ":" })
            })
        // `OptionsFile` replaces --config by other options.
        let others: Set = ["--switch", "--uplink", "--vmnet-mode", "--help", "--version", "--config", "--NAME"]
        let missing = options.filter { option in !others.contains(option) && !Row.all.contains { $0.name == option } }
        #expect(missing.isEmpty, "without a row in Expected.table: \(missing.sorted())")
    }

    @Test func autoSelectsUplinkForOptions() throws {
        func chosen(_ words: String..., hasVmnet: Bool = false) throws -> Configuration.UplinkKind {
            try Root.$vmnet.withValue(hasVmnet ? IdleVmnet() : nil) { try Join.parse(words).makeConfiguration().uplink }
        }
        #expect(try chosen("v") == .auto)
        #expect(try chosen("--tap-name", "t0", "v") == .tap, "a user-mode NAT would ignore it")
        #expect(try chosen("--dhcp", "system", "v") == .tap)
        #expect(try chosen("--host-loopback", "v") == .user)
        #expect(try chosen("--vmnet-offload", "v", hasVmnet: true) == .vmnet)
        #expect(try chosen("--egress", "deny", "v", hasVmnet: true) == .user)
        #expect(try chosen("--vmnet-mode", "bridged", "--vmnet-interface", "en0", "v", hasVmnet: true) == .vmnet)
    }
}
