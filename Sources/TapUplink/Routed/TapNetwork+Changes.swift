// SPDX-License-Identifier: Apache-2.0
import HostChanges
import HostFirewall
import NetworkModel
import Platform
import Timing
import Uplink
import Wire

// Changes of the rules while the network runs. nft replaces a table in one transaction: packets meet the rules before
// or those after, and a failure leaves the former ones.

extension TapNetwork {
    /// Applies changed rules.
    private func change(_ body: (inout NATTable) -> Void) throws(ChangeRefusal) {
        try checkOpen()
        let before = firewall.rules
        body(&firewall.rules)
        guard firewall.rules != before else { return }
        do throws(UnclassifiedError) {
            try firewall.apply()
        } catch {
            firewall.rules = before
            throw ChangeRefusal(.failed, error.description)
        }
    }

    private func checkOpen() throws(ChangeRefusal) {
        guard isClosedForGood else { return }
        throw ChangeRefusal(
            .failed, "another program keeps removing the firewall rules of \(tap), which is down; restart vde_vmnet")
    }

    /// Replaces the published ports.
    func change(published: [PublishedPort]) throws(ChangeRefusal) {
        let before = firewall.rules.published
        do throws(PublishedPortSockets.Failure) {
            try sockets.replace(by: published)
        } catch {
            throw ChangeRefusal(publishing: error.published, port: error.port, errno: error.code)
        }
        do throws(ChangeRefusal) {
            if !published.isEmpty { try setLocalRouting() }
            try change { $0.published = published }
        } catch {
            // All of them were bound before.
            try? sockets.replace(by: before)
            throw error
        }
    }

    private func setLocalRouting() throws(ChangeRefusal) {
        do throws(SystemError) {
            if localRouting.value != "1" { try localRouting.set("1") }
        } catch {
            throw ChangeRefusal(.failed, error.description)
        }
    }

    /// Replaces the egress policy. Established connections are checked as well.
    func change(egress: EgressPolicy) throws(ChangeRefusal) {
        let isStricter = !firewall.rules.egress.isWithin(egress)
        try change {
            $0.egress = egress
            if isStricter { $0.flowGeneration &+= 1 }
        }
    }

    /// Has the beginnings of refused packets logged to a group of NFLOG; nil: no longer. They are counted in any case,
    /// and no other rule changes.
    func change(logGroup: UInt16?) throws(ChangeRefusal) {
        try checkOpen()
        do throws(UnclassifiedError) {
            try firewall.setLogGroup(logGroup)
        } catch {
            throw ChangeRefusal(.failed, error.description)
        }
    }

    /// Lets a guest connect to addresses of a name until `expires`.
    func pin(_ pins: [EgressPin], of name: DNSName, until expires: Instant) throws(ChangeRefusal) {
        guard !isClosedForGood else { return }
        do throws(UnclassifiedError) {
            try firewall.pin(pins, of: name, until: expires, now: BootClock.now)
        } catch {
            throw ChangeRefusal(.failed, error.description)
        }
    }

    /// Keeps guests from each other, or no longer.
    func change(isolating: Bool) throws(ChangeRefusal) { try change { $0.isIsolating = isolating } }
}
