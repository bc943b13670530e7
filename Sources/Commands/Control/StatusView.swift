// SPDX-License-Identifier: Apache-2.0
import ControlProtocol
import Platform
import Timing
import Wire

/// Shows samples of a network as text or JSON, with the rates between two of them.
struct StatusView {
    /// Bits a second from a port's clients and to them.
    struct Rate {
        var fromClient = 0.0
        var toClient = 0.0
        var drops = 0.0
    }

    let hasColours: Bool
    private var rates: [Int: Rate] = [:]
    /// The last rates of each port, both directions together.
    private var history: [Int: [Double]] = [:]

    init(hasColours: Bool) { self.hasColours = hasColours }

    /// Computes the rates of every port.
    mutating func note(_ sample: StatusSample, since before: StatusSample) {
        let seconds = Double((sample.time - before.time).microseconds) / 1_000_000
        guard seconds > 0 else { return }
        var earlier: [Int: JSON] = [:]
        for port in before.ports { if let id = port["id"]?.integer { earlier[id] = port } }
        rates = [:]
        var lasting: [Int: [Double]] = [:]
        for port in sample.ports {
            guard let id = port["id"]?.integer else { continue }
            func rate(_ name: String) -> Double {
                // Another client may have got the port: its counters begin at 0.
                max(0, Double((port[name]?.integer ?? 0) - (earlier[id]?[name]?.integer ?? 0))) / seconds
            }
            let drops = StatusView.drops(port), dropsBefore = earlier[id].map { StatusView.drops($0) } ?? 0
            let current = Rate(
                fromClient: rate("bytes_in") * 8, toClient: rate("bytes_out") * 8,
                drops: max(0, Double(drops - dropsBefore)) / seconds)
            rates[id] = current
            lasting[id] = Array(
                ((history[id] ?? []) + [current.fromClient + current.toClient]).suffix(WatchScreen.graphLength))
        }
        history = lasting
    }

    private static func drops(_ port: JSON) -> Int {
        (port["drops"]?.members ?? []).reduce(0) { $0 + ($1.1.integer ?? 0) }
    }

    // MARK: JSON

    func json(_ sample: StatusSample) -> JSON {
        let ports = sample.ports.map { port -> JSON in
            let rate = port["id"]?.integer.flatMap { rates[$0] } ?? Rate()
            return .object(
                (port.members ?? []) + [
                    ("bits_per_second_in", .integer(Int(rate.fromClient))),
                    ("bits_per_second_out", .integer(Int(rate.toClient))),
                ])
        }
        let members = (sample.status.members ?? []).map { $0.0 == "ports" ? ("port_count", $0.1) : $0 }
        return .object(
            members + [
                ("ports", .array(ports)), ("leases", sample.leases.map { .array($0) } ?? .null),
                ("flows", sample.flows.map { .array($0) } ?? .null),
            ])
    }

    // MARK: Text

    func text(_ sample: StatusSample) -> String {
        network(sample.status).map { $0 + "\n" }.joined() + "\n" + ports(sample.ports) + published(sample.status)
            + leases(sample.leases) + addresses6(sample.ports) + flows(sample.flows)
    }

    /// What fits into a terminal of this size.
    func screen(_ sample: StatusSample, rows: Int, columns: Int) -> String {
        let further = (published(sample.status) + leases(sample.leases) + addresses6(sample.ports)).split(
            separator: "\n", omittingEmptySubsequences: false
        ).map(String.init)
        let ports = sample.ports.filter(StatusView.isShown).map { port in
            let id = port["id"]?.integer ?? 0, guests = port["guests"]?.array ?? []
            let more = guests.count > 1 ? " +\(guests.count - 1)" : ""
            let short = guests.first.map { guest in
                (guest["name"]?.string ?? guest["address"]?.string ?? guest["mac"]?.string ?? "") + more
            }
            return WatchScreen.Port(
                name: StatusView.name(port), guest: (StatusView.guests(port), short ?? ""), rate: rates[id] ?? Rate(),
                queue: port["queue"]?.integer ?? 0, drops: (StatusView.reasons(port), StatusView.drops(port)),
                history: history[id] ?? [], client: client(port))
        }
        return WatchScreen(hasColours: hasColours, rows: rows, columns: columns).text(
            facts: network(sample.status), ports: ports, further: further.last == "" ? further.dropLast() : further)
    }

