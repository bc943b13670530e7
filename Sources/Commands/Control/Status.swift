// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import ControlProtocol
import ControlSocket
import Lifecycle
import Platform
import Timing

/// `vde_vmnet status [NAME]`: what a network is and does.
package struct Status: ParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Show a network: uplink, ports, guests, rates, drops, leases, published ports.",
        discussion: """
            Rates are measured over half a second, or over the interval of --watch. Colours are used on a terminal \
            only, and not if NO_COLOR is set. A member of the network's --control-group sees counters only.
            """)

    @OptionGroup var network: NamedNetworkOptions

    @Flag(help: "Print one JSON object; with --watch, one on each line.")
    var json = false

    @Flag(help: "Refresh the screen every second, until interrupted, with a graph for each port.")
    var watch = false

    package init() {}

    package mutating func run() throws {
        let connection = try network.connect()
        var view = StatusView(hasColours: TerminalText.hasColours)
        var before = try StatusSample(connection)
        if watch {
            while true {
                BootClock.sleep(.seconds(1))
                let sample = try StatusSample(connection)
                view.note(sample, since: before)
                before = sample
                if json {
                    try CommandOutput.write(view.json(sample).text + "\n")
                } else {
                    // A file or pipe has room for everything.
                    let size = StandardOutput.terminalSize
                    let text = view.screen(sample, rows: size?.rows ?? 100_000, columns: size?.columns ?? 1000)
                    try CommandOutput.write(size == nil ? text : Status.redrawn(text))
                }
                guard StandardOutput.isOpen else { return }
            }
        }
        BootClock.sleep(.milliseconds(500))
        var sample = try StatusSample(connection)
        try sample.readFlows(connection)
        view.note(sample, since: before)
        try CommandOutput.write(json ? view.json(sample).text + "\n" : view.text(sample))
    }

    /// Home, each line cleared and written, and the rest of the screen cleared (ECMA-48). The whole screen is not
    /// cleared first, which would flicker. A line is not cleared after its text, which may end at the last column.
    static func redrawn(_ text: String) -> String {
        "\u{1b}[H"
            + text.split(separator: "\n", omittingEmptySubsequences: false).map { "\u{1b}[2K" + $0 }
            .joined(separator: "\n") + "\u{1b}[J"
    }
}

/// The state of a network at one moment.
struct StatusSample {
    let time: Instant
    let status: JSON
    let ports: [JSON]
    /// nil if the network leases no addresses, or the client may not read them.
    let leases: [JSON]?
    /// nil if the network has no user-mode NAT, or they were not read.
    private(set) var flows: [JSON]?

    init(_ connection: ControlConnection) throws(ExitError) {
        status = try connection.call("status")
        ports = try connection.list("ports", "ports")
        time = BootClock.now
        let isServing = status["dhcp"]?["server"]?.string == "builtin"
        leases = isServing ? try connection.list("leases", "leases") : nil
    }

    /// Reads the TCP connections of a user-mode NAT, if the client may. Not for each of many samples: the NAT waits
    /// meanwhile.
    mutating func readFlows(_ connection: ControlConnection) throws(ExitError) {
        let uplink = status["uplink"]
        // The NAT beside a TAP carries IPv6 only.
        guard uplink?["kind"]?.string == "user" || uplink?["ipv6_way"]?.string == "user", status["dhcp"] != nil else {
            return
        }
        flows = try connection.call("flows", [("limit", .integer(1024))])["flows"]?.array
    }
}
