// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Platform
import Wire

/// The interface that has the guests' subnet.
struct SubnetOwnerCheck: HostCheck {
    static let name = "subnet"

    /// What ifconfig(8) prints.
    let interfaces: String
    let network: IPv4Network
    let isRunning: Bool

    static func gathered(_ scene: Scene) -> SubnetOwnerCheck {
        SubnetOwnerCheck(
            interfaces: ToolOutput.of("ifconfig") ?? "",
            network: scene.network?.network?.network ?? IPv4Network("192.168.64.0/24")!,
            isRunning: scene.network != nil)
    }

    /// The interfaces with an address in the subnet, and whether they have a member of vmnet.
    private var owners: [(name: String, isVmnet: Bool)] {
        var found: [(name: String, isVmnet: Bool)] = []
        var name = "", hasAddress = false, isVmnet = false
        func finish() { if hasAddress { found.append((name, isVmnet)) } }
        for line in interfaces.split(separator: "\n") {
            if let first = line.first, !first.isWhitespace {
                finish()
                (name, hasAddress, isVmnet) = (String(line.prefix { $0 != ":" }), false, false)
            }
            let words = line.split(whereSeparator: \.isWhitespace)
            if words.first == "inet", words.count > 1, let address = IPv4Address(words[1]), network.contains(address) {
                hasAddress = true
            }
            if words.first == "member:", words.count > 1, words[1].hasPrefix("vmenet") { isVmnet = true }
        }
        finish()
        return found
    }

    var diagnoses: [Diagnosis] {
        let owners = owners
        if let other = owners.first(where: { !$0.isVmnet }) {
            return [
                Self.failed(
                    .subnetOwned, "\(network) belongs to \(other.name), which is not vmnet's",
                    ShellText.command("vde_vmnet", "--switch", "/tmp/vde", "--vmnet-gateway", "\(free)"))
            ]
        }
        guard let own = owners.first else { return Self.ok("\(network) is free") }
        return Self.ok(
            isRunning
                ? "\(network) is on \(own.name)"
                : "\(network) is on \(own.name): a network of vmnet runs, and shares it with a start")
    }

    /// A gateway beside the subnet.
    private var free: IPv4Address {
        let third = network.base.bytes[2]
        return IPv4Address(0xc0a8_0001 | UInt32(third < 200 ? third + 50 : third - 50) << 8)
    }
}
