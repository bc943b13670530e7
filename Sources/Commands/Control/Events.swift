// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import ControlProtocol
import ControlSocket
import Lifecycle
import Platform
import Timing

/// `vde_vmnet events`: what happens on a network, as it happens.
package struct Events: ParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "events",
        abstract: "Print what happens on a network, one line for each event, until the network ends.",
        discussion: """
            join, leave: a client has got a port, or has left it
            lease, conflict: an address was leased, or is used by a host without a lease
            drops: at least 32 frames were dropped at a port within a second
            offence: a guest has broken the rules; refusal: --egress has refused a name, or packets
            uplink: it was lost, or works again, or leaves by other interfaces of the host; host: links, addresses, \
            routes, nftables or resolvers have changed
            loop: a loop was found at a port, or has ended; change: a client of the control socket has changed the \
            network
            lost: this program did not read, and events were discarded
            """)

    @OptionGroup var network: NamedNetworkOptions

    @Option(
        help: ArgumentHelp("Kinds of events to print, with commas. (default: all)", valueName: "kinds"),
        completion: .list([
            "join", "leave", "lease", "conflict", "drops", "offence", "refusal", "uplink", "host", "loop", "change",
        ]))
    var only: String?

    @Flag(help: "Print each event as one JSON object.")
    var json = false

    private var kinds: [Substring]? { only?.split(separator: ",", omittingEmptySubsequences: false) }

    package init() {}

    package func validate() throws {
        if let kinds, kinds.contains("") {
            throw ValidationError("--only needs kinds of events with a comma between them, such as lease,refusal")
        }
    }

    package func run() throws {
        let connection = try network.connect()
        let chosen = kinds.map { [("events", JSON.array($0.map { .string(String($0)) }))] } ?? []
        _ = try connection.call("subscribe", chosen)
        while true {
            let event: JSON?
            do throws(ControlConnection.Failure) {
                event = try connection.event(until: BootClock.now + .seconds(1))
            } catch {
                guard case .ended = error else { throw error.exitError }
                return StandardOutput.writeError("vde_vmnet: \(error)\n")
            }
            guard StandardOutput.isOpen else { return }
            guard let event else { continue }
            try CommandOutput.write((json ? event.text : Events.line(event)) + "\n")
        }
    }

    /// An event as a line for people: its kind, and `name=value` for each fact.
    static func line(_ event: JSON) -> String {
        let facts = (event["data"]?.members ?? []).compactMap { name, value -> String? in
            switch value {
            case .null: nil
            case .string(let text): "\(name)=\(text.contains(" ") ? "'\(text)'" : text)"
            default: "\(name)=\(value.text)"
            }
        }
        return PrintableText.line(([event["event"]?.string ?? "?"] + facts).joined(separator: " "), limit: 1024)
    }
}
