// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import TestSupport
import Testing
import Wire

@Suite struct AddressReservationTests {
    @Test func reservationIsHardwareAddressAndAddress() {
        let one = AddressReservation("52:54:00:0:0:1,192.168.105.10")
        #expect(one?.hardware.description == "52:54:00:00:00:01" && one?.address.description == "192.168.105.10")
        #expect(one.flatMap { AddressReservation($0.description) } == one)
    }

    @Test func reservationMayHaveAName() {
        let one = AddressReservation("52:54:00:00:00:01,192.168.105.10,Web-1")
        #expect(one?.name?.description == "web-1" && one?.description == "52:54:00:00:00:01,192.168.105.10,web-1")
        for name in ["", "gateway", "host", "wpad", "isatap", "localhost", "a_b", "a.b", "*", "-a", "web,x", "1"] {
            #expect(AddressReservation("52:54:00:00:00:01,192.168.105.10,\(name)") == nil, "\(name)")
        }
    }

    @Test(arguments: [
        "", ",", "52:54:00:00:00:01", "52:54:00:00:00:01,", ",192.168.105.10", "52:54:00:00:00:01,192.168.105",
        "52:54:00:00:00:01,192.168.105.10,x,y", "192.168.105.10,52:54:00:00:00:01",
        "53:54:00:00:00:01,192.168.105.10", "00:00:00:00:00:00,192.168.105.10", "ff:ff:ff:ff:ff:ff,192.168.105.10",
        "52:54:00:00:00:01,0.0.0.0", "52:54:00:00:00:01,127.0.0.1",
        "52:54:00:00:00:01,224.0.0.1", "52:54:00:00:00:01,255.255.255.255",
    ])
    func otherTextIsRejected(text: String) { #expect(AddressReservation(text) == nil) }

    @Test func ipv4AddressInTheFormOfIPv6IsRefused() {
        let text = "52:54:00:00:00:01,192.168.105.10,::ffff:1.2.3.4"
        #expect(AddressReservation(text) == nil)
        #expect(AddressReservation.refusal(of: text)?.contains("is the IPv4 address 1.2.3.4 in the form of") == true)
    }

    @Test func fuzzedTextDoesNotTrap() {
        var generator = SeededGenerator(seed: 41)
        let alphabet = Array("0123456789abcdef:-.,+ ")
        for _ in 0..<20_000 {
            let text = String(
                (0..<Int.random(in: 0...36, using: &generator)).map { _ in alphabet.randomElement(using: &generator)! })
            if let one = AddressReservation(text) { #expect(AddressReservation(one.description) == one) }
        }
    }
}
