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

    /// Whether the system lets this process bind a socket to an interface. Linux before 5.7 needs CAP_NET_RAW.
    package static let bindsToInterface: Bool = {
        guard let socket = try? Socket.udp() else { return false }
        return (try? socket.bind(toInterface: OperatingSystem.loopbackInterface)) != nil
    }()

    /// Binds a new socket, so that what it sends leaves this way: to the interface where the system permits that, else
    /// to an address of it.
    /// - Throws: `Errno.networkUnreachable` while the host has no such interface or address.
    package func bind(_ socket: borrowing Descriptor, ipv6: Bool) throws(SystemError) {
        do throws(SystemError) {
            if case .interface(let name) = self, Outbound.bindsToInterface {
                return try socket.bind(toInterface: name)
            }
            if let address = address(ipv6: ipv6) {
                socket.chooseLocalPortLate()
                return try socket.bind(to: SocketAddress(address, port: 0))
            }
        } catch {
            // No port or no memory is no reason to report a route.
            guard [Errno.noDevice, Errno.noSuchDeviceOrAddress, Errno.addressNotAvailable].contains(error.code) else {
                throw error
            }
        }
        throw SystemError(code: Errno.networkUnreachable, "leave by", text)
    }

    /// The address to bind to.
    private func address(ipv6: Bool) -> IPAddress? {
        switch self {
        case .interface(let name): Outbound.addresses(of: name).first { $0.isIPv6 == ipv6 }
        case .addresses(let four, let six): ipv6 ? six.map { .ipv6($0) } : four.map { .ipv4($0) }
        }
    }

    /// The addresses of an interface that are not of the link only.
    private static func addresses(of name: String) -> [IPAddress] {
        let four = (try? NetworkInterfaces.addresses()) ?? [], six = (try? NetworkInterfaces.addresses6()) ?? []
        return four.filter { $0.interface == name }.map { .ipv4($0.address) }
            + six.filter { $0.interface == name && !$0.address.isLinkLocal }.map { .ipv6($0.address) }
    }

    /// What sockets are bound to now. Sockets that were bound while it was another one lead nowhere.
    package struct Binding: Equatable, Sendable {
        /// Of the interface; 0 if there is none.
        package let index: UInt32
        /// Those that sockets are bound to, as far as the host has them.
        package let addresses: [IPAddress]

        /// Nothing leaves.
        package var isUnavailable: Bool { index == 0 && addresses.isEmpty }
    }

    /// What sockets are bound to now.
    package var binding: Binding {
        switch self {
        case .interface(let name):
            Binding(
                index: NetworkInterfaces.index(of: name) ?? 0,
                addresses: Outbound.bindsToInterface ? [] : Outbound.addresses(of: name))
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
