// SPDX-License-Identifier: Apache-2.0
import DHCPService
import NetworkModel
import TestSupport
import Testing
import Timing
import Wire

private let second = TimeAmount.seconds(1)

@Suite struct DHCPServerTests {
    // MARK: Getting an address

    @Test func theFirstClientGetsTheFirstAddressAndAllItNeeds() throws {
        var bench = Bench()
        _ = bench.send(bench.message(.discover, mac(1)))
        let offer = try #require(bench.wait(second).last)
        #expect(offer.kind == .offer && offer.isReply)
        #expect(offer.yourAddress == ip(2))
        #expect(offer.address(.serverIdentifier) == ip(1))
        #expect(offer.address(.subnetMask)?.description == "255.255.255.0")
        #expect(offer.address(.router) == ip(1))
        #expect(offer.addresses(.domainNameServer) == [ip(1)])
        #expect(offer.address(.broadcastAddress) == ip(255))
        #expect(offer[.domainName] == Array("example.org".utf8))
        #expect(offer.short(.interfaceMTU) == 1500)
        #expect(offer.seconds(.leaseTime) == 1800)
        #expect(offer.seconds(.renewalTime) == 900)
        #expect(offer.seconds(.rebindingTime) == 1575)
        let acknowledgement = try #require(bench.send(bench.selecting(offer)).last)
        #expect(acknowledgement.kind == .ack && acknowledgement.yourAddress == ip(2))
        #expect(bench.outbox.changes.map(\.address) == [ip(2)])
    }

    // MARK: Addresses of one's own

