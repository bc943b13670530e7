// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Platform
import TapUplink
import VmnetUplink

/// `vde_vmnet interfaces`: what `--vmnet-interface` takes.
package struct Interfaces: ParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "interfaces", abstract: "List the interfaces that --vmnet-interface accepts.")

    package init() {}

    package mutating func run() throws {
        let lines = Root.vmnet.map { $0.bridgeableInterfaces().sorted() } ?? Interfaces.lines()
        if lines.isEmpty {
            StandardOutput.writeError("vde_vmnet: this host has no bridge and no wired NIC that can be bridged\n")
        }
        for line in lines { try CommandOutput.write(line + "\n") }
    }

    private static func lines() -> [String] {
        NetworkInterfaces.names().sorted().compactMap { name in
            guard BridgeKind.refusal(of: name) == nil else { return nil }
            let kind: String
            switch BridgeKind(interface: name) {
            case .bridge: kind = "Linux bridge: guests, host and network reach each other"
            case .openVSwitch: kind = "Open vSwitch bridge: guests, host and network reach each other"
            case .nic: kind = "NIC: guests and network reach each other, guests and this host do not"
            case .wireless: return nil
            }
            return name + String(repeating: " ", count: max(1, 17 - name.count)) + kind
        }
    }
}
