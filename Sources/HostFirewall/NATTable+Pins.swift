// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Timing
import Wire

// Pins of names (`EgressPin`) as elements of sets, whose timeouts the kernel applies.
//
//     set        element
//     pins4/6    the guest's hardware address, the destination, TCP or UDP, its port
//     hosts4/6   the guest's hardware address, the destination; TCP, UDP and ICMP
//
// A packet that a pin allows sets a bit of its connection's label. Packets of established connections with the bit pass
// after the pin has expired. The conntrack mark would do as well, but programs for VPNs and containers use it. A
// stricter policy has another bit, so that it ends connections that only expired pins have allowed. The bit has no
// hardware address, but the connection's zone has (`NATTable+Holders`).

extension NATTable {
    /// Elements of a set: those that `PinTable` holds fit.
    private static let setSize = 4 * PinTable.Limits().total

    /// Whether the table has sets for pins.
    package var hasPins: Bool { egress.isDenying && egress.checksNames && !isClosed }

    var pinSets: String {
        guard hasPins else { return "" }
        let sets = [("4", "ip"), ("6", "ip6")].flatMap { suffix, family in
            [
                ("pins\(suffix)", "ether saddr . \(family) daddr . meta l4proto . th dport"),
                ("hosts\(suffix)", "ether saddr . \(family) daddr"),
            ]
        }
        return sets.map {
            "  set \($0) { typeof \($1); size \(NATTable.setSize); flags timeout; }\n"
        }.joined()
    }

    var pinRules: [String] {
        let bits = ConnectionLabel.pins
        let bit = bits.lowerBound + flowGeneration % UInt8(bits.count)
        let pass = "ct label set \(bit) accept"
        // TCP is 6, UDP 17, ICMP 1 and 58: nft would look their names up in /etc/protocols.
        return ["ct direction original ct state established ct label \(bit) accept"]
            + ["4", "6"].map { suffix in
                "ether saddr . ip\(suffix == "6" ? "6" : "") daddr . meta l4proto . th dport @pins\(suffix) \(pass)"
            } + [
                "meta l4proto { 6, 17 } th dport { 53, 853 } \(refusal)",
                "udp dport \(EgressPin.quicPort) \(refusal)",
            ]
            + ["4", "6"].map { suffix in
                "meta l4proto { 1, 6, 17, 58 } ether saddr . ip\(suffix == "6" ? "6" : "") daddr "
                    + "@hosts\(suffix) \(pass)"
            }
    }

    /// Commands that set the timeouts of pins. nft leaves that of an existing element as it is, so that the element is
    /// made, which has no effect if it exists, removed, and made again, in one transaction.
    package func script(pinning pins: [(pin: EgressPin, expires: Instant)], now: Instant) -> String {
        guard hasPins else { return "" }
        var script = ""
        for (pin, expires) in pins where now < expires {
            let (set, element) = NATTable.element(of: pin)
            let seconds = max(1, (expires - now).nanoseconds / 1_000_000_000)
            let timeout = "timeout \(seconds)s"
            script += "add element inet \(table) \(set) { \(element) \(timeout) }\n"
            script += "delete element inet \(table) \(set) { \(element) }\n"
            script += "add element inet \(table) \(set) { \(element) \(timeout) }\n"
        }
        return script
    }

    /// Commands that remove pins, whether or not the kernel has removed them already.
    package func script(unpinning pins: [EgressPin]) -> String {
        guard hasPins else { return "" }
        return pins.map { pin in
            let (set, element) = NATTable.element(of: pin)
            return """
                add element inet \(table) \(set) { \(element) timeout 1s }
                delete element inet \(table) \(set) { \(element) }

                """
        }.joined()
    }

    private static func element(of pin: EgressPin) -> (set: String, element: String) {
        let suffix = if case .ipv6 = pin.address { "6" } else { "4" }
        let start = "\(pin.guest) . \(pin.address)"
        return switch pin.scope {
        case .tcp(let port): ("pins\(suffix)", "\(start) . 6 . \(port)")
        case .udp(let port): ("pins\(suffix)", "\(start) . 17 . \(port)")
        case .everyPort: ("hosts\(suffix)", start)
        }
    }
}
