// SPDX-License-Identifier: Apache-2.0
import Timing
import Wire

// Which addresses guests hold.

extension SourceBindings {
    /// Addresses of a port, and of all ports, that `all` returns at most.
    private static let shownOfPort = 64, shown = 4096

    /// The guest that holds an address.
    func holder(of address: IPv6Address) -> Station? {
        let number = unsafe Int(index[slot(of: address)])
        return unsafe number == 0 ? nil : bindings[number].station
    }

    /// Whether the holder of an IPv6 address may still be looking for duplicates of it.
    func isDetecting(_ address: IPv6Address, _ now: CoarseInstant) -> Bool {
        let number = unsafe Int(index[slot(of: address)])
        return unsafe number != 0 && now - bindings[number].detected < SourceBindings.detection
    }

    /// The IPv6 addresses that guests have used, those of the ports with the lowest numbers first.
    func all() -> [KnownSource] {
        var found: [KnownSource] = []
        for port in 0..<ports where found.count < SourceBindings.shown {
            let share = unsafe shares[port], end = found.count + SourceBindings.shownOfPort
            for number in Int(share.first)..<Int(share.first) + Int(share.count) where found.count < end {
                let binding = unsafe bindings[number]
                // Those of groups stand for IPv4 addresses.
                if binding.address.isMulticast { continue }
                found.append(KnownSource(address: binding.address, station: binding.station))
            }
        }
        return found
    }

    /// The addresses within `network` that a guest has used within the last `age`: the one that is made from
    /// its hardware address first (RFC 4291 appendix A), then those that it has had for longest.
    func addresses(of station: Station, in network: IPv6Network, age: TimeAmount, now: CoarseInstant) -> [IPv6Address] {
        let share = unsafe shares[Int(station.port)], first = Int(share.first)
        var found: [Binding] = []
        for number in first..<first + Int(share.count) {
            let one = unsafe bindings[number]
            guard one.station == station, network.contains(one.address), now - one.lastUsed <= age else { continue }
            found.append(one)
        }
        func isStable(_ one: Binding) -> Bool { one.address.embeddedHardware == station.hardware }
        found.sort {
            let (a, b) = (isStable($0), isStable($1))
            return a == b ? $0.since < $1.since : a
        }
        return found.map(\.address)
    }
}
