// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

/// Rules of other programs that drop what guests send over IPv6.
private struct ForeignRules: CustomTestStringConvertible, Sendable {
    let cause: String
    let rules: String

    var testDescription: String { "\(cause): \(rules)" }

    private static let hook = "type filter hook forward priority 0;"

    static let all: [ForeignRules] = [
        ForeignRules(cause: "firewall_nftables", rules: "table ip6 mine { chain passing { \(hook) policy drop; }; }"),
        ForeignRules(
            cause: "firewall_nftables",
            rules: "table inet mine { chain passing { \(hook) meta nfproto ipv6 drop; }; }"),
        ForeignRules(
            cause: "firewall_nftables",
            rules: "table inet mine { chain passing { \(hook) ip6 daddr 2000::/3 oifname \"wan\" drop; }; }"),
        ForeignRules(
            cause: "firewall_nftables",
            rules: "table ip6 mine { set s { type ipv6_addr; flags interval; elements = { 2000::/3 }; }; "
                + "chain passing { \(hook) ip6 daddr @s drop; }; }"),
        ForeignRules(
            cause: "firewall_nftables", rules: "table inet mine { chain passing { \(hook) ip6 hoplimit < 255 drop; }; }"
        ),
        ForeignRules(
            cause: "firewall_nftables",
            rules: "table ip6 mine { chain early { type filter hook prerouting priority -150; "
                + "iifname \"vmnet0\" ip6 daddr 2000::/3 drop; }; }"),
        ForeignRules(
            cause: "firewall_nftables",
            rules: "table ip6 mine { chain late { type filter hook postrouting priority 0; "
                + "iifname \"vmnet0\" meta mark 0 drop; }; }"),
        ForeignRules(
            cause: "firewall_iptables", rules: "table ip6 filter { chain FORWARD { \(hook) policy drop; }; }"),
        ForeignRules(
            cause: "firewall_docker",
            rules: "table ip6 filter { chain DOCKER-USER { }; chain FORWARD { \(hook) policy drop; "
                + "jump DOCKER-USER; }; }"),
        ForeignRules(
            cause: "firewall_ufw",
            rules: "table ip6 filter { chain ufw6-user-forward { }; chain FORWARD { \(hook) policy drop; }; }"),
    ]
}

extension IntegrationTests.DoctorCommands {
    private func doctor(_ fixture: IPv6Fixture, _ socket: String) throws -> String {
        try fixture.network.host.attempt([TestHost.product("vde_vmnet"), "doctor", socket]).output
    }

    /// Which guests' packets pass such rules, and what lets them through.
    @Test(arguments: IPv6Way.possible, ForeignRules.all)
    private func droppedIPv6IsFound(way: IPv6Way, foreign: ForeignRules) throws {
        let folder = try TemporaryFolder(), socket = folder.file("control")
        let fixture = try way.fixture(["--control", socket])
        let host = fixture.network.host
        let guest = try fixture.guest()
        _ = try guest.address6()
        try guest.waitForRouter()
        #expect(try guest.namespace.pings(IPv6Fixture.outside))
        #expect(try !doctor(fixture, socket).contains("(firewall_"))
        try host.run("nft", foreign.rules)
        let found = try doctor(fixture, socket)
        if way.usesNAT {
            // Sockets of the host are not forwarded.
            #expect(try guest.namespace.pings(IPv6Fixture.outside))
            #expect(!found.contains("over IPv6"), "\(found)")
        } else {
            #expect(try !guest.namespace.pings(IPv6Fixture.outside, seconds: 1))
            let lines = found.split(separator: "\n")
            let index = try #require(lines.firstIndex { $0.hasSuffix("over IPv6 (\(foreign.cause))") }, "\(found)")
            let command = try #require(lines[index + 1].split(separator: ":", maxSplits: 1).last)
            if foreign.cause == "firewall_nftables" {
                try host.run("sh", "-ec", "sudo() { \"$@\"; }\n\(command)")
                #expect(try !doctor(fixture, socket).contains("(firewall_"))
                #expect(try guest.namespace.pings(IPv6Fixture.outside))
            } else if foreign.cause != "firewall_ufw" {
                #expect(command.contains("sudo ip6tables -I "), "\(command)")
            }
        }
        #expect(try fixture.daemon.stop() == .exited(0))
    }

    /// Without neighbour discovery, the gateway has no hardware address, even if a user-mode NAT leads to the outside.
    @Test(arguments: IPv6Way.possible.filter { $0 != .user }, ["ip6", "inet"])
    private func droppedNeighbourDiscoveryIsFound(way: IPv6Way, family: String) throws {
        let folder = try TemporaryFolder(), socket = folder.file("control")
        let fixture = try way.fixture(["--control", socket])
        let host = fixture.network.host
        let guest = try fixture.guest()
        let gateway = "\(IPv6Address(try guest.address6().high, 1))"
        try guest.waitForRouter()
        #expect(try guest.namespace.pings(gateway))
        #expect(try !doctor(fixture, socket).contains("(firewall_"))
        try host.run(
            "nft",
            "table \(family) mine { chain arriving { type filter hook input priority 0; policy drop; "
                + "ct state established,related accept; iifname != \"vmnet0\" accept; }; }")
        try guest.namespace.ip("-6", "neigh", "flush", "dev", PlugGuest.interface)
        #expect(try !guest.namespace.pings(gateway, seconds: 1))
        let found = try doctor(fixture, socket)
        let lines = found.split(separator: "\n")
        let index = try #require(
            lines.firstIndex { $0.hasSuffix("do not find the gateway over IPv6 (firewall_nftables)") }, "\(found)")
        #expect(lines[index].hasPrefix("failed  "))
        let command = try #require(lines[index + 1].split(separator: ":", maxSplits: 1).last)
        try host.run("sh", "-ec", "sudo() { \"$@\"; }\n\(command)")
        #expect(try guest.namespace.pings(gateway))
        let after = try doctor(fixture, socket)
        #expect(!after.contains("over IPv6 (firewall_"))
        #expect(after.contains("pings of the gateway (firewall_nftables)") == (family == "inet"), "\(after)")
        #expect(try fixture.daemon.stop() == .exited(0))
    }
}
