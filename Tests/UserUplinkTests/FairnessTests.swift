// SPDX-License-Identifier: Apache-2.0
import FrameIO
import NetworkModel
import Platform
import TestSupport
import Testing
import Timing
import Wire
@testable import UserUplink

private func linkLocal(_ number: Int) -> IPv6Address { IPv6Address(0xfe80 << 48, UInt64(number)) }

extension NeighborTable {
    /// Whether an address is admitted without a probe.
    fileprivate mutating func admits(
        _ hardware: MACAddress, as address: Address, by owner: GuestOwner = .unknown, hasLease: Bool = false,
        now: Instant
    ) -> Bool {
        refresh(hardware, as: address, now: now)
            || claim(hardware, as: address, by: owner, hasLease: hasLease, now: now) == .admitted
    }
}

@Suite struct NeighborTableTests {
    @Test func staleAddressMovesToNewHardware() {
        var table = NeighborTable<IPv4Address>(capacity: 8, perHardware: 2)
        let a = mac(1), b = mac(2)
        var admitted = [
            table.admits(a, as: ip(2), now: .seconds(0)), table.admits(b, as: ip(2), now: .seconds(30)),
            table.admits(b, as: ip(2), now: .seconds(100)),
        ]
        #expect(admitted == [true, false, true])
        #expect(table.hardware(of: ip(2)) == b)
        table.lease(ip(3), to: a, until: .seconds(1000), now: .seconds(100))
        admitted = [table.admits(b, as: ip(3), now: .seconds(900)), table.admits(b, as: ip(3), now: .seconds(1001))]
        #expect(admitted == [false, true])
    }

    @Test func addressFloodIsBounded() {
        var table = NeighborTable<IPv4Address>(capacity: 4, perHardware: 2)
        let admitted = (2...200).count { table.admits(mac($0), as: ip($0), by: .port(1), now: .seconds(0)) }
        #expect(admitted == 2, "half of what there is")
        let others = [
            table.admits(mac(202), as: ip(202), by: .port(2), now: .seconds(0)),
            table.admits(mac(203), as: ip(203), by: .port(2), now: .seconds(0)),
        ]
        #expect(others == [true, false])
        let isAdmitted = table.admits(mac(204), as: ip(204), by: .port(1), hasLease: true, now: .seconds(0))
        #expect(isAdmitted, "a lease always finds room")
        let isLater = table.admits(mac(203), as: ip(203), by: .port(2), now: .seconds(100))
        #expect(isLater, "the others have been silent")
    }

    @Test func addressesPerHardwareAddressAreBounded() {
        var table = NeighborTable<IPv6Address>(capacity: 4096, perHardware: 16)
        let plain = (0..<100).count { table.admits(mac(1), as: linkLocal($0), by: .port(1), now: .seconds(0)) }
        let leased = (100..<200).count {
            table.admits(mac(2), as: linkLocal($0), by: .port(2), hasLease: true, now: .seconds(0))
        }
        #expect(plain == 16 && leased == 16)
    }

    // MARK: Addresses that move

    @Test func unansweredProbeMovesAddressToClaimant() {
        var table = NeighborTable<IPv4Address>()
        _ = table.admits(mac(1), as: ip(100), by: .port(1), now: .seconds(10))
        let first = table.claim(mac(2), as: ip(100), by: .port(2), now: .seconds(11))
        #expect(first == .contested(mac(1)) && table.hasClaims)
        let second = table.claim(mac(2), as: ip(100), by: .port(2), now: .seconds(11))
        #expect(second == .refused)
        let again = table.settleClaims(now: .seconds(12))
        #expect(again.map(\.hardware) == [mac(1)], "it is asked once more")
        let done = table.settleClaims(now: .seconds(13))
        #expect(done.isEmpty && !table.hasClaims)
        #expect(table.hardware(of: ip(100)) == mac(2) && table.owner(of: ip(100)) == .port(2))
        let isBack = table.admits(mac(1), as: ip(100), by: .port(1), now: .seconds(13))
        #expect(!isBack)
    }

    @Test func answeringHolderKeepsAddress() {
        var table = NeighborTable<IPv4Address>()
        _ = table.admits(mac(1), as: ip(100), by: .port(1), now: .seconds(10))
        for second in 11...40 as ClosedRange<Int64> {
            let now = Instant.seconds(second)
            let claim = table.claim(mac(2), as: ip(100), by: .port(2), now: now)
            if case .contested = claim {
                // Any frame from the address counts as the answer.
                let isKnown = table.refresh(mac(1), as: ip(100), now: now)
                #expect(isKnown)
            }
            _ = table.settleClaims(now: now)
            #expect(table.hardware(of: ip(100)) == mac(1))
        }
    }

