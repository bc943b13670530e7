// SPDX-License-Identifier: Apache-2.0
import HostFirewall
import Platform

/// The interfaces through which guests' packets leave the host.
enum EgressInterfaces {
    /// Every interface with a route, except loopback, the guests' own, and the TAPs of other instances: a guest network
    /// is never the egress of another one.
    static func leading(_ routes: [Route], except tap: String) -> [(name: String, index: UInt32)] {
        leading(Set(routes.lazy.filter { !$0.isLocal }.map(\.interface)), except: tap)
    }

    /// The same over IPv6.
    static func leading6(_ routes: [Route6], except tap: String) -> [(name: String, index: UInt32)] {
        leading(Set(routes.map(\.interface)), except: tap)
    }

    private static func leading(_ interfaces: Set<UInt32>, except tap: String) -> [(name: String, index: UInt32)] {
        interfaces.sorted().compactMap { index in
            guard let name = NetworkInterfaces.name(of: index), name != tap, name != "lo",
                NetworkInterfaces.link(index)?.group != LinkGroup.taps
            else { return nil }
            return (name, index)
        }
    }
}
