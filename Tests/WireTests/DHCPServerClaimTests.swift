// SPDX-License-Identifier: Apache-2.0
import TestSupport
import Testing
import Wire

@Suite struct DHCPServerClaimTests {
    private static let claim = DHCPServerClaim(serves: true, identifier: MACAddress("02:00:00:00:00:09")!)

    @Test func claimReturnsFromMessage() throws {
        for serves in [false, true] {
            let claim = DHCPServerClaim(serves: serves, identifier: MACAddress(0x02ff_0000_1234))
            var message = DHCPv4Message(isReply: false, transactionID: 1, clientHardware: MACAddress(9))
            #expect(DHCPServerClaim(in: message) == nil)
            claim.write(to: &message)
            let bytes = message.bytes()
            #expect(DHCPServerClaim(in: try DHCPv4Message(parsing: bytes.rawSpan)) == claim)
            message[.vendorClass] = Array("MSFT 5.0".utf8)
            #expect(DHCPServerClaim(in: message) == nil, "another program's information")
        }
    }

    @Test func otherBytesAreNoClaim() {
        let bytes = DHCPServerClaimTests.claim.bytes
        #expect(DHCPServerClaim(parsing: bytes) == DHCPServerClaimTests.claim)
        for length in 0..<bytes.count { #expect(DHCPServerClaim(parsing: Array(bytes.prefix(length))) == nil) }
        #expect(DHCPServerClaim(parsing: bytes + [0]) == nil)
        var random = SeededGenerator(seed: 43)
        for _ in 0..<Rounds.of(1000) {
            let length = Int.random(in: 0...12, using: &random)
            let value = (0..<length).map { _ in UInt8.random(in: 0...2, using: &random) }
            if let claim = DHCPServerClaim(parsing: value) { #expect(claim.bytes == value) }
        }
    }

    @Test func serverThatServesComesFirst() {
        let small = MACAddress(1), large = MACAddress(2)
        let ordered = [
            DHCPServerClaim(serves: false, identifier: small), DHCPServerClaim(serves: false, identifier: large),
            DHCPServerClaim(serves: true, identifier: small), DHCPServerClaim(serves: true, identifier: large),
        ]
        #expect(ordered.reversed().sorted() == ordered)
    }
}
