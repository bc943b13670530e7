// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import TestSupport
import Testing
import Timing
import Wire
@testable import UserUplink

/// What pins of names allow in user mode, and for how long.
@Suite struct PinnedEgressTests {
    private static let name = DNSName("site.example")!
    private static let start = Instant(nanoseconds: 1_000_000_000_000)
    private static let outside6 = IPv6Address(0x2001_0db8_0000_0000, 7)

    private func gateway(_ rules: [String] = ["site.example:443"]) -> NATGateway {
        Fixture.gateway { options in
            options.policy.isDenying = true
            options.policy.allowed = rules.compactMap { AllowedDestination($0) }
        }
    }

    private func pin(_ gateway: inout NATGateway, _ scope: EgressPin.Scope, guest: MACAddress = Fixture.mac) {
        _ = gateway.pins.insert(
            [EgressPin(guest: guest, address: .ipv4(Fixture.outside), scope: scope)], of: Self.name,
            until: Self.start + .seconds(60), now: Self.start)
    }

    private func isRefused(_ verdict: NATGateway.Verdict) -> Bool {
        if case .refusedTCP = verdict { true } else { verdict == .drop(.refused) }
    }

    @Test func pinOpensOnePortToOneGuest() {
        var gateway = gateway()
        let now = Self.start
        #expect(isRefused(gateway.fromGuest(Fixture.tcp(to: Fixture.outside, 443).rawSpan, now: now)))
        pin(&gateway, .tcp(443))
        #expect(!isRefused(gateway.fromGuest(Fixture.tcp(to: Fixture.outside, 443).rawSpan, now: now)))
        #expect(isRefused(gateway.fromGuest(Fixture.tcp(to: Fixture.outside, 80).rawSpan, now: now)))
        #expect(isRefused(gateway.fromGuest(Fixture.udp(to: Fixture.outside, 443).rawSpan, now: now)), "QUIC")
        #expect(isRefused(gateway.fromGuest(Fixture.ping().rawSpan, now: now)))
        let other = Fixture.tcp(from: Fixture.other, to: Fixture.outside, 443, mac: Fixture.otherMAC)
        #expect(isRefused(gateway.fromGuest(other.rawSpan, now: now)), "another guest's pin")
    }

    /// A proxy resolves the name again, and may find other addresses.
    @Test func proxyGetsOnlyNamesThatThePolicyAllows() throws {
        func target(_ change: (inout EgressPolicy) -> Void) throws -> ProxyHandshake.Target {
            var gateway = Fixture.gateway { change(&$0.policy) }
            pin(&gateway, .everyPort)
            let verdict = gateway.fromGuest(Fixture.tcp(to: Fixture.outside, 443).rawSpan, now: Self.start)
            guard case .tcp(let segment) = verdict else { throw CommandFailed(description: "\(verdict)") }
            return gateway.target(of: segment)
        }
        func deny(_ rule: String) -> (inout EgressPolicy) -> Void {
            { policy in
                policy.isDenying = true
                policy.allowed = [AllowedDestination(rule)!]
            }
        }
        let name = ProxyHandshake.Target.name("site.example"), address = ProxyHandshake.Target.ipv4(Fixture.outside)
        #expect(try target { _ in } == name)
        #expect(try target(deny("site.example:443")) == name)
        #expect(try target(deny("\(Fixture.outside)")) == address)
        #expect(try target(deny("other.example")) == address)
        var gateway = gateway(["0.0.0.0/0"])
        guard case .tcp(let segment) = gateway.fromGuest(Fixture.tcp(to: Fixture.outside, 443).rawSpan, now: Self.start)
        else { throw CommandFailed(description: "refused") }
        #expect(gateway.target(of: segment) == address, "no name")
    }

