// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import TestSupport
import Testing
import Wire

@Suite struct NamePatternTests {
    @Test func wildcardMatchesNamesBelowOnly() {
        let below = NamePattern("*.Debian.org")!, one = NamePattern("github.com")!
        #expect(below.description == "*.debian.org")
        for name in ["deb.debian.org", "a.b.debian.org", "DEB.debian.ORG."] {
            #expect(below.matches(DNSName(name)!), "\(name)")
        }
        for name in ["debian.org", "org", "xdebian.org", "debian.org.evil.example"] {
            #expect(!below.matches(DNSName(name)!), "\(name)")
        }
        #expect(one.matches(DNSName("GitHub.com")!) && !one.matches(DNSName("api.github.com")!))
    }

    @Test(arguments: [
        "*", "*.", "**.a.b", "a.*.b", "nonsense", "*.com", "1.2.3", "a.1", "a..b", "a b.c", "-", "ü.de", "",
    ])
    func otherTextsAreRejected(text: String) {
        #expect(NamePattern(text) == nil)
        #expect(AllowedDestination(text) == nil)
    }

    @Test(arguments: ["github.com:443", "*.debian.org", "github.com", "_x.a-b.example:65535", "xn--bcher-kva.example"])
    func namesAreReadBack(text: String) {
        #expect(AllowedDestination(text)?.description == text)
        #expect(AllowedDestination(text)?.matches.isEmpty == true)
    }

    @Test(arguments: ["github.com:0", "github.com:65536", "github.com:", "github.com:x", "github.com/24", "a.b:1:2"])
    func wrongPortsAreRejected(text: String) { #expect(AllowedDestination(text) == nil) }

    @Test func portDecidesScopes() {
        var policy = EgressPolicy()
        policy.isDenying = true
        policy.allowed = ["a.example:443", "a.example:22", "*.b.example"].compactMap { AllowedDestination($0) }
        #expect(policy.scopes(of: DNSName("a.example")!) == [.tcp(443), .tcp(22), .udp(22)])
        #expect(
            policy.scopes(of: DNSName("c.b.example")!) == [.everyPort] && policy.scopes(of: DNSName("c.org")!) == [])
        #expect(policy.checksNames && policy.restrictsNames)
        let allowed = policy.allowed
        policy.setDenying(false)
        #expect(!policy.checksNames && !policy.isDenying && policy.allowed == allowed)
        policy.setDenying(true)
        #expect(policy.restrictsNames && policy.allowed == allowed, "the exceptions are kept")
    }

    @Test func privateAddressesNeedAnExplicitNetwork() {
        var policy = EgressPolicy()
        policy.isDenying = true
        policy.allowed = ["a.example:443", "10.1.0.0/16:80", "fd00:1::/32"].compactMap { AllowedDestination($0) }
        func verdict(_ text: String) -> EgressPolicy.AnswerVerdict {
            policy.verdict(onAnswer: IPv4Address(text).map { .ipv4($0) } ?? .ipv6(IPv6Address(text)!))
        }
        for text in ["8.8.8.8", "203.0.113.1", "100.128.0.1", "192.0.2.1", "2001:db8::1", "2a00::1"] {
            #expect(verdict(text) == .pin, "\(text)")
        }
        for text in [
            "10.0.0.1", "127.0.0.1", "169.254.169.254", "192.168.1.1", "172.31.0.1", "100.64.0.1", "0.0.0.0",
            "198.18.0.1", "192.0.0.8", "224.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "fc00::1", "fd01::1",
            "ff02::1", "::ffff:8.8.8.8", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:1::1", "fec0::1",
        ] {
            #expect(verdict(text) == .refused, "\(text)")
        }
        #expect(verdict("10.1.2.3") == .allowed && verdict("fd00:1::5") == .allowed)
        // The port of an exception is not that of the name.
        policy.allowed += ["203.0.113.0/24:22", "2001:db8::/64:22", "1.1.1.0/24"].compactMap { AllowedDestination($0) }
        #expect(verdict("203.0.113.1") == .pin && verdict("2001:db8::1") == .pin && verdict("1.1.1.1") == .allowed)
    }
}