    @Test func leasedAddressDoesNotMove() {
        var table = NeighborTable<IPv4Address>()
        table.lease(ip(2), to: mac(1), until: .seconds(1000), now: .seconds(10))
        let claim = table.claim(mac(2), as: ip(2), by: .port(2), now: .seconds(11))
        #expect(claim == .refused && !table.hasClaims)
        // A new lease ends a claim.
        _ = table.admits(mac(1), as: ip(3), now: .seconds(10))
        _ = table.claim(mac(2), as: ip(3), by: .port(2), now: .seconds(11))
        table.lease(ip(3), to: mac(1), until: .seconds(1000), now: .seconds(11))
        _ = table.settleClaims(now: .seconds(20))
        #expect(table.hardware(of: ip(3)) == mac(1))
    }

    /// As temporary addresses of a guest are (RFC 8981), a new one every few seconds.
    @Test func leastRecentlyUsedAddressIsReplaced() {
        var table = NeighborTable<IPv6Address>(perHardware: 2)
        func admits(_ number: Int, at second: Int64) -> Bool {
            table.admits(mac(1), as: linkLocal(number), by: .port(1), now: .seconds(second))
        }
        #expect(admits(0, at: 10) && admits(1, at: 10))
        #expect(admits(0, at: 13))
        #expect(!admits(2, at: 14), "both were used just now")
        #expect(admits(2, at: 15))
        #expect(table.hardware(of: linkLocal(0)) == mac(1) && table.hardware(of: linkLocal(1)) == nil)
        #expect(!admits(3, at: 17))
        #expect(admits(3, at: 18) && table.hardware(of: linkLocal(0)) == nil)
    }

    @Test func claimsOfOneGuestLeaveRoomForOthers() {
        var table = NeighborTable<IPv6Address>()
        for number in 0..<200 {
            _ = table.admits(mac(1000 + number), as: linkLocal(number), by: .port(UInt16(number)), now: .seconds(10))
        }
        let contested = (0..<199).count {
            table.claim(mac(1), as: linkLocal($0), by: .port(500), now: .seconds(11)) != .refused
        }
        #expect(contested == 32)
        let other = table.claim(mac(2), as: linkLocal(199), by: .port(501), now: .seconds(11))
        #expect(other == .contested(mac(1199)))
    }
}

/// A guest that forges addresses does not use up the resources of others.
@Suite struct FairnessTests {
    /// Even hardware addresses are at port 1, which forges addresses; odd ones at the port of their number.
    private func gateway(
        isShared: Bool = false, _ change: (inout NATGateway.Options) -> Void = { _ in }
    ) -> NATGateway {
        var gateway = Fixture.gateway(change)
        gateway.locate = {
            isShared || $0.value % 2 == 0
                ? FrameOrigin(port: 1, isShared: isShared)
                : FrameOrigin(port: UInt16(truncatingIfNeeded: $0.value), isShared: false)
        }
        return gateway
    }

    private func solicitation(_ number: Int, from source: IPv6Address) -> [UInt8] {
        var frame = Fixture.ipv6(
            IPProtocol.icmpv6, from: source, to: IPv6Address(0xff02 << 48, 2), [133, 0, 0, 0, 0, 0, 0, 0], checksumAt: 2
        )
        frame.replaceSubrange(6..<12, with: mac(number).bytes)
        frame[21] = 255
        return frame
    }

    private func udp(_ number: Int, _ port: UInt16, from source: IPv4Address) -> [UInt8] {
        Fixture.udp(from: source, port, 7, mac: mac(number), [1])
    }

    @Test func forgedHardwareAddressesLeaveRoomForNeighbors() {
        var gateway = gateway()
        var admitted = 0
        for number in 0..<1024 {
            for place in 0..<16
            where gateway.judge(solicitation(2 * number, from: linkLocal(number * 100 + place))) == .consumed {
                admitted += 1
            }
        }
        #expect(admitted == 2048)
        for number in 0..<50 {
            #expect(gateway.judge(solicitation(20_001 + 2 * number, from: linkLocal(1_000_000 + number))) == .consumed)
        }
    }

