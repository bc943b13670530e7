// SPDX-License-Identifier: Apache-2.0
import Platform

/// How many addresses are left for guests.
struct LeaseCheck: HostCheck {
    static let name = "leases"
    /// Percent of the addresses.
    private static let low = 90

    let leased: Int
    /// 0 if the network leases none.
    let size: Int
    let exhausted: Int
    let leases: [NetworkFacts.Lease]
    let socket: String

    init(_ network: NetworkFacts) {
        leased = network.leased
        size = network.poolSize
        exhausted = network.exhausted
        leases = network.leases
        socket = network.socket
    }

    /// The address that is needed least: without a guest at a port, and with the least time left.
    private var command: String {
        let unused = leases.filter { !$0.isConnected }
        guard let oldest = (unused.isEmpty ? leases : unused).min(by: { $0.secondsLeft < $1.secondsLeft }) else {
            return ShellText.command("vde_vmnet", "lease", "list", "--network", socket)
        }
        return ShellText.command("vde_vmnet", "lease", "release", "\(oldest.address)", "--network", socket)
    }

    var diagnoses: [Diagnosis] {
        guard size > 0 else { return Self.ok("this network leases no addresses") }
        if leased >= size {
            return [
                Self.failed(
                    .leasesExhausted, "all \(size) addresses are leased, and a further guest gets none", command)
            ]
        }
        if leased * 100 >= size * Self.low {
            return [
                Self.warning(.leasesLow, "\(leased) of \(size) addresses are leased", command)
            ]
        }
        let past = exhausted > 0 ? "; \(exhausted) requests have found none in the past" : ""
        return Self.ok("\(leased) of \(size) addresses are leased\(past)")
    }
}
