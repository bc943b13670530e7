// SPDX-License-Identifier: Apache-2.0
import EventLoop
import Logging
import NameService
import NetworkConfiguration
import NetworkModel
import Platform
import Timing
import Uplink
import Wire

// `--deny private`: the networks of the host's interfaces, and the NAT64s that the host is behind, as they change.
// Guests do not reach these networks, even if they have addresses of the Internet, nor private ones by a NAT64.

extension Daemon {
    /// Between two looks at the interfaces, on a system that does not report changes.
    private static let localNetworkInterval = TimeAmount.seconds(5)

    /// The networks of all interfaces.
    static func localNetworks() -> [AllowedDestination.Network] {
        let four = (try? NetworkInterfaces.addresses()) ?? [], six = (try? NetworkInterfaces.networks6()) ?? []
        return four.map { .v4($0.network) } + six.map { .v6($0) }
    }

    /// Follows changes of the host's interfaces while the network runs.
    func watchLocalNetworks() {
        guard configuration.egress.deniesPrivate else { return }
        do throws(SystemError) {
            localNetworkMonitor = try ChangeMonitor(
                NetworkInterfaces.monitor(), settling: .milliseconds(100), loop: loop
            ) { [unowned self] in refreshLocalNetworks() }
        } catch {
            pollLocalNetworks()
        }
        refreshLocalNetworks()
    }

    private func pollLocalNetworks() {
        loop.schedule(after: Daemon.localNetworkInterval) { [weak self] in
            self?.refreshLocalNetworks()
            self?.pollLocalNetworks()
        }
    }

    private func refreshLocalNetworks() {
        var policy = configuration.egress
        policy.localNetworks = Daemon.localNetworks()
        change(to: policy, "--deny private does not have the host's new networks yet")
    }

    /// Has the policy count private addresses behind NAT64s as private.
    func noteTranslators(_ translators: [NAT64Prefix]) {
        guard Set(translators) != Set(configuration.egress.translators) else { return }
        var policy = configuration.egress
        policy.translators = Array(Set(translators))
        // Otherwise only answers to names are judged by it.
        guard policy.deniesPrivate else {
            configuration.egress = policy
            names?.policy.egress = policy
            return
        }
        change(to: policy, "the policy does not have the prefix of this host's NAT64 yet")
    }

    /// - Parameter failure: what is logged before an error.
    private func change(to policy: EgressPolicy, _ failure: String) {
        guard policy != configuration.egress, let uplink else { return }
        do throws(ChangeRefusal) {
            try uplink.change(egress: policy)
            configuration.egress = policy
            names?.policy.egress = policy
        } catch {
            logger.error("\(failure): \(error)")
        }
    }
}