    /// A label may have bytes that end a name, a line or a request of the proxy's protocol, and so many that its text
    /// is longer than a name. The proxy gets the address then.
    @Test(arguments: [
        "a b", "evil.example\r\n\r\n", "evil.example:443 HTTP/1.1\r\nX", "evil.example\0", "evil.example/", "\u{e9}",
    ])
    func proxyGetsNoNameOfOtherBytes(label: String) throws {
        let last = Array(label.utf8), long: [[UInt8]] = Array(repeating: Array(repeating: 0xff, count: 60), count: 3)
        for labels in [[last], long + [last]] {
            let whole: [[UInt8]] = labels + [Array("site".utf8), Array("example".utf8)]
            let bytes: [UInt8] = whole.flatMap { [UInt8($0.count)] + $0 } + [0]
            var offset = 0
            let name = try DNSName(parsing: bytes.rawSpan, at: &offset)
            var gateway = Fixture.gateway {
                $0.policy.isDenying = true
                $0.policy.allowed = [AllowedDestination("*.site.example:443")!]
            }
            _ = gateway.pins.insert(
                [EgressPin(guest: Fixture.mac, address: .ipv4(Fixture.outside), scope: .tcp(443))], of: name,
                until: Self.start + .seconds(60), now: Self.start)
            guard
                case .tcp(let segment) = gateway.fromGuest(
                    Fixture.tcp(to: Fixture.outside, 443).rawSpan, now: Self.start)
            else { throw CommandFailed(description: "refused") }
            #expect(gateway.target(of: segment) == .ipv4(Fixture.outside))
        }
    }

    @Test func openConnectionOutlivesPin() {
        var gateway = gateway()
        pin(&gateway, .tcp(443))
        let later = Self.start + .seconds(61)
        let segment = Fixture.tcp(to: Fixture.outside, 443, flags: .ack)
        #expect(isRefused(gateway.fromGuest(segment.rawSpan, now: later)))
        #expect(!isRefused(gateway.fromGuest(segment.rawSpan, now: later, hasConnection: { _, _, _ in true })))
        #expect(isRefused(gateway.fromGuest(Fixture.tcp(to: Fixture.outside, 443).rawSpan, now: later)))
    }

    @Test func openDatagramFlowOutlivesPin() {
        var gateway = gateway(["site.example:5000"])
        pin(&gateway, .udp(5000))
        let datagram = Fixture.udp(), other = Fixture.udp(from: Fixture.guest, 4001)
        #expect(gateway.fromGuest(datagram.rawSpan, now: Self.start).isDatagram)
        for second in stride(from: 30, through: 900, by: 200) as StrideThrough<Int64> {
            #expect(gateway.fromGuest(datagram.rawSpan, now: Self.start + .seconds(second)).isDatagram, "\(second)")
        }
        #expect(isRefused(gateway.fromGuest(other.rawSpan, now: Self.start + .seconds(61))), "a new flow")
        #expect(isRefused(gateway.fromGuest(datagram.rawSpan, now: Self.start + .seconds(1300))), "an idle flow")
    }

    /// A lease ends, and another guest gets the address.
    @Test func nextHolderOfAddressDoesNotContinueFlow() {
        var gateway = gateway(["site.example:5000"])
        pin(&gateway, .udp(5000))
        let start = Self.start, address = IPAddress.ipv4(Fixture.guest), outside = IPAddress.ipv4(Fixture.outside)
        let key = FlowKey(IPProtocol.udp, guest: address, 4000, remote: outside, 5000)
        gateway.lease(Fixture.guest, to: Fixture.mac, until: start + .seconds(100), now: start)
        #expect(gateway.fromGuest(Fixture.udp().rawSpan, now: start).isDatagram)
        #expect(gateway.allowsDatagrams(key, now: start + .seconds(99)))
        let later = start + .seconds(101)
        gateway.lease(Fixture.guest, to: Fixture.otherMAC, until: later + .seconds(100), now: later)
        #expect(!gateway.allowsDatagrams(key, now: later), "answers to the holder before")
        let datagram = Fixture.udp(mac: Fixture.otherMAC)
        #expect(isRefused(gateway.fromGuest(datagram.rawSpan, now: later)))
        _ = gateway.pins.insert(
            [EgressPin(guest: Fixture.otherMAC, address: outside, scope: .udp(5000))], of: Self.name,
            until: later + .seconds(60), now: later)
        #expect(gateway.fromGuest(datagram.rawSpan, now: later).isDatagram, "a pin for this guest")
        #expect(gateway.allowsDatagrams(key, now: later + .seconds(61)))
    }

