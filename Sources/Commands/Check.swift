// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import ControlProtocol
import NetworkConfiguration
import Lifecycle
import NetworkCheck
import Platform
import Timing
import VDEPlug
import Wire

/// `vde_vmnet check VDE`: joins a network as a minimal guest and tests what guests need.
package struct Check: ParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Join a VDE network as a minimal guest and test DHCP, ARP, ping, MTU, DNS, TCP and IPv6.",
        discussion: """
            Works on any VDE network, without privilege. Prints one line per step: ok, failed (with the likely cause \
            and something to try), or skipped (the network does not offer it, and you did not request it). The exit \
            status is 0 if no step failed.

            --seconds N --to ADDRESS:PORT or [ADDRESS]:PORT measures one TCP connection from the guest to a server \
            that discards what it reads, such as socat -u TCP-LISTEN:5001 /dev/null (TCP6-LISTEN for IPv6): what the \
            server acknowledges, with a window of 64 KiB at most and without offload. It shows whether a network is \
            slow, not how fast it is for a real guest.
            """)

    @Argument(help: "The network to check, in the same form as for join.", completion: .directory)
    var vde: String?

    @Option(help: ArgumentHelp("Name to resolve. The default needs no server outside the host.", valueName: "name"))
    var name = "localhost"

    @Option(
        help: ArgumentHelp(
            "IPv4 address and port to open a TCP connection to, such as 203.0.113.1:443.",
            valueName: "address:port"), transform: EndpointArgument.parse)
    var tcp: EndpointArgument?

    @Option(
        help: ArgumentHelp(
            "IPv6 address and port to open a TCP connection to, such as [2001:db8::1]:443.",
            valueName: "[address]:port"), transform: Endpoint6Argument.parse)
    var tcp6: Endpoint6Argument?

    @Option(
        help: ArgumentHelp("Measure the throughput to the server of --to for 1 to 3600 seconds.", valueName: "n"),
        transform: Int.parse)
    var seconds: Int?

    @Option(
        help: ArgumentHelp(
            "The TCP server of --seconds, which discards what it reads: an IPv4 address, or an IPv6 one in brackets.",
            valueName: "address:port"), transform: AnyEndpointArgument.parse)
    var to: AnyEndpointArgument?

    @Flag(help: "Print one JSON object instead of lines of text.")
    var json = false

    package init() {}

    package mutating func validate() throws {
        guard DNSName(name) != nil else { throw ValidationError("--name: '\(name)' is not a domain name") }
        guard (seconds == nil) == (to == nil) else {
            throw ValidationError("--seconds and --to go together: check --seconds 5 --to 203.0.113.1:5001")
        }
        for (option, address) in [
            ("tcp", tcp.map { IPAddress.ipv4($0.address) }), ("tcp6", tcp6.map { .ipv6($0.address) }),
            ("to", to?.address),
        ] {
            guard let address, !Check.isDestination(address) else { continue }
            throw ValidationError(
                "--\(option): a guest cannot connect to \(address); give an address of the host or beyond it")
        }
        if let seconds, !(1...3600).contains(seconds) {
            throw ValidationError("--seconds: \(seconds) is not from 1 to 3600")
        }
        do {
            _ = try VirtualNetworkLocator(vde, home: nil)
        } catch {
            throw ValidationError(error.description)
        }
    }

    /// Whether an address is neither the sender itself nor a group.
    private static func isDestination(_ address: IPAddress) -> Bool {
        guard !address.isLoopback, !address.isUnspecified else { return false }
        return switch address {
        case .ipv4(let address): !address.isMulticastOrBroadcast
        case .ipv6(let address): !address.isMulticast
        }
    }

    package mutating func run() throws {
        let locator = try VirtualNetworkLocator(vde, home: CurrentProcess.environment("HOME"))
        let asJSON = json
        var steps: [CheckStep] = []
        var output = CommandOutput.Report()
        func report(_ step: CheckStep) {
            steps.append(step)
            if !asJSON { output.write(Check.line(for: step)) }
        }
        let start = BootClock.now
        let connection: CheckConnection
        do throws(PlugError) {
            connection = try CheckConnection(locator)
        } catch {
            let parts = error.parts
            report(
                CheckStep(
                    name: "join", outcome: .failed, duration: BootClock.now - start, detail: parts.failure,
                    remedy: parts.nextStep))
            return try finish(steps, output, holds: false)
        }
        report(CheckStep(name: "join", outcome: .ok, duration: BootClock.now - start, detail: connection.name))
        // One user's checks always have the same hardware address, so that they do not use up the pool.
        let host = Files.text("/etc/machine-id") ?? ""
        let seed = Array("check \(CurrentProcess.effectiveUser) \(connection.name) \(host)".utf8)
        let guest = Guest(hardware: MACAddress(locallyAdministeredFrom: seed), link: connection)
        let check = NetworkCheck(
            guest,
            NetworkCheck.Options(
                name: DNSName(name)!, connect: tcp.map { ($0.address, $0.port) },
                connect6: tcp6.map { ($0.address, $0.port) },
                throughput: to.map { (($0.address, $0.port), .seconds(Int64(seconds!))) }),
            onStep: report)
        let holds = check.run()
        try finish(steps, output, holds: holds)
    }

    private func finish(_ steps: [CheckStep], _ output: CommandOutput.Report, holds: Bool) throws {
        try output.finish()
        if json {
            let report = JSON.object([("ok", .bool(holds)), ("hops", .array(steps.map(Check.json)))])
            try CommandOutput.write(report.text + "\n")
        }
        if !holds { throw ExitCode(ExitStatus.failure.rawValue) }
    }

    static func line(for step: CheckStep) -> String {
        func padded(_ text: String, _ width: Int) -> String {
            text + String(repeating: " ", count: max(0, width - text.count))
        }
        let time = step.outcome == .skipped ? "" : milliseconds(step.duration) + " ms"
        let right = String(repeating: " ", count: max(0, 10 - time.count)) + time
        var line = "\(padded(step.outcome.rawValue, 8))\(padded(step.name, 8))\(right)  \(step.detail)\n"
        if let remedy = step.remedy { line += String(repeating: " ", count: 28) + "try: \(remedy)\n" }
        return line
    }

    /// In milliseconds with one decimal.
    private static func milliseconds(_ duration: TimeAmount) -> String {
        "\(duration.milliseconds).\(duration.microseconds / 100 % 10)"
    }

    private static func json(_ step: CheckStep) -> JSON {
        var members: [(String, JSON)] = [("hop", .string(step.name)), ("outcome", .string(step.outcome.rawValue))]
        if step.outcome != .skipped {
            members.append(("milliseconds", .number(Double(step.duration.microseconds) / 1000)))
        }
        members.append(("detail", .string(step.detail)))
        if let remedy = step.remedy { members.append(("remedy", .string(remedy))) }
        return .object(members)
    }
}
