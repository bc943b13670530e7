// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import NetworkModel
import Platform
import Wire

extension Outbound {
    /// Parses the values of `--outbound`: an interface, or an address, or one of each version of IP.
    /// - Returns: nil without values.
    /// - Throws: `ValidationError` with the value that is wrong.
    init?(arguments: [String]) throws {
        var four: IPv4Address?, six: IPv6Address?
        for text in arguments {
            if let address = IPv4Address(text) {
                try Outbound.check(
                    text, leads: address != .any && !address.isLoopback && !address.isMulticastOrBroadcast)
                if let four { throw Outbound.second(text, beside: four.description) }
                four = address
            } else if let address = IPv6Address(text) {
                if let mapped = MappedAddress(address) {
                    throw ValidationError("--outbound: '\(text)' \(mapped.refusal())")
                }
                try Outbound.check(
                    text,
                    leads: address != .unspecified && !address.isLoopback && !address.isMulticast
                        && !address.isLinkLocal)
                if let six { throw Outbound.second(text, beside: six.description) }
                six = address
            } else if NetworkInterfaces.isName(text) {
                if let other = arguments.first(where: { $0 != text }) { throw Outbound.second(text, beside: other) }
                guard arguments.count == 1 else { throw Outbound.second(text, beside: text) }
                self = .interface(text)
                return
            } else {
                throw ValidationError(
                    """
                    --outbound: '\(text)' is neither a network interface nor an address; give one such as eth1 or \
                    192.0.2.1
                    """
                )
            }
        }
        if four == nil && six == nil { return nil }
        self = .addresses(four, six)
    }

    private static func check(_ text: String, leads: Bool) throws {
        guard !leads else { return }
        throw ValidationError(
            "--outbound: nothing leaves this host from \(text); give another address of this host, or an interface")
    }

    private static func second(_ text: String, beside other: String) -> ValidationError {
        ValidationError(
            """
            --outbound: \(text) does not go with \(other); give one interface, or one address of each IP version
            """)
    }
}
