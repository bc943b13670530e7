// SPDX-License-Identifier: Apache-2.0
import RouterService
import Testing
import Timing
import Wire

@Suite struct RouterAdvertiserTests {
    private let start = Instant.distantPast + .seconds(1000)
    private let address = IPv6Address("fe80::1")!, guest = IPv6Address("fe80::2")!
    private let hardware = MACAddress("52:54:00:00:00:01")!

    private var contents: RouterAdvertisement {
        var contents = RouterAdvertisement(hardware: hardware)
        contents.routerLifetime = 1800
        contents.namesLifetime = 1800
        contents.nameServers = [address]
        return contents
    }

    private func parse(_ frame: [UInt8]?) throws -> (RouterAdvertisement, to: IPv6Address, hops: UInt8) {
        let frame = try #require(frame)
        let packet = try IPv6View(EthernetView(frame.rawSpan).payload)
        #expect(try ICMPv6View(packet.payload).hasValidChecksum(packet.pseudoHeader))
        return (try RouterAdvertisement(parsing: packet.payload), packet.destination, packet.hopLimit)
    }

    /// RFC 4861 section 6.2.4: the interval is random within its bounds, and short for the first three.
    @Test func intervalsAreWithinBounds() throws {
        var advertiser = RouterAdvertiser(contents, from: address, now: start)
        var intervals: [TimeAmount] = []
        for number in 0..<50 {
            let due = advertiser.nextDeadline
            #expect(advertiser.tick(now: due - .milliseconds(1), random: 0) == nil)
            let (sent, to, hops) = try parse(advertiser.tick(now: due, random: UInt32(number) &* 77_777_777))
            #expect(sent == contents && to == .allNodes && hops == 255)
            intervals.append(advertiser.nextDeadline - due)
        }
        #expect(intervals.prefix(2).allSatisfy { $0 == .seconds(16) })
        #expect(intervals.dropFirst(2).allSatisfy { $0 >= .seconds(200) && $0 <= .seconds(600) })
        #expect(Set(intervals).count > 10)
    }

    @Test func solicitationIsAnsweredToItsSender() throws {
        var advertiser = RouterAdvertiser(contents, from: address, now: start)
        _ = advertiser.tick(now: start, random: 0)
        let (sent, to, _) = try parse(advertiser.solicit(from: (guest, hardware), now: start))
        #expect(sent == contents && to == guest)
        #expect(advertiser.nextDeadline == start + .seconds(16))
    }

    /// Another server's guests give up the router and its prefix, and get them back at once later.
    @Test func resignationEndsRouterAndPrefix() throws {
        var contents = contents
        contents.prefix = 0xfd00 << 48
        contents.preferredLifetime = 2700
        contents.validLifetime = 5400
        var advertiser = RouterAdvertiser(contents, from: address, now: start)
        for _ in 0..<5 { _ = advertiser.tick(now: advertiser.nextDeadline, random: 0) }
        let (sent, to, _) = try parse(advertiser.resignation)
        #expect(to == .allNodes && sent.prefix == contents.prefix && sent.routerLifetime == 0)
        #expect(sent.preferredLifetime == 0 && sent.validLifetime == 0 && sent.namesLifetime == 0)
        #expect(try parse(advertiser.farewell).0.preferredLifetime == 2700, "after a restart, guests go on")
        let later = start + .minutes(20)
        advertiser.restart(now: later)
        #expect(advertiser.nextDeadline <= later)
        #expect(try parse(advertiser.tick(now: later, random: 0)).0 == contents)
        #expect(advertiser.nextDeadline == later + .seconds(16))
    }

    /// RFC 4861 section 6.2.6: at most one advertisement to all in three seconds.
    @Test func solicitationWithoutAddressLeadsToOneForAll() throws {
        var advertiser = RouterAdvertiser(contents, from: address, now: start)
        _ = advertiser.tick(now: start, random: 0)
        for _ in 0..<5 { #expect(advertiser.solicit(from: (.unspecified, hardware), now: start + .seconds(1)) == nil) }
        #expect(advertiser.nextDeadline == start + .seconds(3))
        #expect(try parse(advertiser.tick(now: start + .seconds(3), random: 0)).to == .allNodes)
        _ = advertiser.solicit(from: (.unspecified, hardware), now: start + .seconds(10))
        #expect(advertiser.nextDeadline == start + .seconds(10))
    }

    @Test func floodOfSolicitationsLeadsToOneForAll() {
        var advertiser = RouterAdvertiser(contents, from: address, now: start)
        _ = advertiser.tick(now: start, random: 0)
        let now = start + .seconds(5)
        let answers = (0..<1000).compactMap { _ in advertiser.solicit(from: (guest, hardware), now: now) }
        #expect(answers.count == 64 && advertiser.nextDeadline == now)
        #expect(advertiser.solicit(from: (guest, hardware), now: now + .seconds(1)) != nil)
    }

    @Test func changeIsAdvertisedSoon() throws {
        var advertiser = RouterAdvertiser(contents, from: address, now: start)
        var now = start
        for _ in 0..<4 {
            now = advertiser.nextDeadline
            _ = advertiser.tick(now: now, random: 0)
        }
        var changed = contents
        advertiser.change(changed, now: now)
        #expect(advertiser.nextDeadline > now + .seconds(100), "nothing has changed")
        changed.routerLifetime = 0
        advertiser.change(changed, now: now)
        #expect(advertiser.nextDeadline == now + .seconds(3))
        #expect(try parse(advertiser.tick(now: now + .seconds(3), random: 0)).0.routerLifetime == 0)
    }

    @Test func farewellEndsRouterAndNames() throws {
        let (last, to, _) = try parse(RouterAdvertiser(contents, from: address, now: start).farewell)
        #expect(last.routerLifetime == 0 && last.namesLifetime == 0 && last.nameServers == [address])
        #expect(to == .allNodes)
    }
}
