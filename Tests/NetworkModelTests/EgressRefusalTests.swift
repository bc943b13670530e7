// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import TestSupport
import Testing
import Timing
import Wire

@Suite struct EgressRefusalTests {
    private let guest = MACAddress(0x5254_0000_0001), other = MACAddress(0x5254_0000_0002)

    private func packet(_ hex: String) -> EgressRefusal? {
        var bytes: [UInt8] = [], digits = hex.filter { $0 != " " }[...]
        while let byte = UInt8(digits.prefix(2), radix: 16) {
            bytes.append(byte)
            digits = digits.dropFirst(2)
        }
        return EgressRefusal(hardware: guest, packet: bytes.rawSpan)
    }

    @Test func packetsHaveDestinationTransportAndPort() {
        let four = "45000028 00004000 40060000 c0a86902 c6336403"
        #expect(
            packet(four + "c3500050 00000000")
                == EgressRefusal(
                    hardware: guest, address: .ipv4(IPv4Address("198.51.100.3")!), transport: "tcp", port: 80))
        #expect(packet(four + "c350")?.port == nil, "cut off")
        #expect(packet("45000028 00000010 40060000 c0a86902 c6336403 c3500050 0000")?.port == nil, "a later fragment")
        #expect(packet("4600002c 00004000 40110000 c0a86902 c6336403 01010101 c3500035")?.port == 53, "options")
        #expect(packet("45000028 00004000 402f0000 c0a86902 c6336403")?.transport == "47")
        let six = "60000000 00003a40 fd000000000000000000000000000002 20010db8000100000000000000000001"
        #expect(
            packet(six)
                == EgressRefusal(hardware: guest, address: .ipv6(IPv6Address("2001:db8:1::1")!), transport: "icmp"))
        #expect(packet("") == nil && packet("45") == nil && packet("60") == nil)
    }

    @Test func randomPacketsDoNoHarm() {
        var random = SeededGenerator(seed: 1)
        for _ in 0..<10_000 {
            let bytes = (0..<Int.random(in: 0...64, using: &random)).map { _ in
                UInt8.random(in: 0...255, using: &random)
            }
            _ = EgressRefusal(hardware: guest, packet: bytes.rawSpan)
        }
    }

    @Test func guestThatCausesManyFillsItsShare() {
        var table = RefusalTable()
        func refuse(_ hardware: MACAddress, _ port: UInt16) {
            guard table.hasRoom(for: hardware) else { return }
            table.insert(EgressRefusal(hardware: hardware, transport: "tcp", port: port))
        }
        for port in 0..<1000 { refuse(guest, UInt16(port)) }
        refuse(other, 80)
        refuse(other, 80)
        let (refusals, further) = table.take()
        #expect(refusals.count == 17 && refusals.count { $0.hardware == other } == 1)
        #expect(further == [guest: 984])
        #expect(table.take().refusals.isEmpty)
    }

    @Test func namesOfPinsCompleteRefusals() {
        var pins = PinTable()
        let address = IPAddress.ipv4(IPv4Address("198.51.100.3")!), now = Instant(nanoseconds: 1)
        for name in ["first.example", "second.example"] {
            _ = pins.insert(
                [EgressPin(guest: guest, address: address, scope: .tcp(UInt16(name.utf8.count)))],
                of: DNSName(name)!, until: now, now: now)
        }
        let refusal = EgressRefusal(hardware: guest, address: address, transport: "tcp", port: 8000)
        #expect(pins.named(refusal).name == "second.example")
        #expect(pins.named(EgressRefusal(hardware: other, address: address, transport: "tcp")).name == nil)
    }
}
