// SPDX-License-Identifier: Apache-2.0
import Wire

/// The outbound path of sockets that carry traffic of guests (`--outbound`).
package enum Outbound: Hashable, Sendable {
    /// By this network interface.
    case interface(String)
    /// From these addresses of the host, at least one. There is no outbound path by the other version of IP.
    case addresses(IPv4Address?, IPv6Address?)
}

extension Outbound {
    /// As the user writes it.
    package var text: String {
        switch self {
        case .interface(let name): name
        case .addresses(let four, let six):
            [four.map(\.description), six.map(\.description)].compactMap { $0 }.joined(separator: " and ")
        }
    }

    /// Binds a new socket, so that what it sends leaves this way.
    /// - Throws: `Errno.networkUnreachable` while the host has no such interface or address.
    package func bind(_ socket: borrowing Descriptor, ipv6: Bool) throws(SystemError) {
        do throws(SystemError) {
            switch self {
            case .interface(let name): return try socket.bind(toInterface: name, ipv6: ipv6)
            case .addresses(let four, let six):
                if let address = ipv6 ? six.map({ IPAddress.ipv6($0) }) : four.map({ .ipv4($0) }) {
                    socket.chooseLocalPortLate()
                    return try socket.bind(to: SocketAddress(address, port: 0))
                }
            }
        } catch {
            // No port or no memory is no reason to report a route.
            guard [Errno.noDevice, Errno.noSuchDeviceOrAddress, Errno.addressNotAvailable].contains(error.code) else {
                throw error
            }
        }
        throw SystemError(code: Errno.networkUnreachable, "leave by", text)
    }

    /// What sockets are bound to now. Sockets that were bound while it was another one lead nowhere.
    package struct Binding: Equatable, Sendable {
        /// Of the interface; 0 if there is none.
        package let index: UInt32
        /// Those that sockets are bound to in place of an interface, as far as the host has them.
        package let addresses: [IPAddress]

        /// Nothing leaves.
        package var isUnavailable: Bool { index == 0 && addresses.isEmpty }
    }

    /// What sockets are bound to now.
    package var binding: Binding {
        switch self {
        case .interface(let name): Binding(index: NetworkInterfaces.index(of: name) ?? 0, addresses: [])
        case .addresses(let four, let six):
            Binding(
                index: 0,
                addresses: [four.map { .ipv4($0) }, six.map { .ipv6($0) }].compactMap { $0 }.filter(
                    Outbound.hostAddresses().contains))
        }
    }

    /// The addresses of this host, of all interfaces.
    package static func hostAddresses() -> Set<IPAddress> {
        let four = (try? NetworkInterfaces.addresses()) ?? [], six = (try? NetworkInterfaces.addresses6()) ?? []
        return Set(four.map { .ipv4($0.address) } + six.map { .ipv6($0.address) })
    }
}
