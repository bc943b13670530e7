// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import ControlProtocol
import ControlSocket
import Lifecycle
import Platform
import Timing

/// `vde_vmnet list`: the networks that run.
package struct List: ParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "list",
        abstract: "List the networks that run.",
        discussion: """
            Root sees its own networks and those of all users; other users see their own, and root's networks that \
            are theirs to use. A network without a control socket (--control off, --control PATH) is not listed.
            """)

    @Flag(help: "Print one JSON array instead of a table.")
    var json = false

    package init() {}

    package mutating func run() throws {
        let survey = NetworkSurvey.make(), networks = survey.networks.compactMap(List.describe)
        for user in survey.crowdedUsers {
            StandardOutput.writeError(
                """
                vde_vmnet: \(UserDatabase.userName(user)) has more than \(ControlPlaces.searchedOfOtherUser) control \
                sockets; only the first of them were asked\n
                """)
        }
        if json { return try CommandOutput.write(JSON.array(networks).text + "\n") }
        var table = TextTable("NAME", "OWNER", "PROCESS", "UPLINK", "NETWORK", "PORTS", "UP")
        for network in networks where network["error"] == nil {
            table.add(
                network["name"]?.string ?? "", network["owner"]?.string ?? "",
                network["process"]?.integer.map { String($0) } ?? "", network["uplink"]?["kind"]?.string ?? "",
                network["network"]?.string ?? "-", network["ports"]?.integer.map { String($0) } ?? "",
                network["uptime"]?.integer.map { TerminalText.duration($0) } ?? "")
        }
        if networks.isEmpty { return StandardOutput.writeError("vde_vmnet: no network runs here\n") }
        if !table.isEmpty { try CommandOutput.write(table.text(hasColours: TerminalText.hasColours)) }
        for network in networks {
            guard let error = network["error"]?.string else { continue }
            StandardOutput.writeError("vde_vmnet: \(network["name"]?.string ?? ""): \(PrintableText.line(error))\n")
        }
    }

    /// The facts about the network behind a socket; nil if no process serves it, or it is not this user's to use.
    private static func describe(_ network: NetworkSurvey.Network) -> JSON? {
        let path = network.connection.path
        let name = String(path.split(separator: "/").last ?? "")
        do throws(ControlConnection.Failure) {
            let status = try network.status.get()
            let members = (status.members ?? []).filter { $0.0 != "name" && $0.0 != "socket" }
            return .object([("name", .string(name)), ("socket", .string(path))] + members)
        } catch {
            if case .refused(let refusal) = error, refusal.code == .denied { return nil }
            return .object([
                ("name", .string(name)), ("socket", .string(path)), ("error", .string(PrintableText.line("\(error)"))),
            ])
        }
    }
}
