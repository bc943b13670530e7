// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import ControlProtocol
import ControlSocket
import NetworkConfiguration
import Doctor
import Lifecycle
import Platform
import Timing

/// `vde_vmnet doctor [NAME]`: what on this host keeps guests from their network.
package struct DoctorCommand: ParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "Examine this host, and a running network, for what keeps guests from the network.",
        discussion: """
            Changes nothing. Prints one line for each check: ok, warning or failed, with the cause; and below it one \
            command that fixes the cause. Without a network, the host is examined for a start. With sudo it examines \
            what a TAP needs. The resolvers of /etc/resolv.conf get a query for localhost. The exit status is 0 \
            without a failed check, and 1 otherwise.
            """)

    @Argument(
        help: """
            The network: its name, or the path of its control socket; or the directory of a switch. (default: the \
            only network that runs, if there is one)
            """, completion: Completions.networks)
    var name: String?

    @Option(help: ArgumentHelp("The same as NAME.", valueName: "name"), completion: Completions.networks)
    var network: String?

    @Flag(help: "Print one JSON object instead of lines of text.")
    var json = false

    package init() {}

    package func validate() throws { try NamedNetworkOptions.checkOne(name, network) }

    package mutating func run() throws {
        let subject = try DoctorCommand.subject(name ?? network)
        let identity = ProgramIdentity(
            version: programVersion, hasVmnet: Root.vmnet != nil, isMacOS: OperatingSystem.isMacOS,
            controlDirectory: ControlPlaces.own, staleSockets: ControlPlaces.ownSockets.filter(DoctorCommand.isStale))
        let asJSON = json, hasColours = TerminalText.hasColours
        var all: [Diagnosis] = []
        var output = CommandOutput.Report()
        let holds = Doctor(subject, identity) { diagnosis in
            all.append(diagnosis)
            if !asJSON { output.write(DoctorCommand.text(diagnosis, hasColours: hasColours)) }
        }.run()
        if json { output.write(DoctorCommand.json(all, holds: holds).text + "\n") }
        try output.finish()
        if !holds { throw ExitCode(ExitStatus.failure.rawValue) }
    }

    // MARK: The subject

    /// Examines the only network that runs if the user names none, or the host if no network runs.
    private static func subject(_ name: String?) throws(ExitError) -> Doctor.Subject {
        guard let name else {
            guard let connection = try NetworkLookup.connectToOnlyOne() else { return .host }
            return .network(try facts(connection))
        }
        if name.contains("/"), (try? Files.status(name).kind) != .socket { return .switchDirectory(name) }
        let candidates = ControlPlaces.candidates(name)
        if let first = candidates.first, candidates.allSatisfy(isStale) { return .staleSocket(first) }
        return .network(try facts(NetworkLookup.connect(name)))
    }

    private static func isStale(_ path: String) -> Bool {
        do throws(ControlConnection.Failure) {
            _ = try ControlConnection(path)
            return false
        } catch {
            if case .unreachable(let reason) = error { return reason.code == Errno.refused }
            return false
        }
    }

    private static func facts(_ connection: ControlConnection) throws(ExitError) -> NetworkFacts {
        let status = try connection.call("status")
        guard status["dhcp"] != nil else {
            throw ExitError(
                .noPermission,
                "\(connection.path) reports counters only to this user; examine it as root or as the network's owner"
            )
        }
        let isServing = status["dhcp"]?["server"]?.string == "builtin"
        return NetworkFacts(
            socket: connection.path, process: connection.server?.process ?? 0, status: status,
            ports: try connection.list("ports", "ports"),
            leases: isServing ? try connection.list("leases", "leases") : [])
    }

    // MARK: Output

    static func text(_ diagnosis: Diagnosis, hasColours: Bool) -> String {
        func padded(_ text: String, _ width: Int) -> String {
            text + String(repeating: " ", count: max(0, width - text.count))
        }
        let colour: TerminalText.Colour =
            switch diagnosis.outcome {
            case .ok: .green
            case .warning: .yellow
            case .failed: .red
            }
        let outcome = TerminalText.coloured(padded(diagnosis.outcome.rawValue, 8), colour, hasColours)
        let detail = PrintableText.line(diagnosis.detail, limit: 1024)
        let cause = diagnosis.cause.map { " (\($0.rawValue))" } ?? ""
        var line = "\(outcome)\(padded(diagnosis.check, 11))\(detail)\(cause)\n"
        if let command = diagnosis.command {
            line += String(repeating: " ", count: 19) + "fix: \(PrintableText.line(command, limit: 8192))\n"
        }
        return line
    }

    static func json(_ diagnoses: [Diagnosis], holds: Bool) -> JSON {
        .object([
            ("ok", .bool(holds)),
            (
                "checks",
                .array(
                    diagnoses.map { diagnosis in
                        .object([
                            ("check", .string(diagnosis.check)), ("outcome", .string(diagnosis.outcome.rawValue)),
                            ("cause", .optional(diagnosis.cause?.rawValue)), ("detail", .string(diagnosis.detail)),
                            ("command", .optional(diagnosis.command)),
                        ])
                    })
            ),
        ])
    }
}
