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

    @Test func firstClientGetsFirstAddressAndAllOptions() throws {
        var harness = DHCPHarness()
        _ = harness.send(harness.message(.discover, mac(1)))
        let offer = try #require(harness.wait(second).last)
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
        let acknowledgement = try #require(harness.send(harness.selecting(offer)).last)
        #expect(acknowledgement.kind == .ack && acknowledgement.yourAddress == ip(2))
        #expect(harness.outbox.changes.map(\.address) == [ip(2)])
    }

    // MARK: Addresses of one's own

    @Test func reservedAddressIsAssignedToItsGuest() {
        var harness = DHCPHarness(
            last: 20,
            reservations: [
                AddressReservation(hardware: mac(7), address: ip(2)),
                AddressReservation(hardware: mac(8), address: ip(200)),
            ])
        #expect(harness.lease(mac(1)) == ip(3), "the first address is another's")
        #expect(harness.lease(mac(1), asking: ip(2)) == ip(3))
        #expect(harness.lease(mac(2), asking: ip(200)) == ip(4))
        #expect(harness.lease(mac(7), asking: ip(9)) == ip(2))
        #expect(
            harness.lease(mac(8), identifier: [255, 1, 2, 3]) == ip(200),
            "outside the range, and by its hardware address whatever it calls itself")
        #expect(harness.lease(mac(8), identifier: [255, 1, 2, 3]) == ip(200))
    }

    @Test func guestThatDoesNotAskHasAddressOfItself() {
        var harness = DHCPHarness(last: 5, reservations: [AddressReservation(hardware: mac(9), address: ip(2))])
        #expect(harness.lease(mac(1)) == ip(3))
        func reserve(_ hardware: MACAddress) -> IPv4Address? {
            harness.server.reserveFreeAddress(for: hardware, now: harness.now)
        }
        #expect(reserve(mac(7)) == ip(4) && reserve(mac(7)) == ip(4) && reserve(mac(9)) == ip(2))
        // The address that it had.
        #expect(harness.lease(mac(2)) == ip(5))
        #expect(reserve(mac(2)) == ip(5))
        #expect(harness.lease(mac(3)) == nil && reserve(mac(8)) == nil)
        // A lease ends.
        _ = harness.wait(.seconds(100_000))
        #expect(reserve(mac(8)) == ip(3))
    }

    @Test func reservedAddressIsNotAssignedToAnother() {
        var harness = DHCPHarness(last: 4, reservations: [AddressReservation(hardware: mac(7), address: ip(3))])
        #expect(harness.lease(mac(1)) == ip(2))
        #expect(harness.lease(mac(2)) == ip(4))
        #expect(harness.lease(mac(3)) == nil)
        #expect(harness.lease(mac(7)) == ip(3))
    }

    @Test func clientMovesToItsReservedAddress() throws {
        let lease = Lease(
            address: ip(5), client: ClientIdentity(hardware: mac(7)), hardware: mac(7), hostName: "",
            expires: .distantPast + .seconds(5_000))
        var harness = DHCPHarness(leases: [lease], reservations: [AddressReservation(hardware: mac(7), address: ip(9))])
        let renewal = harness.message(.request, mac(7)) { $0.clientAddress = ip(5) }
        #expect(harness.send(renewal, from: ip(5), to: ip(1)).last?.kind == .nak)
        let reboot = harness.message(.request, mac(7)) { $0.set(.requestedAddress, [ip(5)]) }
        #expect(harness.send(reboot).last?.kind == .nak)
        #expect(harness.lease(mac(7)) == ip(9))
    }

    @Test func leasedAddressIsNotAssignedToAnother() {
        let lease = Lease(
            address: ip(9), client: ClientIdentity(hardware: mac(1)), hardware: mac(1), hostName: "",
            expires: .distantPast + .seconds(1_100))
        var harness = DHCPHarness(leases: [lease], reservations: [AddressReservation(hardware: mac(7), address: ip(9))])
        #expect(harness.lease(mac(7)) == ip(2), "for the time being")
        let renewal = harness.message(.request, mac(1)) { $0.clientAddress = ip(9) }
        #expect(harness.send(renewal, from: ip(9), to: ip(1)).last?.kind == .nak)
        harness.now = .distantPast + .seconds(1200)
        #expect(harness.lease(mac(7)) == ip(9))
        #expect(harness.lease(mac(1)) == ip(3))
    }

    @Test func addressIsProbedBeforeOffer() throws {
        var harness = DHCPHarness()
        let frame = Frames.udp(
            from: Endpoint(mac(1), port: 68), to: Endpoint(.broadcast, .broadcast, port: 67),
            harness.message(.discover, mac(1)).bytes())
        harness.server.receive(frame.rawSpan, now: harness.now, into: &harness.outbox)
        let probe = try #require(harness.outbox.frames.first)
        #expect(probe == ARPPacket.probe(for: ip(2), from: serverHardware).frame(to: .broadcast))
        #expect(harness.takeReplies().isEmpty)
        #expect(harness.wait(.milliseconds(49)).isEmpty)
        #expect(harness.wait(.milliseconds(1)).map(\.kind) == [.offer])
    }

    @Test func hostThatAnswersTheProbeKeepsItsAddress() {
        var harness = DHCPHarness()
        _ = harness.send(harness.message(.discover, mac(1)))
        harness.arp(.reply, from: mac(77), ip(2))
        let offer = harness.wait(second).last
        #expect(offer?.yourAddress == ip(3))
        #expect(harness.server.counters.conflicts == 1)
        // For a while no client gets it.
        #expect(harness.lease(mac(2)) == ip(4))
    }

    @Test func requestedFreeAddressIsOffered() {
        var harness = DHCPHarness()
        #expect(harness.lease(mac(1), asking: ip(77)) == ip(77))
        #expect(harness.lease(mac(2), asking: ip(77)) == ip(2))
        #expect(harness.lease(mac(3), asking: ip(1)) == ip(3))
        #expect(harness.lease(mac(4), asking: IPv4Address("10.0.0.1")!) == ip(4))
    }

    @Test func sameClientGetsSameAddress() {
        var harness = DHCPHarness()
        for number in 1...50 { #expect(harness.lease(mac(number)) == ip(number + 1)) }
        _ = harness.wait(3600 * second)
        for number in (1...50).reversed() { #expect(harness.lease(mac(number)) == ip(number + 1)) }
    }

    @Test func clientIdentifierTakesPrecedenceOverHardwareAddress() {
        var harness = DHCPHarness()
        #expect(harness.lease(mac(1), identifier: [255, 1, 2, 3]) == ip(2))
        // The same guest with a new card; no host answers for the old one.
        #expect(harness.lease(mac(2), identifier: [255, 1, 2, 3]) == ip(2))
        #expect(harness.lease(mac(3)) == ip(3))
        // An identifier that spells out the hardware address is that address.
        #expect(harness.lease(mac(3), identifier: [1] + mac(3).bytes) == ip(3))
    }

    @Test func clonesWithOneIdentifierGetTwoLeases() throws {
        var harness = DHCPHarness()
        let identifier: [UInt8] = [255, 9, 9, 9]
        #expect(harness.lease(mac(1), identifier: identifier) == ip(2))
        // The clone sends a request; the first one answers the probe.
        _ = harness.send(harness.message(.discover, mac(2)) { $0[.clientIdentifier] = identifier })
        harness.arp(.reply, from: mac(1), ip(2))
        let offer = try #require(harness.wait(second).last)
        #expect(offer.yourAddress == ip(3))
        #expect(harness.send(harness.selecting(offer, identifier: identifier)).last?.kind == .ack)
        // Both keep what they have.
        harness.now += 10 * second
        for (number, address) in [(1, ip(2)), (2, ip(3))] {
            let renewal = harness.message(.request, mac(number)) {
                $0.clientAddress = address
                $0[.clientIdentifier] = identifier
            }
            #expect(harness.send(renewal, from: address, to: ip(1)).last?.kind == .ack)
        }
    }

    // MARK: Requests in the four client states (RFC 2131 section 4.3.2)

    @Test func selectingAnotherServerIsRespected() {
        var harness = DHCPHarness()
        _ = harness.send(harness.message(.discover, mac(1)))
        let offer = harness.wait(second).last!
        var request = harness.selecting(offer)
        request.set(.serverIdentifier, [ip(200)])
        #expect(harness.send(request).isEmpty)
        // The offer is withdrawn: another client may have the address.
        #expect(harness.lease(mac(2), asking: ip(2)) == ip(2))
    }

    @Test func selectingAddressWithoutOfferIsRefused() {
        var harness = DHCPHarness()
        harness.lease(mac(1))
        let forged = harness.message(.request, mac(2)) {
            $0.set(.requestedAddress, [ip(2)])
            $0.set(.serverIdentifier, [ip(1)])
        }
        #expect(harness.send(forged).map(\.kind) == [.nak])
        #expect(harness.server.table.lease(on: ip(2))?.hardware == mac(1))
    }

    @Test func identifierOfAnotherClientGrantsNothing() {
        var harness = DHCPHarness()
        harness.lease(mac(1))
        for kind in [DHCPv4Message.Kind.request, .decline, .release] {
            let forged = harness.message(kind, mac(2)) {
                $0[.clientIdentifier] = [1] + mac(1).bytes
                $0.set(.serverIdentifier, [ip(1)])
                if kind == .release { $0.clientAddress = ip(2) } else { $0.set(.requestedAddress, [ip(2)]) }
            }
            #expect(harness.send(forged).map(\.kind) == (kind == .request ? [.nak] : []))
        }
        let lease = harness.server.table.lease(on: ip(2))
        #expect(lease?.hardware == mac(1) && lease!.expires > harness.now)
    }

    @Test func rebootingClientKeepsItsAddress() {
        var harness = DHCPHarness()
        harness.lease(mac(1))
        let right = harness.message(.request, mac(1)) { $0.set(.requestedAddress, [ip(2)]) }
        #expect(harness.send(right).map(\.kind) == [.ack])
        let wrong = harness.message(.request, mac(1)) { $0.set(.requestedAddress, [ip(9)]) }
        #expect(harness.send(wrong).map(\.kind) == [.nak])
        // An unknown client gets no reply: it may be another server's.
        let unknown = harness.message(.request, mac(2)) { $0.set(.requestedAddress, [ip(9)]) }
        #expect(harness.send(unknown).isEmpty)
    }

    @Test func renewingExtendsAndAnswersByUnicast() throws {
        var harness = DHCPHarness()
        harness.lease(mac(1))
        harness.now += 900 * second
        let renewal = harness.message(.request, mac(1)) { $0.clientAddress = ip(2) }
        let frame = Frames.udp(
            from: Endpoint(mac(1), ip(2), port: 68), to: Endpoint(serverHardware, ip(1), port: 67), renewal.bytes())
        harness.outbox = Outbox()
        harness.server.receive(frame.rawSpan, now: harness.now, into: &harness.outbox)
        let answer = try #require(harness.outbox.frames.first)
        let ethernet = try EthernetView(answer.rawSpan)
        #expect(ethernet.destination == mac(1) && ethernet.source == serverHardware)
        let packet = try IPv4View(ethernet.payload)
        #expect(packet.destination == ip(2) && packet.source == ip(1))
        #expect(harness.outbox.changes.first?.expires == harness.now + 1800 * second)
    }

    @Test func renewingWithoutLeaseIsRefusedIfUnicast() {
        var harness = DHCPHarness()
        harness.lease(mac(1))
        let forged = harness.message(.request, mac(2)) { $0.clientAddress = ip(2) }
        #expect(harness.send(forged, from: ip(2), to: ip(1)).map(\.kind) == [.nak])
        // A request to all may be meant for another server.
        #expect(harness.send(forged, from: ip(2)).isEmpty)
        // A client of this server that is wrong gets a DHCPNAK either way.
        let wrong = harness.message(.request, mac(1)) { $0.clientAddress = ip(9) }
        #expect(harness.send(wrong, from: ip(9)).map(\.kind) == [.nak])
    }

    @Test func rebindingExtends() {
        var harness = DHCPHarness()
        harness.lease(mac(1))
        harness.now += 1600 * second
        let rebinding = harness.message(.request, mac(1)) { $0.clientAddress = ip(2) }
        #expect(harness.send(rebinding, from: ip(2)).map(\.kind) == [.ack])
    }

    // MARK: Where answers go (RFC 2131 section 4.1)

    @Test(arguments: [false, true])
    func acknowledgementsReachClientsWithoutAddress(hasBroadcastFlag: Bool) throws {
        var harness = DHCPHarness()
        _ = harness.send(harness.message(.discover, mac(1)))
        var request = harness.selecting(try #require(harness.wait(second).last))
        request.hasBroadcastFlag = hasBroadcastFlag
        let frame = Frames.udp(
            from: Endpoint(mac(1), port: 68), to: Endpoint(.broadcast, .broadcast, port: 67), request.bytes())
        harness.outbox = Outbox()
        harness.server.receive(frame.rawSpan, now: harness.now, into: &harness.outbox)
        let answer = try #require(harness.outbox.frames.first)
        let ethernet = try EthernetView(answer.rawSpan)
        let packet = try IPv4View(ethernet.payload)
        #expect(ethernet.destination == (hasBroadcastFlag ? .broadcast : mac(1)))
        #expect(packet.destination == (hasBroadcastFlag ? .broadcast : ip(2)))
        #expect(packet.hasValidChecksum == true)
    }

    @Test func refusalsAreBroadcast() throws {
        var harness = DHCPHarness()
        let forged = harness.message(.request, mac(2)) { $0.clientAddress = ip(2) }
        let frame = Frames.udp(
            from: Endpoint(mac(2), ip(2), port: 68), to: Endpoint(serverHardware, ip(1), port: 67), forged.bytes())
        harness.server.receive(frame.rawSpan, now: harness.now, into: &harness.outbox)
        let answer = try #require(harness.outbox.frames.first)
        let ethernet = try EthernetView(answer.rawSpan)
        #expect(ethernet.destination == .broadcast)
        #expect(try IPv4View(ethernet.payload).destination == .broadcast)
    }

    @Test func identifiersAreReturnedAndSizesRespected() throws {
        var harness = DHCPHarness()
        harness.server.configuration.domain = String(repeating: "x", count: 250)
        harness.server.configuration.nameServers = (1...30).map { ip($0) }
        let discover = harness.message(.discover, mac(1)) {
            $0[.clientIdentifier] = [0, 1, 2, 3]
            $0.set(.maximumMessageSize, short: 300)
        }
        _ = harness.send(discover)
        let offer = try #require(harness.wait(second).last)
        #expect(offer[.clientIdentifier] == [0, 1, 2, 3])
        #expect(offer.seconds(.leaseTime) == 1800)
        #expect(offer.bytes().count <= 576 - 28)
        #expect(offer[.domainName] == nil)
    }

    @Test func allSearchDomainsAreSent() throws {
        var harness = DHCPHarness()
        harness.server.configuration.searchDomains = ["corp.example", "Lab.example"]
        _ = harness.send(harness.message(.discover, mac(1)) { $0[.parameterRequestList] = [1, 3, 119] })
        let value = try #require(harness.wait(second).last?[.domainSearch])
        #expect(DHCPSearchList.names(in: value) == ["corp.example", "lab.example"].compactMap { DNSName($0) })
    }

    /// The list is compressed (RFC 3397), and split if it is long (RFC 3396). Names that do not fit into the client's
    /// message are left out whole, and are named once.
    @Test func searchListIsCutBetweenNames() throws {
        let domains = (1...6).map { "\(String(repeating: "x", count: 60))\($0).example" }
        var harness = DHCPHarness { $0.searchDomains = domains }
        func list(_ number: Int, size: UInt16?, _ codes: [UInt8]? = [119, 3]) throws -> [DNSName]? {
            _ = harness.send(
                harness.message(.discover, mac(number)) {
                    $0[.parameterRequestList] = codes
                    if let size { $0.set(.maximumMessageSize, short: size) }
                })
            let offer = try #require(harness.wait(second).last)
            #expect(offer.addresses(.router) == [ip(1)], "a long list leaves room for all other options")
            #expect(offer.bytes().count <= Int(max(size ?? 0, 576)) - 28)
            return offer[.domainSearch].flatMap(DHCPSearchList.names)
        }
        let names = domains.compactMap { DNSName($0) }
        for number in 1...2 { #expect(try list(number, size: nil) == Array(names[..<3])) }
        // Three of six do not fit.
        let notes = harness.outbox.notes.filter { $0.text.hasPrefix("search domains") }
        #expect(notes.count == 1 && domains[3...].allSatisfy { notes[0].text.contains($0) })
        #expect(!notes[0].text.contains(domains[2]) && notes[0].text.contains("576 bytes"))
        #expect(try list(3, size: 1500) == names && list(4, size: 620) == Array(names[..<4]))
        #expect(try list(5, size: 1500, nil) == names, "without a list of requested options")
        #expect(try list(6, size: 1500, [3]) == nil, "not requested")
        harness.server.configuration.mtu = 620
        #expect(try list(7, size: 1500) == Array(names[..<4]), "the link has no room for more")
        #expect(harness.outbox.notes.count { $0.text.hasPrefix("search domains") } == 1)
    }

    @Test func onlyRequestedOptionsAreSent() throws {
        var harness = DHCPHarness()
        _ = harness.send(harness.message(.discover, mac(1)) { $0[.parameterRequestList] = [1, 3] })
        let offer = try #require(harness.wait(second).last)
        #expect(offer[.interfaceMTU] == nil && offer[.domainName] == nil && offer[.broadcastAddress] == nil)
        #expect(offer[.subnetMask] != nil && offer[.router] != nil)
        harness.server.configuration.mtu = 9000
        _ = harness.send(harness.message(.discover, mac(2)) { $0[.parameterRequestList] = [1, 3] })
        #expect(harness.wait(second).last?.short(.interfaceMTU) == 9000, "an unusual MTU is told to all")
    }

    // MARK: Decline, release, inform

    @Test func declinedAddressIsQuarantined() {
        var harness = DHCPHarness()
        harness.lease(mac(1))
        let decline = harness.message(.decline, mac(1)) {
            $0.set(.requestedAddress, [ip(2)])
            $0.set(.serverIdentifier, [ip(1)])
        }
        #expect(harness.send(decline).isEmpty)
        #expect(harness.lease(mac(1)) == ip(3))
        #expect(harness.lease(mac(2), asking: ip(2)) == ip(4))
        _ = harness.wait(601 * second)
        #expect(harness.lease(mac(3), asking: ip(2)) == ip(2))
    }

    @Test func clientCannotDeclineForAnother() {
        var harness = DHCPHarness()
        harness.lease(mac(1))
        let forged = harness.message(.decline, mac(2)) {
            $0.set(.requestedAddress, [ip(2)])
            $0.set(.serverIdentifier, [ip(1)])
        }
        _ = harness.send(forged)
        #expect(harness.server.table.lease(on: ip(2))?.hardware == mac(1))
    }

    @Test func releasedAddressIsRememberedAndFree() {
        var harness = DHCPHarness(last: 3)
        harness.lease(mac(1))
        harness.lease(mac(2))
        #expect(harness.lease(mac(3)) == nil)
        let release = harness.message(.release, mac(1)) {
            $0.clientAddress = ip(2)
            $0.set(.serverIdentifier, [ip(1)])
        }
        #expect(harness.send(release, from: ip(2), to: ip(1)).isEmpty)
        #expect(harness.outbox.changes.last?.expires == harness.now)
        #expect(harness.lease(mac(3)) == ip(2))
    }

    @Test func clientCannotReleaseForAnother() {
        var harness = DHCPHarness()
        harness.lease(mac(1))
        let forged = harness.message(.release, mac(2)) {
            $0.clientAddress = ip(2)
            $0[.clientIdentifier] = [1] + mac(1).bytes
        }
        _ = harness.send(forged, from: ip(2), to: ip(1))
        #expect(harness.server.table.lease(on: ip(2))!.expires > harness.now)
    }

    @Test func informIsAnsweredWithoutALease() throws {
        var harness = DHCPHarness()
        let answer = try #require(
            harness.send(harness.message(.inform, mac(1)) { $0.clientAddress = ip(77) }, from: ip(77)).last)
        #expect(answer.kind == .ack && answer.yourAddress == .any)
        #expect(answer.seconds(.leaseTime) == nil)
        #expect(answer.address(.router) == ip(1))
        #expect(harness.outbox.changes.isEmpty)
    }

    // MARK: Scarcity

    @Test func tenThousandGuestsADayGetAddresses() {
        var harness = DHCPHarness()
        // Each sends one request, runs for a minute and never returns; 8.64 s apart makes 10,000 a day.
        for number in 0..<10_000 {
            #expect(harness.lease(mac(number)) != nil, "guest \(number)")
            _ = harness.wait(8 * second + .milliseconds(640))
        }
        #expect(harness.server.counters.exhausted == 0)
    }

    @Test func endedLeasesAreReusedOldestFirst() {
        let leases = [(1, 3, 200), (2, 2, 100), (3, 4, 300)].map { number, last, ended in
            Lease(
                address: ip(last), client: ClientIdentity(hardware: mac(number)), hardware: mac(number), hostName: "",
                expires: .distantPast + Int64(ended) * second)
        }
        var harness = DHCPHarness(last: 4, leases: leases)
        #expect(harness.lease(mac(10)) == ip(2))
        #expect(harness.lease(mac(11)) == ip(3))
        #expect(harness.lease(mac(3)) == ip(4), "whose address was not needed yet")
    }

    @Test func leasesBecomeShorterAsAddressesBecomeScarce() {
        var harness = DHCPHarness(last: 11)
        var times: [UInt32] = []
        for number in 1...10 {
            _ = harness.send(harness.message(.discover, mac(number)))
            let offer = harness.wait(second).last!
            times.append(harness.send(harness.selecting(offer)).last!.seconds(.leaseTime)!)
        }
        #expect(times == times.sorted(by: >))
        #expect(times.first == 1800 && times.last! <= 300)
    }

    @Test func discoversAloneDoNotExhaustThePool() {
        var harness = DHCPHarness(last: 20)
        for number in 0..<10_000 {
            _ = harness.send(harness.message(.discover, mac(number)))
            if number % 100 == 0 { _ = harness.wait(second / 10) }
        }
        _ = harness.wait(second)
        #expect(harness.lease(mac(100_000)) != nil)
    }

    @Test func leaseFloodIsBoundedByPool() {
        var harness = DHCPHarness(last: 20)
        harness.lease(mac(1))
        for number in 2..<800 { harness.lease(mac(number)) }
        #expect(harness.server.counters.exhausted > 700)
        #expect(harness.outbox.notes.count { $0.level == .warning } < 20, "told now and then, not each time")
        // A client that had an address keeps it.
        let renewal = harness.message(.request, mac(1)) { $0.clientAddress = ip(2) }
        #expect(harness.send(renewal, from: ip(2), to: ip(1)).map(\.kind) == [.ack])
    }

    @Test func clientMayRequestShorterLease() {
        var harness = DHCPHarness()
        _ = harness.send(harness.message(.discover, mac(1)) { $0.set(.leaseTime, seconds: 300) })
        #expect(harness.wait(second).last?.seconds(.leaseTime) == 300)
        _ = harness.send(harness.message(.discover, mac(2)) { $0.set(.leaseTime, seconds: 1) })
        #expect(harness.wait(second).last?.seconds(.leaseTime) == 60)
        _ = harness.send(harness.message(.discover, mac(3)) { $0.set(.leaseTime, seconds: .max) })
        #expect(harness.wait(second).last?.seconds(.leaseTime) == 1800)
    }

    // MARK: What is not answered

    @Test func messagesForOthersAreIgnored() {
        var harness = DHCPHarness()
        var relayed = harness.message(.discover, mac(1))
        relayed.relay = IPv4Address("10.0.0.1")!
        #expect((harness.send(relayed) + harness.wait(second)).isEmpty)
        // A client that sends another's hardware address.
        let frame = Frames.udp(
            from: Endpoint(mac(9), port: 68), to: Endpoint(.broadcast, .broadcast, port: 67),
            harness.message(.discover, mac(1)).bytes())
        harness.server.receive(frame.rawSpan, now: harness.now, into: &harness.outbox)
        #expect(harness.wait(second).isEmpty)
        for kind in [DHCPv4Message.Kind.offer, .ack, .nak] {
            #expect((harness.send(harness.message(kind, mac(1))) + harness.wait(second)).isEmpty)
        }
        #expect(harness.server.counters.ignored == 5)
    }

    @Test func damagedFramesAreCounted() {
        var harness = DHCPHarness()
        let good = Frames.udp(
            from: Endpoint(mac(1), port: 68), to: Endpoint(.broadcast, .broadcast, port: 67),
            harness.message(.discover, mac(1)).bytes())
        for offset in [24, 60, 270] {
            var damaged = good
            damaged[offset] ^= 0xff
            harness.server.receive(damaged.rawSpan, now: harness.now, into: &harness.outbox)
        }
        #expect(harness.server.counters.malformed == 3)
        #expect(harness.wait(second).isEmpty)
    }

    @Test func hostileFramesDoNotTrap() {
        var harness = DHCPHarness()
        let good = Frames.udp(
            from: Endpoint(mac(1), port: 68), to: Endpoint(.broadcast, .broadcast, port: 67),
            harness.message(.request, mac(1)) { $0.set(.requestedAddress, [ip(2)]) }.bytes())
        fuzz(good, rounds: 10_000) { harness.server.receive($0.rawSpan, now: harness.now, into: &harness.outbox) }
        let probe = ARPPacket.probe(for: ip(2), from: mac(1)).frame(to: .broadcast)
        fuzz(probe, rounds: 10_000) { harness.server.receive($0.rawSpan, now: harness.now, into: &harness.outbox) }
        _ = harness.wait(10 * second)
    }

    // MARK: After a restart

    @Test func restoredLeasesAreHonoured() {
        let lease = Lease(
            address: ip(40), client: ClientIdentity(hardware: mac(1)), hardware: mac(1), hostName: "vm",
            expires: .distantPast + .seconds(2_000))
        let outside = Lease(
            address: IPv4Address("10.0.0.1")!, client: ClientIdentity(hardware: mac(2)), hardware: mac(2), hostName: "",
            expires: .distantPast + .seconds(2_000))
        var harness = DHCPHarness(leases: [lease, outside])
        #expect(
            harness.send(harness.message(.discover, mac(1))).map(\.yourAddress) == [ip(40)],
            "no probe for who held it last"
        )
        #expect(harness.lease(mac(3), asking: ip(40)) == ip(2))
        #expect(harness.server.table.leases.count == 2)
    }
}