    private func network(_ status: JSON) -> [String] {
        func words(_ value: JSON?) -> String { (value?.array ?? []).compactMap(\.string).joined(separator: ", ") }
        let uplink = status["uplink"]
        let answersDNS = status["answers_dns"]?.bool ?? true
        var rows: [(String, String)] = [
            (
                "network",
                "\(status["name"]?.string ?? "") of \(status["owner"]?.string ?? ""), process "
                    + "\(status["process"]?.integer ?? 0), up \(TerminalText.duration(status["uptime"]?.integer ?? 0))"
            ),
            ("switch", StatusView.place(status["switch"]?.string ?? "")),
            (
                "uplink",
                (uplink?["kind"]?.string ?? "") + (uplink?["interface"]?.string.map { " \($0)" } ?? "")
                    + (uplink?["reason"]?.string.map { " (\($0))" } ?? "")
                    + (uplink?["connected"]?.bool == false ? ", NOT CONNECTED" : "")
            ),
            (
                "gateway",
                [status["gateway"]?.string, status["network"]?.string].compactMap(\.self).joined(separator: " on ")
            ),
            (
                "IPv6 gateway",
                [status["gateway6"]?.string, status["network6"]?.string].compactMap(\.self).joined(separator: " on ")
            ),
            ("leaves by", words(uplink?["egress_interfaces"])),
            ("IPv6 by", StatusView.way6(uplink?["ipv6_way"])),
            ("resolvers", answersDNS ? words(status["resolvers"]) : ""),
            ("of domains", answersDNS ? words(status["domain_resolvers"]) : ""),
            ("host changes", words(uplink?["host_changes"])), ("DHCP", dhcp(status["dhcp"])),
            ("egress", egress(status["egress"])), ("refused", StatusView.refusals(status["egress"])),
            ("names", StatusView.checkedNames(status["egress"])), ("proxy", status["egress"]?["proxy"]?.string ?? ""),
            ("isolation", status["isolation"]?.bool == true ? "guests do not reach each other" : ""),
        ]
        rows.append(("NAT", StatusView.counts(uplink?["counters"])))
        rows.append(("NAT drops", StatusView.counts(uplink?["drops"])))
        return rows.filter { !$0.1.isEmpty }.map { name, value in
            let title = name + String(repeating: " ", count: max(1, 14 - name.count))
            return TerminalText.coloured(title, .bold, hasColours) + PrintableText.line(value, limit: 400)
        }
    }

    /// How guests' IPv6 packets leave the host.
    private static func way6(_ way: JSON?) -> String {
        switch way?.string {
        case "user"?: "user-mode NAT"
        case let way?: way
        case nil: ""
        }
    }

    /// Without the words that the title has.
    private static func place(_ text: String) -> String {
        let title = "switch at "
        return text.hasPrefix(title) ? String(text.dropFirst(title.count)) : text
    }

    /// Such as `3 TCP connections, 1 UDP flow`.
    private static func counts(_ counters: JSON?) -> String {
        (counters?.members ?? []).map { name, value in
            let count = value.integer ?? 0
            guard let word = words[name] else {
                return "\(count) " + name.split(separator: "_").joined(separator: " ")
            }
            return StatusView.count(count, word)
        }.joined(separator: ", ")
    }

    /// Counters that text calls by other words, in the singular.
    private static let words = [
        "tcp_connections": "TCP connection", "udp_flows": "UDP flow", "retransmissions": "retransmission",
    ]

    private static func count(_ count: Int, _ word: String) -> String { "\(count) \(word)\(count == 1 ? "" : "s")" }

    /// What the egress policy has refused; empty without a policy that refuses.
    private static func refusals(_ egress: JSON?) -> String {
        guard let egress, egress["policy"]?.string == "deny" || egress["denies_private"]?.bool == true else {
            return ""
        }
        func counted(_ name: String, _ word: String) -> String? { egress[name]?.integer.map { count($0, word) } }
        let refused = [
            counted("refused_packets", "packet"), counted("refused_names", "name"),
            counted("refused_answers", "answer"),
        ].compactMap(\.self).joined(separator: ", ")
        let isLogged = egress["refusals_logged"]?.bool == true
        return [refused, counted("pinned", "pin") ?? "", "the log is \(isLogged ? "on" : "off")"].joined(
            separator: "; ")
    }

    /// Where names are compared with the policy.
    private static func checkedNames(_ egress: JSON?) -> String {
        guard egress?["names_checked"]?.bool == true else { return "" }
        return "checked in queries" + (egress?["connections_checked"]?.bool == true ? " and within connections" : "")
    }

    private func dhcp(_ dhcp: JSON?) -> String {
        guard let dhcp, let server = dhcp["server"]?.string else { return "" }
        guard server == "builtin" else { return server == "other" ? "another server serves this network" : server }
        return
            "\(dhcp["first"]?.string ?? "") to \(dhcp["last"]?.string ?? ""), \(dhcp["leased"]?.integer ?? 0) of "
            + "\(dhcp["size"]?.integer ?? 0) leased"
    }

    private func egress(_ egress: JSON?) -> String {
        guard let egress, egress["policy"]?.string == "deny" else {
            return egress?["denies_private"]?.bool == true ? "the Internet; private networks are denied" : ""
        }
        let allowed = (egress["allowed"]?.array ?? []).compactMap(\.string)
        return "denied" + (allowed.isEmpty ? "" : " but " + allowed.joined(separator: ", "))
    }

