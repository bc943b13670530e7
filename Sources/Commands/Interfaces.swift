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
        if let vmnet = Root.vmnet {
            for name in vmnet.bridgeableInterfaces().sorted() { try CommandOutput.write(name + "\n") }
            return
        }
        for name in NetworkInterfaces.names().sorted() where BridgeKind.refusal(of: name) == nil {
            let kind: String
            switch BridgeKind(interface: name) {
            case .bridge: kind = "Linux bridge: guests, host and network reach each other"
            case .openVSwitch: kind = "Open vSwitch bridge: guests, host and network reach each other"
            case .nic: kind = "NIC: guests and network reach each other, guests and this host do not"
            case .wireless: continue
            }
            try CommandOutput.write(name + String(repeating: " ", count: max(1, 17 - name.count)) + kind + "\n")
        }
    }
}
