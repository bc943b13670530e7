// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import TestSupport
import Testing

@Suite struct GuestDomainTests {
    @Test func domainIsLabelsOfLettersDigitsAndHyphens() {
        for (text, expected) in [
            ("vm.internal", "vm.internal"), ("LAB", "lab"), ("a-1.example.org.", "a-1.example.org"), ("1.x2", "1.x2"),
            (String(repeating: "a", count: 63) + ".x", String(repeating: "a", count: 63) + ".x"),
        ] {
            #expect(GuestDomain(text)?.description == expected, "\(text)")
        }
        #expect(GuestDomain.standard.description == "vm.internal" && GuestDomain("vm.internal") == .standard)
        let longest = (0..<94).map { _ in "a" }.joined(separator: ".") + ".b"
        #expect(longest.utf8.count == GuestDomain.maximumLength && GuestDomain(longest) != nil)
        #expect(GuestDomain(longest + "c") == nil)
    }

    @Test(arguments: [
        "", ".", "..", ".x", "x..y", "a_b", "*.x", "-a.x", "a-.x", "x y", "x\n", "\u{1b}[0m", "w\u{e9}b", "1",
        "10.0.0.1",
        "a.1", "local", "x.local", "localhost", "x.localhost", "arpa", "168.192.in-addr.arpa", "x/y",
    ])
    func otherTextIsRejected(text: String) { #expect(GuestDomain(text) == nil) }

    @Test func fuzzedTextDoesNotTrap() {
        fuzz(Array("vm.internal".utf8), rounds: 5000) { bytes in
            guard let domain = GuestDomain(String(decoding: bytes, as: UTF8.self)) else { return }
            #expect(GuestDomain(domain.description) == domain)
        }
    }
}
