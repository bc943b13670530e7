// SPDX-License-Identifier: Apache-2.0
import Atomics
import Wire

/// The port by which each address has last sent to the name service over TCP, to charge a connection to that port. Used
/// by all threads. IPv4 addresses are in the low bits. Addresses that end in the same ten bits share a slot, at the
/// cost of accuracy only.
final class CallerPorts: Sendable {
    private static let slots = 1024
    private let ports = (0..<CallerPorts.slots).map { _ in ManagedAtomic<PortNumber>(0) }

    func record(_ address: IPv6Address, at port: PortNumber) {
        ports[Int(address.low % UInt64(CallerPorts.slots))].store(port, ordering: .relaxed)
    }

    func port(of address: IPv6Address) -> PortNumber {
        ports[Int(address.low % UInt64(CallerPorts.slots))].load(ordering: .relaxed)
    }
}
