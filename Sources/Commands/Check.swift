// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Daemon
import Lifecycle
import NetworkCheck
import Platform
import VDEPlug
import Wire

/// `vde_vmnet check VDE`: joins a network as a tiny guest and tries what guests do.
package struct Check: ParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Join a VDE network as a tiny guest and try lease, ARP, ping, name and TCP.",
        discussion: """
            Works on any VDE network, ours or not, without privilege. One line for each hop: ok, failed with the likely cause and one thing \
            to try, or skipped where the network does not offer it. Exit status 0 only if all that is offered holds.
            """)

    @Argument(help: "The network, as for join.")
    var vde: String?

    @Option(help: ArgumentHelp("A name to resolve. The default never leaves the host.", valueName: "name"))
    var name = "localhost"

    @Option(
        help: ArgumentHelp(
            "Open a TCP connection to an IPv4 address and port, such as 203.0.113.1:443, and close it at once.",
            valueName: "address:port"))
    var tcp: EndpointArgument?

    @Flag(help: "One JSON object instead of lines.")
    var json = false

    package init() {}

    package mutating func validate() throws {
        guard DNSName(name) != nil else { throw ValidationError("--name: '\(name)' is not a domain name") }
        do {
            _ = try PlugLocator(vde, home: nil)
        } catch {
            throw ValidationError(error.description)
        }
    }

    package mutating func run() throws {
        let locator = try PlugLocator(vde, home: Accounts.environment("HOME"))
        let asJSON = json
        var hops: [Hop] = []
        func report(_ hop: Hop) {
            hops.append(hop)
            if !asJSON { StandardOutput.write(Check.line(for: hop)) }
        }
        let start = MonotonicClock.now
        let connection: Connection
        do throws(PlugError) {
            connection = try Connection(locator)
        } catch {
            let parts = error.description.split(separator: ";", maxSplits: 1)
            let remedy = parts.count > 1 ? String(parts[1].drop { $0 == " " }) : nil
            report(
                Hop(
                    name: "join", outcome: .failed, duration: MonotonicClock.now - start, detail: String(parts[0]),
                    remedy: remedy))
            return try finish(hops, holds: false)
        }
        report(Hop(name: "join", outcome: .ok, duration: MonotonicClock.now - start, detail: connection.name))
        // The same address in every run of one user, so that checks do not use up the pool.
        let seed = Array(
            "check \(Accounts.effectiveUser) \(connection.name) \(Files.text("/etc/machine-id") ?? "")".utf8)
        let guest = Guest(hardware: MACAddress(locallyAdministeredFrom: seed), link: connection)
        let check = NetworkCheck(
            guest, NetworkCheck.Questions(name: DNSName(name)!, connect: tcp.map { ($0.address, $0.port) }),
            onHop: report)
        let holds = check.run()
        try finish(hops, holds: holds)
    }

    private func finish(_ hops: [Hop], holds: Bool) throws {
        if json {
            let report = JSON.object([("ok", .bool(holds)), ("hops", .array(hops.map(Check.json)))])
            StandardOutput.write(report.text + "\n")
        }
        if !holds { throw ExitCode(ExitStatus.failure.rawValue) }
    }

    static func line(for hop: Hop) -> String {
        func padded(_ text: String, _ width: Int) -> String {
            text + String(repeating: " ", count: max(0, width - text.count))
        }
        let time = hop.outcome == .skipped ? "" : milliseconds(hop.duration) + " ms"
        let right = String(repeating: " ", count: max(0, 11 - time.count)) + time
        var line = "\(padded(hop.outcome.rawValue, 8))\(padded(hop.name, 6))\(right)  \(hop.detail)\n"
        if let remedy = hop.remedy { line += String(repeating: " ", count: 27) + "try: \(remedy)\n" }
        return line
    }

    /// Nanoseconds as milliseconds with one decimal.
    private static func milliseconds(_ duration: UInt64) -> String {
        "\(duration / 1_000_000).\(duration / 100_000 % 10)"
    }

    private static func json(_ hop: Hop) -> JSON {
        var members: [(String, JSON)] = [("hop", .string(hop.name)), ("outcome", .string(hop.outcome.rawValue))]
        if hop.outcome != .skipped { members.append(("milliseconds", .number(Double(hop.duration / 1000) / 1000))) }
        members.append(("detail", .string(hop.detail)))
        if let remedy = hop.remedy { members.append(("remedy", .string(remedy))) }
        return .object(members)
    }
}

/// `ADDRESS:PORT` with an IPv4 address.
struct EndpointArgument: ExpressibleByArgument {
    let address: IPv4Address
    let port: UInt16

    init?(argument: String) {
        let parts = argument.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2, let address = IPv4Address(parts[0]), let port = UInt16(parts[1]), port > 0 else {
            return nil
        }
        self.address = address
        self.port = port
    }
}

/// A VDE network joined as a guest's program would.
private final class Connection: GuestLink {
    private enum Kind: ~Copyable {
        case plug(Plug)
        case cable(PointToPoint)
    }

    private let kind: Kind
    private let link: DatagramLink
    let name: String

    init(_ locator: PlugLocator) throws(PlugError) {
        let options = PlugOptions(
            description: "vde_vmnet check user=\(Accounts.userName(Accounts.effectiveUser)) pid=\(Accounts.processID)")
        let candidates: [String], port: Int
        switch locator {
        case .pointToPoint(let path):
            let cable = try PointToPoint(path: path, group: nil)
            guard !cable.isFirst else {
                throw PlugError(
                    .noSwitch, "nobody is at the other end of the cable at \(path); start vde_vmnet '\(path)[]' first")
            }
            link = try Connection.link(cable.socket)
            name = path
            kind = .cable(cable)
            return
        case .switchDirectory(let path, let number): (candidates, port) = ([path], number)
        case .defaultSwitch(let paths, let number): (candidates, port) = (paths, number)
        }
        let plug = try Plug.join(anyOf: candidates, port: port, options: options)
        link = try Connection.link(plug.data)
        name = plug.path
        kind = .plug(plug)
    }

    private static func link(_ socket: borrowing Descriptor) throws(PlugError) -> DatagramLink {
        do throws(SystemError) {
            return DatagramLink(try socket.duplicate())
        } catch {
            throw PlugError(.system, error.description)
        }
    }

    func send(_ frame: [UInt8]) { link.send(frame) }

    func receive(until deadline: UInt64) -> [UInt8]? { link.receive(until: deadline) }
}