    /// Another guest takes an address over that has no lease. A published port leads to the address, not to a guest.
    @Test func connectionIsOfOneHardwareAddress() throws {
        let harness = try RelayHarness(), (server, port) = try RelayHarness.server()
        harness.send(Fixture.segment(4000, port, .syn, sequence: 1000))
        _ = try harness.expectSegment { $0.flags == [.syn, .ack] }
        let key = FlowKey(
            IPProtocol.tcp, guest: .ipv4(Fixture.guest), 4000, remote: .ipv4(Fixture.network.gateway), port)
        #expect(harness.relay.hasConnection(key, isSYN: false, from: Fixture.mac))
        #expect(!harness.relay.hasConnection(key, isSYN: false, from: Fixture.otherMAC))
        _ = server
    }

    /// The ports of a fragmented segment are judged when it is whole.
    @Test func fragmentsOpenNothing() {
        var gateway = gateway()
        pin(&gateway, .tcp(443))
        for (port, isOpen) in [(80, false), (443, true)] as [(UInt16, Bool)] {
            let frame = Fixture.tcp(to: Fixture.outside, port)
            let segment = Array(frame[(EthernetHeader.length + IPv4Header.length)...])
            let first = Fixture.ipv4(IPProtocol.tcp, flags: 0x2000, id: port, Array(segment[..<16]))
            let rest = Fixture.ipv4(IPProtocol.tcp, flags: 2, id: port, Array(segment[16...]))
            #expect(gateway.fromGuest(first.rawSpan, now: Self.start) == .consumed)
            #expect(isRefused(gateway.fromGuest(rest.rawSpan, now: Self.start)) != isOpen, "\(port)")
        }
    }

    @Test func everyPortButResolvers() {
        var gateway = gateway(["site.example"])
        pin(&gateway, .everyPort)
        let now = Self.start
        for port in [22, 80, 443] as [UInt16] {
            #expect(!isRefused(gateway.fromGuest(Fixture.tcp(to: Fixture.outside, port).rawSpan, now: now)), "\(port)")
        }
        #expect(gateway.fromGuest(Fixture.ping().rawSpan, now: now).isDatagram)
        for port in [53, 853] as [UInt16] {
            #expect(isRefused(gateway.fromGuest(Fixture.tcp(to: Fixture.outside, port).rawSpan, now: now)), "\(port)")
            #expect(isRefused(gateway.fromGuest(Fixture.udp(to: Fixture.outside, port).rawSpan, now: now)), "\(port)")
        }
        #expect(isRefused(gateway.fromGuest(Fixture.udp(to: Fixture.outside, 443).rawSpan, now: now)))
    }

    @Test func stricterPolicyEndsPinsAndFlows() {
        var gateway = gateway(["site.example:5000", "other.example:80"])
        pin(&gateway, .udp(5000))
        #expect(gateway.fromGuest(Fixture.udp().rawSpan, now: Self.start).isDatagram)
        var policy = gateway.options.policy
        policy.allowed.append(AllowedDestination("third.example")!)
        gateway.setPolicy(policy)
        #expect(gateway.fromGuest(Fixture.udp().rawSpan, now: Self.start).isDatagram)
        policy.allowed.removeFirst()
        gateway.setPolicy(policy)
        #expect(isRefused(gateway.fromGuest(Fixture.udp().rawSpan, now: Self.start)))
        #expect(gateway.pins.count == 0)
    }
}
