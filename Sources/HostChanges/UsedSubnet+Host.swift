// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Platform
import Wire

extension UsedSubnet {
    /// The subnets of the host's addresses and routes. Default routes are left out, and so are the halves of the
    /// Internet that VPNs route: they overlap every candidate.
    /// - Throws: if the kernel does not report addresses or routes.
    package static func ofHost() throws(SystemError) -> [UsedSubnet] {
        // A BGP router has a million routes.
        var names: [UInt32: String] = [:]
        var seen: Set<UsedSubnet> = [], used: [UsedSubnet] = []
        func add(_ subnet: UsedSubnet) { if seen.insert(subnet).inserted { used.append(subnet) } }
        for address in try NetworkInterfaces.addresses() {
            add(UsedSubnet(network: address.network, interface: address.interface))
        }
        for route in try NetworkInterfaces.routes() where route.destination.prefixLength >= 8 {
            let name = names[route.interface] ?? NetworkInterfaces.name(of: route.interface) ?? "a route"
            names[route.interface] = name
            add(UsedSubnet(network: route.destination, interface: name))
        }
        return used
    }
}
