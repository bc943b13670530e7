// SPDX-License-Identifier: Apache-2.0
import TestSupport
import Testing
import NetworkModel
import Wire

@Suite struct EgressPolicyTests {
    private func ip(_ text: String) -> IPv4Address { IPv4Address(text)! }

    @Test func defaultPolicyClosesHostOnlyDestinations() {
        let policy = EgressPolicy()
        for open in ["203.0.113.1", "192.168.1.1", "10.0.0.1", "8.8.8.8"] { #expect(policy.allows(ip(open), port: 80)) }
        for closed in [
            "127.0.0.1", "127.1.2.3", "169.254.169.254", "169.254.0.1", "0.0.0.0", "0.1.2.3", "224.0.0.1", "239.1.1.1",
            "240.0.0.1", "255.255.255.255",
        ] {
            #expect(!policy.allows(ip(closed), port: 80), "\(closed)")
        }
        #expect(policy.allows(IPv6Address(0x2001_0db8_0000_0000, 1), port: 80))
        for closed in [
            IPv6Address(0, 1), IPv6Address(0, 0), IPv6Address(0xfe80 << 48, 1), IPv6Address(0xff02 << 48, 1),
            IPv6Address(0, 0xffff_7f00_0001), IPv6Address(0xfd00_0ec2_0000_0000, 0x254),
        ] {
            #expect(!policy.allows(closed, port: 80), "\(closed)")
        }
    }

    @Test func privateDenialLeavesTheInternet() {
        var policy = EgressPolicy()
        policy.deniesPrivate = true
        policy.localNetworks = [.v4(IPv4Network(containing: ip("203.0.113.2"), prefixLength: 24))]
        for open in ["198.51.100.1", "8.8.8.8"] { #expect(policy.allows(ip(open), port: 80)) }
        for closed in ["203.0.113.1", "192.168.1.1", "10.0.0.1", "100.64.0.1", "172.16.0.1"] {
            #expect(!policy.allows(ip(closed), port: 80) && !policy.allows(ip(closed), port: nil), "\(closed)")
        }
        #expect(policy.allows(IPv6Address("2001:db8::1")!, port: 1) && !policy.allows(IPv6Address("fd00::1")!, port: 1))
        #expect(policy.isWithin(EgressPolicy()) && !EgressPolicy().isWithin(policy))
    }

    /// A NAT64 leads to private addresses too.
    @Test func privateAddressesBehindNAT64AreClosed() throws {
        func six(_ text: String) throws -> IPv6Address { try #require(IPv6Address(text)) }
        var policy = EgressPolicy()
        policy.deniesPrivate = true
        policy.localNetworks = [.v4(IPv4Network(containing: ip("203.0.113.2"), prefixLength: 24))]
        let closed = [
            "2001:db8:64::a01:203", "2001:db8:64::c0a8:101", "2001:db8:64::a9fe:a9fe",
            "2001:db8:64::cb00:7109",
        ]
        for text in closed { #expect(try policy.allows(six(text), port: 80), "no NAT64 is known: \(text)") }
        let translator = NAT64Prefix(IPv6Network(containing: try six("2001:db8:64::"), prefixLength: 96))
        policy.translators = [try #require(translator)]
        for text in closed { #expect(try !policy.allows(six(text), port: 80), "\(text)") }
        for open in ["2001:db8:64::c633:6407", "2001:db8:65::a01:203"] {
            #expect(try policy.allows(six(open), port: 80), "\(open)")
        }
        policy.deniesPrivate = false
        #expect(try policy.allows(six(closed[0]), port: 80))
        // Names lead to no private address, whatever the policy is for others (DNS rebinding).
        #expect(try policy.verdict(onAnswer: .ipv6(six(closed[0]))) == .refused)
        #expect(try policy.verdict(onAnswer: .ipv6(six("2001:db8:64::c633:6407"))) == .pin)
    }

    /// IANA's registries of special-purpose addresses (RFC 6890), as docs/egress.md has them.
    @Test func specialAddressesAreNotTheInternet() throws {
        for text in [
            "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.1", "169.254.1.1", "172.31.0.1",
            "192.0.0.9", "192.0.0.170", "192.88.99.1", "192.168.0.1", "198.18.0.1", "198.19.255.255", "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
        ] { #expect(!ip(text).isGlobal, "\(text)") }
        for text in [
            "1.1.1.1", "100.128.0.1", "172.32.0.1", "192.0.1.1", "192.0.2.1", "192.31.196.1", "192.52.193.1",
            "192.88.98.1", "192.88.100.1", "192.175.48.1", "198.20.0.1", "198.51.100.1", "203.0.113.1",
            "223.255.255.255",
        ] { #expect(ip(text).isGlobal, "\(text)") }
        for text in [
            "::", "::1", "::ffff:1.2.3.4", "64:ff9b::1", "64:ff9b:1::1", "100::1", "2001::1", "2001:0:1::", "2001:2::1",
            "2001:10::1", "2001:1f:ffff::1", "2002:a00:1::1", "4000::1", "5f00::1", "fc00::1", "fd00::1", "fe80::1",
            "ff02::1",
        ] { #expect(try !#require(IPv6Address(text)).isGlobal, "\(text)") }
        for text in [
            "2000::1", "2001:1::1", "2001:2:1::1", "2001:3::1", "2001:4:112::1", "2001:20::1", "2001:30::1",
            "2001:db8::1", "2003::1", "2606:4700::1", "2620:4f:8000::1", "3fff::1",
        ] { #expect(try #require(IPv6Address(text)).isGlobal, "\(text)") }
    }

    @Test func allowedDestinationsAreExceptionsFromDenial() {
        var policy = EgressPolicy()
        policy.isDenying = true
        #expect(!policy.allows(ip("203.0.113.1"), port: 443) && policy.restrictsNames)
        policy.allowed = ["203.0.113.0/24:443", "198.51.100.7", "2001:db8::/32", "127.0.0.1"].compactMap {
            AllowedDestination($0)
        }
        #expect(policy.allowed.count == 4 && !policy.restrictsNames)
        #expect(
            policy.allows(ip("203.0.113.9"), port: 443) && !policy.allows(ip("203.0.113.9"), port: 80)
                && !policy.allows(ip("203.0.113.9"), port: nil))
        #expect(
            policy.allows(ip("198.51.100.7"), port: 1) && policy.allows(ip("198.51.100.7"), port: nil)
                && !policy.allows(ip("198.51.100.8"), port: 1))
        #expect(
            policy.allows(IPv6Address(0x2001_0db8_0000_0001, 1), port: 1)
                && !policy.allows(IPv6Address(0x2001_0db9_0000_0000, 1), port: 1))
        #expect(!policy.allows(ip("127.0.0.1"), port: 1), "an exception does not open the host's loopback")
    }

    @Test(arguments: [
        "203.0.113.0/24", "203.0.113.7/32:443", "[2001:db8::]/32", "[2001:db8::]/32:443", "[::]/0", "0.0.0.0/0",
    ])
    func destinationsAreReadBack(text: String) { #expect(AllowedDestination(text)?.description == text) }

    @Test func shortFormsAreUnderstood() {
        #expect(AllowedDestination("203.0.113.7:443")?.description == "203.0.113.7/32:443")
        #expect(AllowedDestination("2001:db8::1")?.description == "[2001:db8::1]/128")
        #expect(AllowedDestination("203.0.113.7/24")?.description == "203.0.113.0/24")
    }

    @Test(arguments: [
        "", ":", "/", "203.0.113", "203.0.113.0/33", "203.0.113.0/", "203.0.113.0:0", "203.0.113.0:65536",
        "203.0.113.0:x", "203.0.113.0/24/8", "[2001:db8::", "[2001:db8::]x", "2001:db8::/129", "fe80::1%eth0",
        "name:80",
    ])
    func otherTextsAreRejected(text: String) { #expect(AllowedDestination(text) == nil) }

    /// Each text that is no destination, or is never reached, is refused with its cause and a next step.
    @Test func refusalsHaveCauses() {
        func refusal(_ text: String) -> String? {
            do throws(AllowedDestination.Refusal) {
                _ = try AllowedDestination.parse(text)
                return nil
            } catch {
                return error.description
            }
        }
        for (text, cause) in [
            ("com", "one label"), ("COM:443", "one label"), ("*.com", "top-level domain"), ("*", "every name"),
            ("*:443", "every name"), ("www.*.com", "labels at the start"), ("*a.example", "labels at the start"),
            ("b\u{fc}cher.example:443", "xn--"), ("localhost", "--host-loopback"), ("Localhost:80", "--host-loopback"),
            ("http://a.example", "is a URL"), ("a.example:x", "'x' is not a port"), ("", "is not CIDR"),
            ("1", "is not CIDR"),
            ("[::1]:443", "never reached"), ("127.0.0.1:80", "never reached"), ("127.0.0.0/8", "never reached"),
            ("169.254.169.254", "never reached"), ("0.0.0.0", "never reached"), ("224.0.0.0/4", "never reached"),
            ("255.255.255.255", "never reached"), ("fe80::/10", "never reached"), ("[ff02::1]", "never reached"),
            ("[::ffff:10.0.0.1]:80", "10.0.0.1 in the form of IPv6; write 10.0.0.1:80"),
            ("::ffff:10.0.0.0/104", "write 10.0.0.0/8"), ("fd00:ec2::254", "never reached"),
            ("2001:db8::1:443", "[2001:db8::1]:443 for the port, or [2001:db8::1:443] for every port"),
            ("fd00::5:65535", "is not an IPv6 address"), ("::1:2:80", "[::1:2]:80 for the port"),
            ("1.2.3.4/24", "write 1.2.3.0/24, or 1.2.3.4 for the address alone"),
            ("1.2.3.4/24:443", "write 1.2.3.0/24:443, or 1.2.3.4:443"),
            ("2001:db8::1/32", "write [2001:db8::]/32, or [2001:db8::1] for"),
            ("[2001:db8::1]/32:443", "write [2001:db8::]/32:443, or [2001:db8::1]:443"),
            ("1.2.3.4:0", "'0' is not a port from 1 to 65535"), ("a.example:99999", "'99999' is not a port"),
            ("a.example:443-444", "is a range of ports"), ("1.2.3.4:443/tcp", "write 1.2.3.4:443"),
            ("a.example:443/udp", "write a.example:443"), ("[2001:db8::]/32:1/tcp", "write [2001:db8::]/32:1"),
            ("1.2.3.0:443/24", "write 1.2.3.0/24:443"), ("1.2.3.4/33", "from 0 to 32"),
            ("1.2.3.4/", "'/' is not the length"), ("2001:db8::/129", "from 0 to 128"),
            ("1.2.3.256", "is not an IPv4 address"), ("2001:db8::g", "is not an IPv6 address"),
            ("a..b", "'a..b' is not a name"), ("a b.example", "is not a name"), ("a.example/24", "has no length"),
        ] { #expect(refusal(text)?.contains(cause) == true, "\(text): \(refusal(text) ?? "-")") }
        for text in [
            "0.0.0.0/0", "[::]/0", "10.0.0.0/8", "192.168.1.1:443", "128.0.0.0/1", "169.0.0.0/8", "github.com:443",
            "2001:db8::1", "2001:db8::1:443/128", "2001:db8::1:0", "2001:db8:0:0:0:0:0:443", "2001:db8::/32:443",
            "[2001:db8::1:443]", "1.2.3.4/32", "*.debian.org", "fc00::/7", "[fd00::1]:443", "[fd00:ec2::]/32",
            "192.0.0.0/3",
        ] { #expect(refusal(text) == nil, "\(text): \(refusal(text) ?? "-")") }
    }

    /// The own zone answers for its names, so that nothing of them is pinned.
    @Test func namesOfTheOwnDomainAreRefused() throws {
        let domain = try #require(GuestDomain("vm.internal"))
        for text in ["x.vm.internal", "X.VM.internal:80", "vm.internal", "*.vm.internal", "*.a.vm.internal:1"] {
            let one = try AllowedDestination.parse(text)
            #expect(one.refusal(in: domain)?.contains("--domain") == true && one.refusal(in: nil) == nil, "\(text)")
        }
        for text in ["xvm.internal", "a.example:80", "203.0.113.1", "vm.internal.example", "*.other.internal"] {
            #expect(try AllowedDestination.parse(text).refusal(in: domain) == nil, "\(text)")
        }
    }

    @Test func fuzzedTextDoesNotTrap() {
        var generator = SeededGenerator(seed: 42)
        let alphabet = Array("0123456789abcdef:.[]/%x ")
        for _ in 0..<20_000 {
            let text = String(
                (0..<Int.random(in: 0...30, using: &generator)).map { _ in alphabet.randomElement(using: &generator)! })
            _ = try? AllowedDestination.parse(text)
            if let one = AllowedDestination(text) { #expect(AllowedDestination(one.description) == one, "\(text)") }
        }
    }
}
