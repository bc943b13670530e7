// SPDX-License-Identifier: Apache-2.0
import Timing
import Wire

/// The frames of guests that the services receive.
package struct ServicePolicy: Equatable, Sendable {
    /// The service receives guests' DHCP requests; besides it only guests that may serve do (`GuestRules`).
    package var takesDHCP = false
    /// The service receives copies of DHCP replies of others, to detect another server.
    package var watchesDHCP = false
    /// The service receives copies of guests' ARP, for conflict probes.
    package var watchesARP = false
    /// The uplink does not receive guests' DHCP requests, because the server behind it is to stay unused; other guests
    /// do.
    package var withholdsDHCP = false

    /// See the properties.
    package init(
        takesDHCP: Bool = false, watchesDHCP: Bool = false, watchesARP: Bool = false, withholdsDHCP: Bool = false
    ) {
        self.takesDHCP = takesDHCP
        self.withholdsDHCP = withholdsDHCP
        self.watchesDHCP = watchesDHCP
        self.watchesARP = watchesARP
    }
}

/// A lease for the source guard: only `hardware` may use `address` until the lease ends.
package struct LeaseBinding: Sendable {
    /// The leased address.
    package let address: IPv4Address
    /// The client.
    package let hardware: MACAddress
    /// The end of the lease.
    package let until: Instant

    package init(_ address: IPv4Address, _ hardware: MACAddress, until: Instant) {
        self.address = address
        self.hardware = hardware
        self.until = until
    }
}
