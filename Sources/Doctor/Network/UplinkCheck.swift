// SPDX-License-Identifier: Apache-2.0
import Platform

/// Whether the running network's uplink works.
struct UplinkCheck: HostCheck {
    static let name = "uplink"

    let kind: String
    let isConnected: Bool
    let socket: String

    init(_ network: NetworkFacts) {
        kind = network.uplink
        isConnected = network.isUplinkConnected
        socket = network.socket
    }

    var diagnoses: [Diagnosis] {
        if kind == "none" { return Self.ok("this network has none") }
        if isConnected { return Self.ok("\(kind), connected") }
        return [
            Self.failed(
                .uplinkLost, "the uplink (\(kind)) is lost, and guests reach each other only",
                ShellText.command("vde_vmnet", "events", socket, "--only", "uplink"))
        ]
    }
}
