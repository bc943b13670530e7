// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import NetworkModel
import Wire

/// `ADDRESS:PORT` with an IPv4 address.
struct EndpointArgument: ExpressibleByArgument {
    let address: IPv4Address
    let port: UInt16

    init?(argument: String) {
        let parts = argument.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2, let address = IPv4Address(parts[0]), let port = UInt16(digits: parts[1]), port > 0
        else {
            return nil
        }
        self.address = address
        self.port = port
    }
}

/// `ADDRESS:PORT` or `[ADDRESS]:PORT`.
struct AnyEndpointArgument: ExpressibleByArgument {
    let address: IPAddress
    let port: UInt16

    init?(argument: String) {
        if let six = Endpoint6Argument(argument: argument) {
            (address, port) = (.ipv6(six.address), six.port)
        } else if let four = EndpointArgument(argument: argument) {
            (address, port) = (.ipv4(four.address), four.port)
        } else {
            return nil
        }
    }
}

/// `[ADDRESS]:PORT` with an IPv6 address.
struct Endpoint6Argument: ExpressibleByArgument {
    let address: IPv6Address
    let port: UInt16

    init?(argument: String) {
        guard let (address, port) = Endpoint6Argument.parts(of: argument), MappedAddress(address) == nil else {
            return nil
        }
        self.address = address
        self.port = port
    }

    private static func parts(of text: String) -> (address: IPv6Address, port: UInt16)? {
        guard text.hasPrefix("["), let end = text.lastIndex(of: "]"), text[end...].hasPrefix("]:"),
            let port = UInt16(digits: text[end...].dropFirst(2)), port > 0,
            let address = IPv6Address(text[..<end].dropFirst())
        else { return nil }
        return (address, port)
    }

    /// Why an IPv4 address in the form of IPv6 is refused, and what to write; nil for other texts.
    static func refusalOfMapped(_ text: String) -> String? {
        guard let (address, port) = parts(of: text), let mapped = MappedAddress(address) else { return nil }
        return "it " + mapped.refusal(write: "\(mapped.ipv4):\(port)")
    }
}