    @Test func leasedClientFindsRoomBehindSharedPort() {
        var gateway = gateway(isShared: true)
        gateway.lease(ip(9), to: mac(9), until: .seconds(1000), now: .seconds(0))
        for number in 100..<600 {
            for place in 0..<16 { _ = gateway.judge(solicitation(number, from: linkLocal(number * 100 + place))) }
        }
        #expect(
            gateway.judge(solicitation(9999, from: linkLocal(2))) == .drop(.spoofed),
            "one without a lease is one of many")
        #expect(gateway.judge(solicitation(9, from: linkLocal(3))) == .consumed)
    }

    @Test func forgedAddressesLeaveReassemblyForOthers() {
        var gateway = gateway()
        func fragment(_ number: Int, from source: IPv4Address, id: UInt16, isLast: Bool = false) -> NATGateway.Verdict {
            gateway.judge(
                Fixture.ipv4(
                    IPProtocol.udp, from: source, mac: mac(number), flags: isLast ? 2 : 0x2000, id: id,
                    [UInt8](repeating: 0, count: 16)))
        }
        func flood(id start: UInt16) {
            for last in 10..<20 {
                for id in start..<start + 8 { #expect(fragment(2 * last, from: ip(last), id: id) == .consumed) }
            }
        }
        flood(id: 0)
        #expect(fragment(201, from: ip(100), id: 1) == .consumed)
        flood(id: 100)
        // Put together, and no datagram.
        #expect(fragment(201, from: ip(100), id: 1, isLast: true) == .drop(.malformed))
    }

    @Test func icmpErrorsAreSharedAmongGuests() {
        var gateway = gateway { $0.policy.isDenying = true }
        for last in 10..<110 {
            for port in 1...4 as ClosedRange<UInt16> { _ = gateway.judge(udp(2 * last, port, from: ip(last))) }
        }
        #expect(gateway.toGuests.count == 100)
        gateway.toGuests = []
        _ = gateway.judge(udp(241, 5000, from: ip(120)))
        #expect(gateway.toGuests.count == 1)
    }

    @Test func flowsAreChargedToTheGuestNotItsAddresses() {
        var table = FlowTable(capacity: 100)
        func key(_ guest: Int, _ port: Int) -> FlowKey {
            FlowKey(6, guest: IPv6Address(0, UInt64(guest)), UInt16(port), remote: IPv6Address(0, 99), 80)
        }
        for port in 0..<20 { _ = table.insert(key(1, port), by: .port(1), now: .seconds(0)) }
        // Another guest uses one address for each connection.
        for number in 0..<500 { _ = table.insert(key(1000 + number, 1), by: .port(2), now: .seconds(1)) }
        let left = (0..<20).count { table.find(key(1, $0), now: .seconds(2)) != nil }
        #expect(left == 20 && table.count == 100)
    }

    // MARK: Virtual addresses

    @Test func virtualIPv4AddressMovesWithinTwoSeconds() throws {
        var gateway = gateway()
        func announce(_ number: Int, now: Instant) -> NATGateway.Verdict {
            gateway.judge(Frames.arpRequest(from: Endpoint(mac(number), ip(100)), for: ip(100)), now: now)
        }
        #expect(announce(11, now: .seconds(10)) == .consumed)
        gateway.toGuests = []
        #expect(announce(13, now: .seconds(20)) == .drop(.spoofed))
        // Only the holder is probed.
        let question = try #require(gateway.toGuests.first)
        #expect(Array(question.prefix(6)) == mac(11).bytes)
        let asked = try ARPPacket(parsing: question.rawSpan.from(14))
        #expect(asked.operation == .request && asked.targetAddress == ip(100))
        #expect(gateway.needsTick)
        gateway.tick(now: .seconds(21))
        #expect(gateway.toGuests.count == 2)
        gateway.tick(now: .seconds(22))
        #expect(!gateway.needsTick)
        #expect(gateway.neighbors.ipv4.hardware(of: ip(100)) == mac(13))
        #expect(announce(13, now: .seconds(22)) == .consumed)
    }

    @Test func virtualIPv6AddressMoves() {
        var gateway = gateway()
        let address = linkLocal(100)
        _ = gateway.fromGuest(solicitation(11, from: address).rawSpan, now: .seconds(10))
        gateway.toGuests = []
        #expect(gateway.fromGuest(solicitation(13, from: address).rawSpan, now: .seconds(20)) == .drop(.spoofed))
        #expect(gateway.toGuests.first.map { Array($0.prefix(6)) } == mac(11).bytes)
        #expect(gateway.toGuests.first?[54] == 135)
        gateway.tick(now: .seconds(21))
        gateway.tick(now: .seconds(22))
        #expect(gateway.fromGuest(solicitation(13, from: address).rawSpan, now: .seconds(22)) == .consumed)
        #expect(gateway.neighbors.ipv6.hardware(of: address) == mac(13))
    }
}