    private func ports(_ ports: [JSON]) -> String {
        var table = TextTable("PORT", "GUEST", "IN", "OUT", "QUEUE", "DROPS", "CLIENT")
        for port in ports where StatusView.isShown(port) {
            let rate = port["id"]?.integer.flatMap { rates[$0] } ?? Rate()
            table.add(
                StatusView.name(port), StatusView.guests(port), TerminalText.rate(rate.fromClient),
                TerminalText.rate(rate.toClient), String(port["queue"]?.integer ?? 0), StatusView.reasons(port),
                client(port))
        }
        return table.isEmpty ? "no port is in use\n" : table.text(hasColours: hasColours)
    }

    private static func isShown(_ port: JSON) -> Bool { port["role"]?.string != "service" }

    private static func name(_ port: JSON) -> String {
        if port["role"]?.string == "uplink" { return port["uplink"]?.string ?? "uplink" }
        return port["port"]?.integer.map { String($0) } ?? "#\(port["id"]?.integer ?? 0)"
    }

    /// The first guest at a port, and the number of others.
    private static func guests(_ port: JSON) -> String {
        let guests = (port["guests"]?.array ?? []).map { guest in
            [guest["name"]?.string, guest["address"]?.string, guest["mac"]?.string].compactMap(\.self)
                .joined(separator: " ")
        }
        return guests.prefix(1).joined() + (guests.count > 1 ? " and \(guests.count - 1) more" : "")
    }

    private static func reasons(_ port: JSON) -> String {
        (port["drops"]?.members ?? []).map { "\($0.1.integer ?? 0) \($0.0)" }.joined(separator: ", ")
    }

    /// A client as it describes itself, and its user and process, unless the description has them.
    private func client(_ port: JSON) -> String {
        let description = String((port["description"]?.string ?? "").prefix(60))
        guard let process = port["process"]?.integer, description.firstRange(ofText: "\(process)") == nil else {
            return description
        }
        return "\(description) of \(port["user"]?.string ?? "an unknown user") (process \(process))"
    }

    private func published(_ status: JSON) -> String {
        var table = TextTable("PUBLISHED", "LEADS TO")
        for one in status["published"]?.array ?? [] {
            table.add(one["port"]?.string ?? "", one["guest"]?.string ?? "nowhere until the guest has a lease")
        }
        return table.isEmpty ? "" : "\n" + table.text(hasColours: hasColours)
    }

    /// Flows that are shown as text; JSON has more.
    private static let shownFlows = 20

    private func flows(_ flows: [JSON]?) -> String {
        var table = TextTable("FLOW", "GUEST", "REMOTE")
        func end(_ flow: JSON?) -> String {
            let address = flow?["address"]?.string ?? "", port = flow?["port"]?.integer ?? 0
            return address.contains(":") ? "[\(address)]:\(port)" : "\(address):\(port)"
        }
        for flow in (flows ?? []).prefix(StatusView.shownFlows) {
            table.add(flow["transport"]?.string ?? "", end(flow["guest"]), end(flow["remote"]))
        }
        let further = (flows?.count ?? 0) - StatusView.shownFlows
        return table.isEmpty
            ? ""
            : "\n" + table.text(hasColours: hasColours) + (further > 0 ? "and \(further) more; --json has them\n" : "")
    }

    /// The IPv6 addresses of guests, in the order of the ports; those of the link last.
    private func addresses6(_ ports: [JSON]) -> String {
        var table = TextTable("IPv6 ADDRESS", "MAC", "NAME", "PORT")
        for port in ports where StatusView.isShown(port) {
            for guest in port["guests"]?.array ?? [] {
                let all = (guest["addresses6"]?.array ?? []).compactMap(\.string)
                let ofLink = all.filter { $0.hasPrefix("fe80:") }
                for address in all.filter({ !$0.hasPrefix("fe80:") }) + ofLink {
                    table.add(
                        address, guest["mac"]?.string ?? "", guest["name"]?.string ?? "-", StatusView.name(port))
                }
            }
        }
        return table.isEmpty ? "" : "\n" + table.text(hasColours: hasColours)
    }

    private func leases(_ leases: [JSON]?) -> String {
        let table = LeaseText.table(leases ?? [])
        return table.isEmpty ? "" : "\n" + table.text(hasColours: hasColours)
    }
}

/// Leases as text.
enum LeaseText {
    /// With a column of IPv6 addresses if one is reserved.
    static func table(_ leases: [JSON]) -> TextTable {
        let hasIPv6 = leases.contains { $0["address6"]?.string != nil }
        var table = TextTable(["LEASE", "MAC", "NAME", "PORT", "LEFT"] + (hasIPv6 ? ["IPv6 ADDRESS"] : []))
        for lease in leases {
            // A reserved address without a lease has none.
            let left = lease["seconds_left"]?.integer
            table.add(
                [
                    lease["address"]?.string ?? "", lease["mac"]?.string ?? "", lease["name"]?.string ?? "-",
                    lease["port"]?.integer.map { String($0) } ?? "-",
                    left.map { $0 > 0 ? TerminalText.duration($0) : "ended" } ?? "reserved",
                ] + (hasIPv6 ? [lease["address6"]?.string ?? "-"] : []))
        }
        return table
    }
}
