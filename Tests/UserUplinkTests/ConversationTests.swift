// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Platform
import Testing
import Timing
import Wire
@testable import UserUplink

/// Flows through the gateway, and its answers.
@Suite struct ConversationTests {
    private func changed(_ frame: [UInt8], _ offset: Int, _ value: UInt8) -> [UInt8] {
        var frame = frame
        frame[offset] = value
        return frame
    }

    private func arp(_ frame: [UInt8]) throws -> ARPPacket { try ARPPacket(parsing: frame.rawSpan.from(14)) }

    @Test func gatewayAnswersARPAndLearnsFromIt() throws {
        var gateway = Fixture.gateway()
        let question = ARPPacket(
            operation: .request, senderHardware: Fixture.mac, senderAddress: Fixture.guest, targetHardware: .zero,
            targetAddress: Fixture.network.gateway)
        #expect(gateway.judge(question.frame(to: .broadcast)) == .consumed)
        let answer = try arp(gateway.toGuests.removeFirst())
        #expect(
            answer
                == ARPPacket(
                    operation: .reply, senderHardware: Fixture.router, senderAddress: Fixture.network.gateway,
                    targetHardware: Fixture.mac, targetAddress: Fixture.guest))
        let reply = ARPPacket(
            operation: .reply, senderHardware: Fixture.otherMAC, senderAddress: Fixture.other,
            targetHardware: Fixture.router,
            targetAddress: Fixture.network.gateway)
        #expect(gateway.judge(reply.frame(to: Fixture.router).replacingSource(Fixture.otherMAC)) == .consumed)
        #expect(gateway.neighbors.ipv4.hardware(of: Fixture.other) == Fixture.otherMAC)
        let pose = ARPPacket(
            operation: .request, senderHardware: Fixture.mac, senderAddress: Fixture.network.gateway,
            targetHardware: .zero,
            targetAddress: Fixture.network.gateway)
        #expect(gateway.judge(pose.frame(to: .broadcast)) == .drop(.spoofed))
    }

    @Test func loopbackLinkLocalAndMetadataAddressesAreRefused() {
        var gateway = Fixture.gateway()
        for closed in [
            "127.0.0.1", "169.254.169.254", "169.254.1.1", "0.0.0.1", "192.168.105.1", "192.168.105.77", "240.0.0.1",
        ] {
            #expect(gateway.judge(Fixture.tcp(to: IPv4Address(closed)!)).isAllowedTCP != true, "\(closed)")
            #expect(gateway.judge(Fixture.udp(to: IPv4Address(closed)!)) == .drop(.refused), "\(closed)")
        }
        for closed in [
            IPv6Address(0, 1), IPv6Address(0xfe80 << 48, 9), IPv6Address(0, 0xffff_7f00_0001),
            IPv6Address(Fixture.prefix, 1), IPv6Address(Fixture.prefix, 9), IPv6Address(0xfd00_0ec2_0000_0000, 0x254),
        ] {
            #expect(gateway.judge(Fixture.udp6(to: closed)) == .drop(.refused), "\(closed)")
        }
        // The guest gets "destination unreachable, administratively prohibited".
        #expect(gateway.toGuests.first.map { $0[23] == IPProtocol.icmp && $0[34] == 3 && $0[35] == 13 } == true)
        var open = Fixture.gateway { $0.policy.opensHostLoopback = true }
        #expect(open.judge(Fixture.tcp(to: Fixture.network.gateway, 631)).isAllowedTCP == true)
        #expect(open.judge(Fixture.udp(to: Fixture.network.gateway, 631)).isDatagram)
        #expect(open.judge(Fixture.tcp(to: IPv4Address("127.0.0.1")!)).isAllowedTCP == false)
        #expect(
            open.judge(Fixture.udp(to: IPv4Address("192.168.105.77")!)) == .drop(.refused),
            "it is not routed")
    }

    /// `--vmnet-mode host`: no egress, whatever is allowed otherwise.
    @Test func closedNetworkRefusesAllDestinations() {
        var gateway = Fixture.gateway {
            $0.policy.isClosed = true
            $0.policy.allowed = [AllowedDestination("0.0.0.0/0")!, AllowedDestination("[::]/0")!]
        }
        #expect(gateway.judge(Fixture.tcp(to: Fixture.outside)).isAllowedTCP == false)
        #expect(gateway.judge(Fixture.udp(to: Fixture.outside)) == .drop(.refused))
        #expect(gateway.judge(Fixture.udp(to: Fixture.network.gateway, 53)) == .drop(.refused))
        #expect(gateway.judge(Fixture.udp6(to: IPv6Address(0x2001_0db8 << 32, 1))) == .drop(.refused))
    }

    @Test func dnsOverTCPGoesToTheProxy() {
        var gateway = Fixture.gateway()
        // DNS over UDP does not get here.
        #expect(gateway.judge(Fixture.udp(to: Fixture.network.gateway, 53)) == .drop(.refused))
        guard case .tcp(let question) = gateway.judge(Fixture.tcp(to: Fixture.network.gateway, 53)) else {
            Issue.record("no segment")
            return
        }
        #expect(gateway.relayPolicy.isDNS(question.key))
        #expect(gateway.judge(Fixture.tcp(to: Fixture.network.gateway, 54)).isAllowedTCP == false)
        guard case .tcp(let outside) = gateway.judge(Fixture.tcp(to: Fixture.outside, 53)) else {
            Issue.record("no segment")
            return
        }
        let other = FlowKey(
            IPProtocol.tcp, guest: outside.key.guest, 4000, remote: gateway.relayPolicy.gatewayKey, 54)
        #expect(!gateway.relayPolicy.isDNS(other) && !gateway.relayPolicy.isDNS(outside.key))
        var closed = Fixture.gateway { $0.answersDNS = false }
        #expect(closed.judge(Fixture.tcp(to: Fixture.network.gateway, 53)).isAllowedTCP == false)
    }

    @Test func guestMayAnswerClientOfPublishedPort() {
        var gateway = Fixture.gateway { $0.policy.isDenying = true }
        let answer = Fixture.udp(7000, to: Fixture.outside, 6000)
        #expect(gateway.judge(answer) == .drop(.refused))
        var asked: [FlowKey] = []
        let verdict = gateway.fromGuest(answer.rawSpan, now: .seconds(100)) { key, _, _ in
            asked.append(key)
            return true
        }
        #expect(verdict.isDatagram)
        #expect(
            asked == [
                FlowKey(
                    IPProtocol.udp, guest: .ipv4(Fixture.guest), 7000, remote: .ipv4(Fixture.outside), 6000)
            ])
    }

    @Test func gatewayHandlesNeighborDiscovery() throws {
        var gateway = Fixture.gateway()
        let solicitation = Fixture.ipv6(
            IPProtocol.icmpv6, from: IPv6Address(0xfe80 << 48, 2), to: IPv6Address(0xff02 << 48, 2),
            [133, 0, 0, 0, 0, 0, 0, 0], checksumAt: 2)
        #expect(gateway.judge(solicitation) == .drop(.malformed), "the hop limit must be 255")
        #expect(gateway.judge(changed(solicitation, 21, 255)) == .consumed)
        #expect(gateway.toGuests.isEmpty, "the router service sends advertisements")
        let question = Fixture.ipv6(
            IPProtocol.icmpv6, to: IPv6Address(Fixture.prefix, 1).solicitedNode,
            [135, 0, 0, 0, 0, 0, 0, 0] + IPv6Address(Fixture.prefix, 1).bytes, checksumAt: 2)
        #expect(gateway.judge(changed(question, 21, 255)) == .consumed)
        let answer = try #require(gateway.toGuests.first)
        #expect(answer[54] == 136)
        var sum = InternetChecksum.pseudoHeader(
            addresses: Array(answer[22..<54]).rawSpan, protocolNumber: IPProtocol.icmpv6, length: answer.count - 54)
        sum.add(Array(answer[54...]).rawSpan)
        #expect(sum.isValid)
        #expect(
            gateway.judge(
                changed(
                    Fixture.ipv6(
                        IPProtocol.icmpv6, from: IPv6Address(Fixture.prefix, 1), to: .allNodes,
                        [133, 0, 0, 0, 0, 0, 0, 0], checksumAt: 2), 21, 255)) == .drop(.spoofed))
    }
}

extension [UInt8] {
    fileprivate func replacingSource(_ mac: MACAddress) -> [UInt8] {
        Array(self[0..<6]) + mac.bytes + Array(self[12...])
    }
}
