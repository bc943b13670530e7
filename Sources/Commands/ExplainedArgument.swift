// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import NetworkConfiguration
import NetworkModel
import Switching
import VDESwitch
import Wire

/// The value of an option, for which a text with another meaning is refused with the cause and the next step. The
/// argument parser has "is invalid" for all of them. An option needs `transform: parse`.
protocol ExplainedArgument: ExpressibleByArgument {
    /// Why a text is no value, and what to write. Called for such texts only.
    static func refusal(of text: String) -> String
}

extension ExplainedArgument {
    /// - Throws: `ValidationError`, which the argument parser shows after the option and the text.
    static func parse(_ text: String) throws -> Self {
        guard let value = Self(argument: text) else { throw ValidationError(refusal(of: text)) }
        return value
    }
}

extension FixedWidthInteger where Self: ExplainedArgument {
    static func refusal(of text: String) -> String {
        Double(text) == nil
            ? "it is not a number; write digits only" : "it is no whole number, or too large; write digits only"
    }
}

extension Int: ExplainedArgument {}

extension Int32: ExplainedArgument {}

extension IPv4Address: ExplainedArgument {
    static func refusal(of text: String) -> String {
        "it is not an IPv4 address; write four numbers from 0 to 255 with dots between them, such as 192.168.105.1"
    }
}

extension RateLimit: ExplainedArgument {
    static func refusal(of text: String) -> String {
        """
        it is not a rate; write a whole number and kbit, mbit or gbit without a space, from \(RateLimit.bounds), such \
        as 50mbit
        """
    }
}

extension OctalMode: ExplainedArgument {
    static func refusal(of text: String) -> String {
        "it is not an octal mode; write three or four digits from 0 to 7, such as 0660 for the owner and the group"
    }
}

extension MaskArgument: ExplainedArgument {
    static func refusal(of text: String) -> String {
        "it is not a network's mask; write a length from 0 to 32, such as /24, or an address, such as 255.255.255.0"
    }
}

extension UUIDArgument: ExplainedArgument {
    static func refusal(of text: String) -> String {
        "it is not a UUID; write 8, 4, 4, 4 and 12 hexadecimal digits with hyphens between them, as uuidgen(1) does"
    }
}

extension IPv6PrefixArgument: ExplainedArgument {
    static func refusal(of text: String) -> String {
        "it is not a unique local prefix of 64 bits; write one from fd to ::, such as fd00:1:2:3::"
    }
}

extension EndpointArgument: ExplainedArgument {
    static func refusal(of text: String) -> String {
        "it is not an IPv4 address and a port from 1 to 65535; write both with a colon between them, as in 192.0.2.1:80"
    }
}

extension AnyEndpointArgument: ExplainedArgument {
    static func refusal(of text: String) -> String {
        Endpoint6Argument.refusalOfMapped(text)
            ?? """
            it is not an address and a port from 1 to 65535; write both with a colon between them, and an IPv6 address \
            in brackets, as in 192.0.2.1:80 or [2001:db8::1]:80
            """
    }
}

extension Endpoint6Argument: ExplainedArgument {
    static func refusal(of text: String) -> String {
        refusalOfMapped(text).map { "\($0) after --tcp" }
            ?? "it is not an IPv6 address and a port from 1 to 65535; write the address in brackets, as in "
            + "[2001:db8::1]:80"
    }
}

extension IPv6Argument: ExplainedArgument {
    static func refusal(of text: String) -> String {
        let advice = "write auto, kernel, off, or a unique local or global prefix, such as fd12:3456:789a:1::/64"
        let lower = text.lowercased()
        if IPv6Choice(lower) != nil { return "write it in small letters: \(lower)" }
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2, let address = IPv6Address(parts[0]), let length = Int(parts[1]), length <= 128 else {
            return "it is no prefix; \(advice)"
        }
        let network = IPv6Network(containing: address, prefixLength: 64)
        guard IPv6Choice("\(network)") != nil else { return "guests cannot have such addresses; \(advice)" }
        guard length == 64 else { return "guests need a prefix of 64 bits; write \(network)" }
        return "it is an address of \(network); write that"
    }
}

extension AllowedServer: ExplainedArgument {
    static func refusal(of text: String) -> String {
        """
        it is not a port of a switch nor a hardware address; write a number from 0 to \
        \(VirtualSwitch.maximumPorts), or an address of one station, such as 52:54:00:12:34:56
        """
    }
}