    @Test func aMachineGetsTheAddressThatIsItsOwn() {
        var bench = Bench(
            last: 20,
            reservations: [
                AddressReservation(hardware: mac(7), address: ip(2)),
                AddressReservation(hardware: mac(8), address: ip(200)),
            ])
        #expect(bench.lease(mac(1)) == ip(3), "the first address is another's")
        #expect(bench.lease(mac(1), asking: ip(2)) == ip(3))
        #expect(bench.lease(mac(2), asking: ip(200)) == ip(4))
        #expect(bench.lease(mac(7), asking: ip(9)) == ip(2))
        #expect(
            bench.lease(mac(8), identifier: [255, 1, 2, 3]) == ip(200),
            "outside the range, and by its hardware address whatever it calls itself")
        #expect(bench.lease(mac(8), identifier: [255, 1, 2, 3]) == ip(200))
    }

    @Test func nobodyElseGetsItHoweverFewThereAre() {
        var bench = Bench(last: 4, reservations: [AddressReservation(hardware: mac(7), address: ip(3))])
        #expect(bench.lease(mac(1)) == ip(2))
        #expect(bench.lease(mac(2)) == ip(4))
        #expect(bench.lease(mac(3)) == nil)
        #expect(bench.lease(mac(7)) == ip(3))
    }

    @Test func whoHasAnotherAddressMovesToItsOwn() throws {
        let lease = Lease(
            address: ip(5), client: ClientIdentity(hardware: mac(7)), hardware: mac(7), hostName: "",
            expires: .distantPast + .seconds(5_000))
        var bench = Bench(leases: [lease], reservations: [AddressReservation(hardware: mac(7), address: ip(9))])
        let renewal = bench.message(.request, mac(7)) { $0.clientAddress = ip(5) }
        #expect(bench.send(renewal, from: ip(5), to: ip(1)).last?.kind == .nak)
        let reboot = bench.message(.request, mac(7)) { $0.set(.requestedAddress, [ip(5)]) }
        #expect(bench.send(reboot).last?.kind == .nak)
        #expect(bench.lease(mac(7)) == ip(9))
    }

    @Test func anAddressThatSomebodyStillHoldsIsNotTakenAway() {
        let lease = Lease(
            address: ip(9), client: ClientIdentity(hardware: mac(1)), hardware: mac(1), hostName: "",
            expires: .distantPast + .seconds(1_100))
        var bench = Bench(leases: [lease], reservations: [AddressReservation(hardware: mac(7), address: ip(9))])
        #expect(bench.lease(mac(7)) == ip(2), "for the time being")
        let renewal = bench.message(.request, mac(1)) { $0.clientAddress = ip(9) }
        #expect(bench.send(renewal, from: ip(9), to: ip(1)).last?.kind == .nak)
        bench.now = .distantPast + .seconds(1200)
        #expect(bench.lease(mac(7)) == ip(9))
        #expect(bench.lease(mac(1)) == ip(3))
    }

    @Test func anAddressIsProbedBeforeItIsOffered() throws {
        var bench = Bench()
        let frame = UDPFrame(from: (mac(1), .any, 68), to: (.broadcast, .broadcast, 67)).bytes(
            payload: bench.message(.discover, mac(1)).bytes())
        bench.server.receive(frame.rawSpan, now: bench.now, into: &bench.outbox)
        let probe = try #require(bench.outbox.frames.first)
        #expect(probe == ARPPacket.probe(for: ip(2), from: serverHardware).frame(to: .broadcast))
        #expect(bench.takeReplies().isEmpty)
        #expect(bench.wait(.milliseconds(49)).isEmpty)
        #expect(bench.wait(.milliseconds(1)).map(\.kind) == [.offer])
    }

    @Test func whoAnswersTheProbeKeepsItsAddress() {
        var bench = Bench()
        _ = bench.send(bench.message(.discover, mac(1)))
        bench.arp(.reply, from: mac(77), ip(2))
        let offer = bench.wait(second).last
        #expect(offer?.yourAddress == ip(3))
        #expect(bench.server.counters.conflicts == 1)
        // For a while nobody gets it.
        #expect(bench.lease(mac(2)) == ip(4))
    }

    @Test func aClientMayAskForAFreeAddress() {
        var bench = Bench()
        #expect(bench.lease(mac(1), asking: ip(77)) == ip(77))
        #expect(bench.lease(mac(2), asking: ip(77)) == ip(2))
        #expect(bench.lease(mac(3), asking: ip(1)) == ip(3))
        #expect(bench.lease(mac(4), asking: IPv4Address("10.0.0.1")!) == ip(4))
    }

    @Test func theSameClientGetsTheSameAddress() {
        var bench = Bench()
        for number in 1...50 { #expect(bench.lease(mac(number)) == ip(number + 1)) }
        _ = bench.wait(3600 * second)
        for number in (1...50).reversed() { #expect(bench.lease(mac(number)) == ip(number + 1)) }
    }

    @Test func clientIdentifiersCountBeforeHardware() {
        var bench = Bench()
        #expect(bench.lease(mac(1), identifier: [255, 1, 2, 3]) == ip(2))
        // The same machine with a new card; nobody answers for the old one.
        #expect(bench.lease(mac(2), identifier: [255, 1, 2, 3]) == ip(2))
        #expect(bench.lease(mac(3)) == ip(3))
        // An identifier that spells out the hardware address is that address.
        #expect(bench.lease(mac(3), identifier: [1] + mac(3).bytes) == ip(3))
    }

    @Test func clonesWithOneIdentifierAreToldApart() throws {
        var bench = Bench()
        let identifier: [UInt8] = [255, 9, 9, 9]
        #expect(bench.lease(mac(1), identifier: identifier) == ip(2))
        // The clone asks; the first one answers the probe.
        _ = bench.send(bench.message(.discover, mac(2)) { $0[.clientIdentifier] = identifier })
        bench.arp(.reply, from: mac(1), ip(2))
        let offer = try #require(bench.wait(second).last)
        #expect(offer.yourAddress == ip(3))
        #expect(bench.send(bench.selecting(offer, identifier: identifier)).last?.kind == .ack)
        // Both keep what they have.
        bench.now += 10 * second
        for (number, address) in [(1, ip(2)), (2, ip(3))] {
            let renewal = bench.message(.request, mac(number)) {
                $0.clientAddress = address
                $0[.clientIdentifier] = identifier
            }
            #expect(bench.send(renewal, from: address, to: ip(1)).last?.kind == .ack)
        }
    }

    // MARK: Requests in the four client states (RFC 2131 section 4.3.2)

    @Test func selectingAnotherServerIsRespected() {
        var bench = Bench()
        _ = bench.send(bench.message(.discover, mac(1)))
        let offer = bench.wait(second).last!
        var request = bench.selecting(offer)
        request.set(.serverIdentifier, [ip(200)])
        #expect(bench.send(request).isEmpty)
        // The offer is withdrawn: another client may have the address.
        #expect(bench.lease(mac(2), asking: ip(2)) == ip(2))
    }

    @Test func selectingWhatWasNotOfferedIsRefused() {
        var bench = Bench()
        bench.lease(mac(1))
        let forged = bench.message(.request, mac(2)) {
            $0.set(.requestedAddress, [ip(2)])
            $0.set(.serverIdentifier, [ip(1)])
        }
        #expect(bench.send(forged).map(\.kind) == [.nak])
        #expect(bench.server.table.lease(on: ip(2))?.hardware == mac(1))
    }

    @Test func anotherClientsIdentifierOpensNothing() {
        var bench = Bench()
        bench.lease(mac(1))
        for kind in [DHCPv4Message.Kind.request, .decline, .release] {
            let forged = bench.message(kind, mac(2)) {
                $0[.clientIdentifier] = [1] + mac(1).bytes
                $0.set(.serverIdentifier, [ip(1)])
                if kind == .release { $0.clientAddress = ip(2) } else { $0.set(.requestedAddress, [ip(2)]) }
            }
            #expect(bench.send(forged).map(\.kind) == (kind == .request ? [.nak] : []))
        }
        let lease = bench.server.table.lease(on: ip(2))
        #expect(lease?.hardware == mac(1) && lease!.expires > bench.now)
    }

    @Test func rebootingClientsKeepTheirAddress() {
        var bench = Bench()
        bench.lease(mac(1))
        let right = bench.message(.request, mac(1)) { $0.set(.requestedAddress, [ip(2)]) }
        #expect(bench.send(right).map(\.kind) == [.ack])
        let wrong = bench.message(.request, mac(1)) { $0.set(.requestedAddress, [ip(9)]) }
        #expect(bench.send(wrong).map(\.kind) == [.nak])
        // Of a client we do not know we say nothing: it may be another server's.
        let unknown = bench.message(.request, mac(2)) { $0.set(.requestedAddress, [ip(9)]) }
        #expect(bench.send(unknown).isEmpty)
    }

    @Test func renewingExtendsAndAnswersByUnicast() throws {
        var bench = Bench()
        bench.lease(mac(1))
        bench.now += 900 * second
        let renewal = bench.message(.request, mac(1)) { $0.clientAddress = ip(2) }
        let frame = UDPFrame(from: (mac(1), ip(2), 68), to: (serverHardware, ip(1), 67)).bytes(payload: renewal.bytes())
        bench.outbox = Outbox()
        bench.server.receive(frame.rawSpan, now: bench.now, into: &bench.outbox)
        let answer = try #require(bench.outbox.frames.first)
        let ethernet = try EthernetView(answer.rawSpan)
        #expect(ethernet.destination == mac(1) && ethernet.source == serverHardware)
        let packet = try IPv4View(ethernet.payload)
        #expect(packet.destination == ip(2) && packet.source == ip(1))
        #expect(bench.outbox.changes.first?.expires == bench.now + 1800 * second)
    }

    @Test func renewingWhatOneDoesNotHaveIsRefusedIfAskedOfUs() {
        var bench = Bench()
        bench.lease(mac(1))
        let forged = bench.message(.request, mac(2)) { $0.clientAddress = ip(2) }
        #expect(bench.send(forged, from: ip(2), to: ip(1)).map(\.kind) == [.nak])
        // Asked of all, it may be meant for another server.
        #expect(bench.send(forged, from: ip(2)).isEmpty)
        // One of ours that is wrong is told so either way.
        let wrong = bench.message(.request, mac(1)) { $0.clientAddress = ip(9) }
        #expect(bench.send(wrong, from: ip(9)).map(\.kind) == [.nak])
    }

    @Test func rebindingExtends() {
        var bench = Bench()
        bench.lease(mac(1))
        bench.now += 1600 * second
        let rebinding = bench.message(.request, mac(1)) { $0.clientAddress = ip(2) }
        #expect(bench.send(rebinding, from: ip(2)).map(\.kind) == [.ack])
    }

    // MARK: Where answers go (RFC 2131 section 4.1)

    @Test(arguments: [false, true])
    func acknowledgementsGoWhereTheClientCanHearThem(wantsBroadcast: Bool) throws {
        var bench = Bench()
        _ = bench.send(bench.message(.discover, mac(1)))
        var request = bench.selecting(try #require(bench.wait(second).last))
        request.wantsBroadcast = wantsBroadcast
        let frame = UDPFrame(from: (mac(1), .any, 68), to: (.broadcast, .broadcast, 67)).bytes(payload: request.bytes())
        bench.outbox = Outbox()
        bench.server.receive(frame.rawSpan, now: bench.now, into: &bench.outbox)
        let answer = try #require(bench.outbox.frames.first)
        let ethernet = try EthernetView(answer.rawSpan)
        let packet = try IPv4View(ethernet.payload)
        #expect(ethernet.destination == (wantsBroadcast ? .broadcast : mac(1)))
        #expect(packet.destination == (wantsBroadcast ? .broadcast : ip(2)))
        #expect(packet.hasValidChecksum == true)
    }

    @Test func refusalsAreBroadcast() throws {
        var bench = Bench()
        let forged = bench.message(.request, mac(2)) { $0.clientAddress = ip(2) }
        let frame = UDPFrame(from: (mac(2), ip(2), 68), to: (serverHardware, ip(1), 67)).bytes(payload: forged.bytes())
        bench.server.receive(frame.rawSpan, now: bench.now, into: &bench.outbox)
        let answer = try #require(bench.outbox.frames.first)
        let ethernet = try EthernetView(answer.rawSpan)
        #expect(ethernet.destination == .broadcast)
        #expect(try IPv4View(ethernet.payload).destination == .broadcast)
    }

    @Test func identifiersAreReturnedAndSizesRespected() throws {
        var bench = Bench()
        bench.server.configuration.domain = String(repeating: "x", count: 250)
        bench.server.configuration.nameServers = (1...30).map { ip($0) }
        let discover = bench.message(.discover, mac(1)) {
            $0[.clientIdentifier] = [0, 1, 2, 3]
            $0.set(.maximumMessageSize, short: 300)
        }
        _ = bench.send(discover)
        let offer = try #require(bench.wait(second).last)
        #expect(offer[.clientIdentifier] == [0, 1, 2, 3])
        #expect(offer.seconds(.leaseTime) == 1800)
        #expect(offer.bytes().count <= 576 - 28)
        #expect(offer[.domainName] == nil)
    }

    @Test func allSearchDomainsAreTold() throws {
        var bench = Bench()
        bench.server.configuration.searchDomains = ["corp.example", "Lab.example"]
        _ = bench.send(bench.message(.discover, mac(1)) { $0[.parameterRequestList] = [1, 3, 119] })
        func labels(_ text: String) -> [UInt8] {
            text.split(separator: ".").flatMap { [UInt8($0.utf8.count)] + Array($0.utf8) } + [0]
        }
        #expect(try #require(bench.wait(second).last)[.domainSearch] == labels("corp.example") + labels("lab.example"))
        // What does not fit into one option is left out, whole names at a time.
        bench.server.configuration.searchDomains = (1...6).map { "\(String(repeating: "x", count: 60))\($0).example" }
        _ = bench.send(bench.message(.discover, mac(2)) { $0[.parameterRequestList] = [1, 3, 119] })
        #expect(bench.wait(second).last?[.domainSearch]?.count == 3 * 71)
    }

    @Test func onlyWhatIsAskedForIsTold() throws {
        var bench = Bench()
        _ = bench.send(bench.message(.discover, mac(1)) { $0[.parameterRequestList] = [1, 3] })
        let offer = try #require(bench.wait(second).last)
        #expect(offer[.interfaceMTU] == nil && offer[.domainName] == nil && offer[.broadcastAddress] == nil)
        #expect(offer[.subnetMask] != nil && offer[.router] != nil)
        bench.server.configuration.mtu = 9000
        _ = bench.send(bench.message(.discover, mac(2)) { $0[.parameterRequestList] = [1, 3] })
        #expect(bench.wait(second).last?.short(.interfaceMTU) == 9000, "an unusual MTU is told to all")
    }

    // MARK: Decline, release, inform

    @Test func declinedAddressesAreLeftAloneForAWhile() {
        var bench = Bench()
        bench.lease(mac(1))
        let decline = bench.message(.decline, mac(1)) {
            $0.set(.requestedAddress, [ip(2)])
            $0.set(.serverIdentifier, [ip(1)])
        }
        #expect(bench.send(decline).isEmpty)
        #expect(bench.lease(mac(1)) == ip(3))
        #expect(bench.lease(mac(2), asking: ip(2)) == ip(4))
        _ = bench.wait(601 * second)
        #expect(bench.lease(mac(3), asking: ip(2)) == ip(2))
    }

    @Test func nobodyDeclinesForAnother() {
        var bench = Bench()
        bench.lease(mac(1))
        let forged = bench.message(.decline, mac(2)) {
            $0.set(.requestedAddress, [ip(2)])
            $0.set(.serverIdentifier, [ip(1)])
        }
        _ = bench.send(forged)
        #expect(bench.server.table.lease(on: ip(2))?.hardware == mac(1))
    }

    @Test func releasedAddressesAreRememberedButFree() {
        var bench = Bench(last: 3)
        bench.lease(mac(1))
        bench.lease(mac(2))
        #expect(bench.lease(mac(3)) == nil)
        let release = bench.message(.release, mac(1)) {
            $0.clientAddress = ip(2)
            $0.set(.serverIdentifier, [ip(1)])
        }
        #expect(bench.send(release, from: ip(2), to: ip(1)).isEmpty)
        #expect(bench.outbox.changes.last?.expires == bench.now)
        #expect(bench.lease(mac(3)) == ip(2))
    }

    @Test func nobodyReleasesForAnother() {
        var bench = Bench()
        bench.lease(mac(1))
        let forged = bench.message(.release, mac(2)) {
            $0.clientAddress = ip(2)
            $0[.clientIdentifier] = [1] + mac(1).bytes
        }
        _ = bench.send(forged, from: ip(2), to: ip(1))
        #expect(bench.server.table.lease(on: ip(2))!.expires > bench.now)
    }

    @Test func informIsAnsweredWithoutALease() throws {
        var bench = Bench()
        let answer = try #require(
            bench.send(bench.message(.inform, mac(1)) { $0.clientAddress = ip(77) }, from: ip(77)).last)
        #expect(answer.kind == .ack && answer.yourAddress == .any)
        #expect(answer.seconds(.leaseTime) == nil)
        #expect(answer.address(.router) == ip(1))
        #expect(bench.outbox.changes.isEmpty)
    }

    // MARK: Scarcity

    @Test func tenThousandGuestsADayFindAddresses() {
        var bench = Bench()
        // Each asks once, lives for a minute and is never heard of again; 8.64 s apart makes 10,000 a day.
        for number in 0..<10_000 {
            #expect(bench.lease(mac(number)) != nil, "guest \(number)")
            _ = bench.wait(8 * second + .milliseconds(640))
        }
        #expect(bench.server.counters.exhausted == 0)
    }

    @Test func endedLeasesAreReusedOldestFirst() {
        let leases = [(1, 3, 200), (2, 2, 100), (3, 4, 300)].map { number, last, ended in
            Lease(
                address: ip(last), client: ClientIdentity(hardware: mac(number)), hardware: mac(number), hostName: "",
                expires: .distantPast + Int64(ended) * second)
        }
        var bench = Bench(last: 4, leases: leases)
        #expect(bench.lease(mac(10)) == ip(2))
        #expect(bench.lease(mac(11)) == ip(3))
        #expect(bench.lease(mac(3)) == ip(4), "whose address was not needed yet")
    }

    @Test func leasesBecomeShorterAsAddressesBecomeScarce() {
        var bench = Bench(last: 11)
        var times: [UInt32] = []
        for number in 1...10 {
            _ = bench.send(bench.message(.discover, mac(number)))
            let offer = bench.wait(second).last!
            times.append(bench.send(bench.selecting(offer)).last!.seconds(.leaseTime)!)
        }
        #expect(times == times.sorted(by: >))
        #expect(times.first == 1800 && times.last! <= 300)
    }

    @Test func clientsThatOnlyDiscoverDoNotEmptyThePool() {
        var bench = Bench(last: 20)
        for number in 0..<10_000 {
            _ = bench.send(bench.message(.discover, mac(number)))
            if number % 100 == 0 { _ = bench.wait(second / 10) }
        }
        _ = bench.wait(second)
        #expect(bench.lease(mac(100_000)) != nil)
    }

    @Test func aFloodOfLeasesEndsWhereThePoolEnds() {
        var bench = Bench(last: 20)
        bench.lease(mac(1))
        for number in 2..<800 { bench.lease(mac(number)) }
        #expect(bench.server.counters.exhausted > 700)
        #expect(bench.outbox.notes.count { $0.level == .warning } < 20, "told now and then, not each time")
        // Who had one keeps it.
        let renewal = bench.message(.request, mac(1)) { $0.clientAddress = ip(2) }
        #expect(bench.send(renewal, from: ip(2), to: ip(1)).map(\.kind) == [.ack])
    }

    @Test func clientsMayAskForLess() {
        var bench = Bench()
        _ = bench.send(bench.message(.discover, mac(1)) { $0.set(.leaseTime, seconds: 300) })
        #expect(bench.wait(second).last?.seconds(.leaseTime) == 300)
        _ = bench.send(bench.message(.discover, mac(2)) { $0.set(.leaseTime, seconds: 1) })
        #expect(bench.wait(second).last?.seconds(.leaseTime) == 60)
        _ = bench.send(bench.message(.discover, mac(3)) { $0.set(.leaseTime, seconds: .max) })
        #expect(bench.wait(second).last?.seconds(.leaseTime) == 1800)
    }

    // MARK: What is not answered

    @Test func messagesOfOthersAreIgnored() {
        var bench = Bench()
        var relayed = bench.message(.discover, mac(1))
        relayed.relay = IPv4Address("10.0.0.1")!
        #expect((bench.send(relayed) + bench.wait(second)).isEmpty)
        // A client that speaks for another's hardware.
        let frame = UDPFrame(from: (mac(9), .any, 68), to: (.broadcast, .broadcast, 67)).bytes(
            payload: bench.message(.discover, mac(1)).bytes())
        bench.server.receive(frame.rawSpan, now: bench.now, into: &bench.outbox)
        #expect(bench.wait(second).isEmpty)
        for kind in [DHCPv4Message.Kind.offer, .ack, .nak] {
            #expect((bench.send(bench.message(kind, mac(1))) + bench.wait(second)).isEmpty)
        }
        #expect(bench.server.counters.ignored == 5)
    }

    @Test func damagedFramesAreCounted() {
        var bench = Bench()
        let good = UDPFrame(from: (mac(1), .any, 68), to: (.broadcast, .broadcast, 67)).bytes(
            payload: bench.message(.discover, mac(1)).bytes())
        for offset in [24, 60, 270] {
            var damaged = good
            damaged[offset] ^= 0xff
            bench.server.receive(damaged.rawSpan, now: bench.now, into: &bench.outbox)
        }
        #expect(bench.server.counters.malformed == 3)
        #expect(bench.wait(second).isEmpty)
    }

    @Test func hostileFramesDoNotTrap() {
        var bench = Bench()
        let good = UDPFrame(from: (mac(1), .any, 68), to: (.broadcast, .broadcast, 67)).bytes(
            payload: bench.message(.request, mac(1)) { $0.set(.requestedAddress, [ip(2)]) }.bytes())
        fuzz(good, rounds: 10_000) { bench.server.receive($0.rawSpan, now: bench.now, into: &bench.outbox) }
        let probe = ARPPacket.probe(for: ip(2), from: mac(1)).frame(to: .broadcast)
        fuzz(probe, rounds: 10_000) { bench.server.receive($0.rawSpan, now: bench.now, into: &bench.outbox) }
        _ = bench.wait(10 * second)
    }

    // MARK: After a restart

    @Test func restoredLeasesAreHonoured() {
        let lease = Lease(
            address: ip(40), client: ClientIdentity(hardware: mac(1)), hardware: mac(1), hostName: "vm",
            expires: .distantPast + .seconds(2_000))
        let outside = Lease(
            address: IPv4Address("10.0.0.1")!, client: ClientIdentity(hardware: mac(2)), hardware: mac(2), hostName: "",
            expires: .distantPast + .seconds(2_000))
        var bench = Bench(leases: [lease, outside])
        #expect(
            bench.send(bench.message(.discover, mac(1))).map(\.yourAddress) == [ip(40)], "no probe for who held it last"
        )
        #expect(bench.lease(mac(3), asking: ip(40)) == ip(2))
        #expect(bench.server.table.leases.count == 2)
    }
}
