// SPDX-License-Identifier: Apache-2.0
import Testing
import Wire

@Suite struct IPv6NetworkTests {
    @Test func networksOfAnyLengthHoldWhatIsTheirs() {
        let address = IPv6Address(0x2001_0db8_1234_5678, 0x9abc_def0_1122_3344)
        for length in 0...128 {
            let network = IPv6Network(containing: address, prefixLength: length)
            #expect(network.contains(address))
            guard length > 0 else { continue }
            let bit = 128 - length
            let neighbour =
                bit >= 64
                ? IPv6Address(address.high ^ 1 << UInt64(bit - 64), address.low)
                : IPv6Address(address.high, address.low ^ 1 << UInt64(bit))
            #expect(!network.contains(neighbour), "\(length)")
        }
    }

    @Test func linkLocalAddressesAreMadeAsKernelsDo() {
        #expect(IPv6Address(linkLocalFrom: MACAddress(0x5254_0012_3456)).description == "fe80::5054:ff:fe12:3456")
    }
}
