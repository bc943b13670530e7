// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Platform
import Testing
import Uplinks
import Wire
@testable import UserUplink

/// Conversations through the gateway, from their beginning to their end.
@Suite struct ConversationTests {
    private func changed(_ frame: [UInt8], _ offset: Int, _ value: UInt8) -> [UInt8] {
        var frame = frame
        frame[offset] = value
        return frame
    }

    private func arp(_ frame: [UInt8]) throws -> ARPPacket { try ARPPacket(parsing: frame.rawSpan.from(14)) }

    @Test func arpIsAnsweredForTheGatewayAndLearnedFrom() throws {
        var gateway = Scene.gateway()
        let question = ARPPacket(
            operation: .request, senderHardware: Scene.mac, senderAddress: Scene.guest, targetHardware: .zero,
            targetAddress: Scene.network.gateway)
        #expect(gateway.judge(question.frame(to: .broadcast)) == .done)
        let answer = try arp(gateway.toGuests.removeFirst())
        #expect(
            answer
                == ARPPacket(
                    operation: .reply, senderHardware: Scene.router, senderAddress: Scene.network.gateway,
                    targetHardware: Scene.mac, targetAddress: Scene.guest))
        // The library asks for the guest, and hears it from us.
        let asked = ARPPacket(
            operation: .request, senderHardware: .zero, senderAddress: Scene.network.gateway, targetHardware: .zero,
            targetAddress: Scene.guest)
        #expect(gateway.judgeStack(asked.frame(to: .broadcast)) == .done)
        #expect(try arp(gateway.toStack.removeFirst()).senderHardware == Scene.mac)
        // Of one that was never heard the guests are asked.
        let unknown = ARPPacket(
            operation: .request, senderHardware: .zero, senderAddress: Scene.network.gateway, targetHardware: .zero,
            targetAddress: Scene.other)
        #expect(gateway.judgeStack(unknown.frame(to: .broadcast)) == .done)
        #expect(gateway.toGuests.removeFirst().prefix(6).allSatisfy { $0 == 0xff } && gateway.toStack.isEmpty)
        let reply = ARPPacket(
            operation: .reply, senderHardware: Scene.otherMAC, senderAddress: Scene.other, targetHardware: Scene.router,
            targetAddress: Scene.network.gateway)
        #expect(gateway.judge(reply.frame(to: Scene.router).replacingSource(Scene.otherMAC)) == .done)
        #expect(gateway.toStack.count == 1)
        let pose = ARPPacket(
            operation: .request, senderHardware: Scene.mac, senderAddress: Scene.network.gateway, targetHardware: .zero,
            targetAddress: Scene.network.gateway)
        #expect(gateway.judge(pose.frame(to: .broadcast)) == .drop(.spoofed))
    }

    @Test func loopbackLinkAndMetadataAreClosed() {
        var gateway = Scene.gateway()
        for closed in [
            "127.0.0.1", "169.254.169.254", "169.254.1.1", "0.0.0.1", "192.168.105.1", "192.168.105.77", "240.0.0.1",
        ] {
            #expect(gateway.judge(Scene.tcp(to: IPv4Address(closed)!)).isAllowedTCP != true, "\(closed)")
            #expect(gateway.judge(Scene.udp(to: IPv4Address(closed)!)) == .drop(.refused), "\(closed)")
        }
        for closed in [
            IPv6Address(0, 1), IPv6Address(0xfe80 << 48, 9), IPv6Address(0, 0xffff_7f00_0001),
            IPv6Address(Scene.prefix, 1), IPv6Address(Scene.prefix, 9), IPv6Address(0xfd00_0ec2_0000_0000, 0x254),
        ] {
            #expect(gateway.judge(Scene.udp6(to: closed)) == .drop(.refused), "\(closed)")
        }
        // Whoever asks is told: destination unreachable, administratively prohibited.
        #expect(gateway.toGuests.first.map { $0[23] == IPProtocol.icmp && $0[34] == 3 && $0[35] == 13 } == true)
        var open = Scene.gateway { $0.policy.opensHostLoopback = true }
        #expect(open.judge(Scene.tcp(to: Scene.network.gateway, 631)).isAllowedTCP == true)
        #expect(open.judge(Scene.udp(to: Scene.network.gateway, 631)) == .pass)
        #expect(open.judge(Scene.tcp(to: IPv4Address("127.0.0.1")!)).isAllowedTCP == false)
        #expect(
            open.judge(Scene.udp(to: IPv4Address("192.168.105.77")!)) == .drop(.refused),
            "the library would take it for the loopback")
    }

    /// `--vmnet-mode host`: nothing leads out, whatever else is allowed.
    @Test func aClosedNetworkLeadsNowhere() {
        var gateway = Scene.gateway {
            $0.policy.isClosed = true
            $0.policy.allowed = [AllowedDestination("0.0.0.0/0")!, AllowedDestination("[::]/0")!]
        }
        #expect(gateway.judge(Scene.tcp(to: Scene.outside)).isAllowedTCP == false)
        #expect(gateway.judge(Scene.udp(to: Scene.outside)) == .drop(.refused))
        #expect(gateway.judge(Scene.udp(to: Scene.network.gateway, 53)) == .drop(.refused))
        #expect(gateway.judge(Scene.udp6(to: IPv6Address(0x2001_0db8 << 32, 1))) == .drop(.refused))
        gateway.toGuests = []
        gateway.advertise()
        // Router lifetime 0, and the prefix with its own.
        #expect(gateway.toGuests.first.map { Array($0[60..<62]) } == [0, 0])
        var open = Scene.gateway()
        open.advertise()
        #expect(open.toGuests.first.map { Array($0[60..<62]) } == [7, 8])
    }

    @Test func namesHaveTheirOwnWay() {
        var gateway = Scene.gateway()
        // By UDP they do not come here.
        #expect(gateway.judge(Scene.udp(to: Scene.network.gateway, 53)) == .drop(.refused))
        guard case .tcp(let question) = gateway.judge(Scene.tcp(to: Scene.network.gateway, 53)) else {
            Issue.record("no segment")
            return
        }
        #expect(question.isAllowed && gateway.isForNames(question.key))
        guard case .tcp(let other) = gateway.judge(Scene.tcp(to: Scene.network.gateway, 54)),
            case .tcp(let outside) = gateway.judge(Scene.tcp(to: Scene.outside, 53))
        else {
            Issue.record("no segments")
            return
        }
        #expect(!other.isAllowed && !gateway.isForNames(other.key) && !gateway.isForNames(outside.key))
        var closed = Scene.gateway { $0.answersNames = false }
        #expect(closed.judge(Scene.tcp(to: Scene.network.gateway, 53)).isAllowedTCP == false)
    }

    @Test func whoComesByAPublishedPortIsAnswered() {
        var gateway = Scene.gateway { $0.policy.isDenying = true }
        gateway.lease(Scene.guest, to: Scene.mac, until: 1000, now: 100)
        #expect(gateway.judge(Scene.udp(7000, to: Scene.outside, 6000)) == .drop(.refused))
        var knock = Scene.udp(from: Scene.outside, 6000, to: Scene.guest, 7000)
        #expect(gateway.judgeStack(&knock) == .pass)
        #expect(Array(knock[0..<12]) == Scene.mac.bytes + Scene.router.bytes)
        #expect(gateway.judge(Scene.udp(7000, to: Scene.outside, 6000)) == .pass)
        #expect(gateway.judge(Scene.udp(7000, to: Scene.outside, 6001)) == .drop(.refused))
    }

    @Test func routersAndNeighboursAreOurs() {
        var gateway = Scene.gateway()
        let solicitation = Scene.ipv6(
            IPProtocol.icmpv6, from: IPv6Address(0xfe80 << 48, 2), to: IPv6Address(0xff02 << 48, 2),
            [133, 0, 0, 0, 0, 0, 0, 0], checksumAt: 2)
        #expect(gateway.judge(solicitation) == .drop(.malformed), "the hop limit must be 255")
        #expect(gateway.judge(changed(solicitation, 21, 255)) == .done)
        let advertisement = gateway.toGuests.removeFirst()
        #expect(advertisement[54] == 134 && Array(advertisement.suffix(16)) == IPv6Address(Scene.prefix, 0).bytes)
        var sum = InternetChecksum.pseudoHeader(
            addresses: Array(advertisement[22..<54]).rawSpan, protocolNumber: IPProtocol.icmpv6,
            length: advertisement.count - 54)
        sum.add(Array(advertisement[54...]).rawSpan)
        #expect(sum.isValid)
        let question = Scene.ipv6(
            IPProtocol.icmpv6, to: IPv6Address(Scene.prefix, 1).solicitedNode,
            [135, 0, 0, 0, 0, 0, 0, 0] + IPv6Address(Scene.prefix, 1).bytes, checksumAt: 2)
        #expect(gateway.judge(changed(question, 21, 255)) == .done)
        #expect(gateway.toGuests.removeFirst()[54] == 136)
        // What the library says to neighbours goes no further; what it asks for is answered.
        #expect(gateway.judgeStack(changed(solicitation, 54, 134)) == .done)
        let asked = Scene.ipv6(
            IPProtocol.icmpv6, from: IPv6Address(Scene.prefix, 1), to: Scene.guest6.solicitedNode,
            [135, 0, 0, 0, 0, 0, 0, 0] + Scene.guest6.bytes, checksumAt: 2)
        #expect(gateway.judgeStack(asked) == .done)
        #expect(gateway.toStack.removeFirst()[54] == 136)
        #expect(
            gateway.judge(
                changed(
                    Scene.ipv6(
                        IPProtocol.icmpv6, from: IPv6Address(Scene.prefix, 1), to: .allNodes,
                        [133, 0, 0, 0, 0, 0, 0, 0], checksumAt: 2), 21, 255)) == .drop(.spoofed))
    }
}

extension [UInt8] {
    fileprivate func replacingSource(_ mac: MACAddress) -> [UInt8] {
        Array(self[0..<6]) + mac.bytes + Array(self[12...])
    }
}
