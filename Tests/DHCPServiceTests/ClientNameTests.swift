// SPDX-License-Identifier: Apache-2.0
import DHCPService
import NetworkModel
import TestSupport
import Testing
import Timing
import Wire

private let second = TimeAmount.seconds(1)

/// Names that clients send, and which of them they hold with their leases.
@Suite struct ClientNameTests {
    /// Options of a message with which a client names itself.
    private struct Naming: Sendable, CustomTestStringConvertible {
        var hostName: [UInt8]?
        var fqdn: [UInt8]?
        var testDescription: String {
            "\(hostName.map { String(decoding: $0, as: UTF8.self) } ?? "-") \(fqdn.map { "\($0)" } ?? "-")"
        }

        init(_ hostName: String? = nil, fqdn: [UInt8]? = nil) {
            self.hostName = hostName.map { Array($0.utf8) }
            self.fqdn = fqdn
        }

        func put(in message: inout DHCPv4Message) {
            message[.hostName] = hostName
            if let fqdn { message[.clientFQDN] = fqdn }
        }
    }

    private func name(of lease: Lease?) -> String? { lease?.name?.description }

    private func label(_ text: String) -> [UInt8] { [UInt8(text.utf8.count)] + Array(text.utf8) }

    // MARK: Options

    @Test func firstLabelOfEachOptionIsTheName() {
        let cases: [(Naming, String?)] = [
            (Naming("web"), "web"), (Naming("WEB-1"), "web-1"), (Naming("web.example.org"), "web"),
            (Naming("web\0\0"), "web"), (Naming(String(repeating: "a", count: 63)), String(repeating: "a", count: 63)),
            // The flag E: names as DNS has them, without a final zero octet too.
            (Naming(fqdn: [4, 0, 0] + label("Web") + label("example") + [0]), "web"),
            (Naming(fqdn: [5, 255, 255] + label("web")), "web"),
            (Naming(fqdn: [0, 0, 0] + Array("web.example.org".utf8)), "web"),
            (Naming(fqdn: [1, 0, 0] + Array("web".utf8)), "web"),
            // RFC 4702 section 3.1: the FQDN before the host name, where it is usable.
            (Naming("db", fqdn: [4, 0, 0] + label("web")), "web"), (Naming("db", fqdn: [4, 0, 0]), "db"),
            (Naming("db", fqdn: [4, 0, 0] + label("localhost")), "db"),
            (Naming("db", fqdn: [4, 0, 0, 9] + Array("web".utf8)), "db"), (Naming("db", fqdn: [4]), "db"),
            // No names.
            (Naming(), nil), (Naming(""), nil), (Naming("."), nil), (Naming(".web"), nil), (Naming("web_1"), nil),
            (Naming("-web"), nil), (Naming("web-"), nil), (Naming("2222"), nil), (Naming("80-90"), nil),
            (Naming("w\u{e9}b"), nil), (Naming("we b"), nil), (Naming(String(repeating: "a", count: 64)), nil),
            (Naming(String(repeating: "a", count: 250)), nil), (Naming("52-54-00-00-00-01"), nil),
            (Naming("192.168.105.2"), nil), (Naming("0x7f000001"), nil),
            (Naming("localhost"), nil), (Naming("gateway"), nil), (Naming("HOST"), nil), (Naming("wpad.lan"), nil),
            (Naming("isatap"), nil),
            (Naming(fqdn: [4, 0, 0, 0]), nil), (Naming(fqdn: [4, 0, 0, 64] + [UInt8](repeating: 97, count: 64)), nil),
            (Naming(fqdn: [4, 0, 0, 0xc0, 12]), nil), (Naming(fqdn: [4, 0, 0, 7] + Array("web.lan".utf8)), nil),
            (Naming(fqdn: [4, 0, 0, 4] + Array("web\0".utf8)), nil), (Naming(fqdn: []), nil),
        ]
        for (naming, wanted) in cases {
            var harness = DHCPHarness()
            #expect(harness.lease(mac(1)) { naming.put(in: &$0) } == ip(2))
            #expect(name(of: harness.server.table.lease(on: ip(2))) == wanted, "\(naming.testDescription)")
            #expect(name(of: harness.outbox.changes.last) == wanted)
        }
    }

    @Test func fuzzedOptionsAreReadOrIgnored() {
        fuzz([4, 0, 0] + label("web") + label("lan") + [0], rounds: 3000) { bytes in
            var harness = DHCPHarness()
            let value = Array(bytes.prefix(255))
            guard
                harness.lease(
                    mac(1),
                    naming: {
                        $0[.clientFQDN] = value
                        $0[.hostName] = value
                    }) != nil
            else { return }
            let name = harness.server.table.lease(on: ip(2))?.name
            #expect(name == nil || GuestName(name!.description) == name)
        }
    }

    // MARK: Holders of a name

    @Test func fixedNameWinsOverSentNames() {
        let fixed = AddressReservation(hardware: mac(1), address: ip(9), name: GuestName("web")!)
        let earlier = Lease(
            address: ip(3), client: ClientIdentity(hardware: mac(2)), hardware: mac(2), hostName: "web",
            name: GuestName("web")!, expires: .distantPast + 2000 * second)
        var harness = DHCPHarness(leases: [earlier], reservations: [fixed])
        let web = GuestName("web")!
        func address(_ name: String) -> IPv4Address? {
            harness.server.address(of: GuestName(name)!, now: harness.now)
        }
        // The name exists before its guest has a lease, and a lease from before the restart loses it.
        #expect(address("web") == ip(9) && harness.names.isEmpty)
        #expect(harness.server.name(of: ip(9), now: harness.now) == web)
        #expect(harness.server.name(of: ip(3), now: harness.now) == nil)
        #expect(harness.lease(mac(3)) { $0[.hostName] = Array("web".utf8) } != nil)
        #expect(harness.names.isEmpty && harness.outbox.notes.contains { $0.text.hasSuffix("by --dhcp-host") })
        // Its guest has it whatever the guest sends.
        for sent in ["db", "web", "gateway", ""] {
            #expect(harness.lease(mac(1)) { $0[.hostName] = Array(sent.utf8) } == ip(9))
            #expect(harness.names == ["web": ip(9)], "\(sent)")
        }
        #expect(address("db") == nil)
    }

    /// A lease keeps the name that its client sends, and loses one that only the reservation has fixed.
    @Test(arguments: ["web", "web.example", "db", ""])
    func fixedNameEndsWithItsReservation(sent: String) {
        let web = GuestName("web")!, six = IPv6Address("::9")
        let fixed = AddressReservation(hardware: mac(1), address: ip(9), address6: six, name: web)
        var harness = DHCPHarness(reservations: [fixed])
        #expect(harness.lease(mac(1)) { $0[.hostName] = Array(sent.utf8) } == ip(9))
        harness.server.reserve(ip(8), for: mac(1))
        let moved = AddressReservation(hardware: mac(1), address: ip(8), address6: six, name: web)
        #expect(harness.server.configuration.reservations == [moved])
        #expect(harness.server.address(of: web, now: harness.now) == ip(9), "the lease runs on")
        #expect(harness.server.removeReservation(of: mac(1), into: &harness.outbox))
        let keeps = sent.hasPrefix("web")
        #expect(harness.names == (keeps ? ["web": ip(9)] : [:]))
        #expect(harness.outbox.changes.last?.name == (keeps ? web : nil))
        #expect(harness.server.address(of: web, now: harness.now) == (keeps ? ip(9) : nil))
        #expect(!harness.server.removeReservation(of: mac(1), into: &harness.outbox))
        #expect(harness.lease(mac(2)) { $0[.hostName] = Array("web".utf8) } != nil)
        #expect(harness.names["web"] == harness.server.address(of: web, now: harness.now))
        #expect((harness.names["web"] == ip(9)) == keeps)
    }

    /// A guest does not get a name of the host's `/etc/hosts`, unless that gives it the guest's address, or a
    /// reservation fixes it.
    @Test func namesOfTheHostAreNotGiven() {
        let fixed = AddressReservation(hardware: mac(9), address: ip(9), name: GuestName("db")!)
        let before = Lease(
            address: ip(7), client: ClientIdentity(hardware: mac(7)), hardware: mac(7), hostName: "six",
            name: GuestName("six"), expires: .distantPast + 2000 * second)
        func name(_ text: String) -> GuestName { GuestName(text)! }
        var harness = DHCPHarness(leases: [before], reservations: [fixed]) {
            $0.hostNames = [
                name("nas"): [IPv4Address("192.0.2.5")!], name("six"): [], name("web"): [ip(3), ip(4)],
                name("db"): [ip(1)],
            ]
        }
        #expect(harness.names.isEmpty, "nor one from before a restart")
        harness.lease(mac(1)) { $0[.hostName] = Array("NAS".utf8) }
        harness.lease(mac(2)) { $0[.hostName] = Array("web".utf8) }
        harness.lease(mac(9))
        #expect(harness.names == ["web": ip(3), "db": ip(9)])
        let reason = "the name NAS that it sends: it is in the host's /etc/hosts"
        #expect(harness.outbox.notes.contains { $0.text.hasSuffix(reason) })
        // The file has changed.
        harness.server.configuration.hostNames = [name("web"): []]
        harness.lease(mac(1)) { $0[.hostName] = Array("nas".utf8) }
        harness.lease(mac(2)) { $0[.hostName] = Array("web".utf8) }
        #expect(harness.names == ["nas": ip(2), "db": ip(9)])
    }

    /// The log has the name that a guest gets, whichever option it sends, and names the one that it does not get.
    @Test func newLeaseIsLoggedWithItsName() {
        let fixed = AddressReservation(hardware: mac(9), address: ip(9), name: GuestName("nas")!)
        let reserved = "it is reserved", form = "a name has letters, digits and hyphens, 63 at most"
        let long = String(repeating: "a", count: 63)
        let cases: [(Naming, String)] = [
            (Naming("Web.lan"), " (web)"), (Naming(fqdn: [4, 0, 0] + label("Web") + label("lan") + [0]), " (web)"),
            (Naming("db", fqdn: [0, 0, 0] + Array("web.lan".utf8)), " (web)"), (Naming(), ""), (Naming(""), ""),
            (Naming("WPAD.lan"), ", without the name WPAD.lan that it sends: \(reserved)"),
            (Naming("a_b"), ", without the name a_b that it sends: \(form)"),
            (Naming(fqdn: [4, 0, 0] + label("host") + [0]), ", without the name host that it sends: \(reserved)"),
            (Naming("nas"), ", without the name nas that it sends: another guest has it"),
            (Naming("a\nb\u{1b}[31m"), ", without the name ab[31m that it sends: \(form)"),
            (Naming(long + "a"), ", without the name \(long) that it sends: \(form)"),
        ]
        for (naming, text) in cases {
            var harness = DHCPHarness(reservations: [fixed])
            harness.lease(mac(1)) { naming.put(in: &$0) }
            let notes = harness.outbox.notes.map(\.text).filter { $0.hasPrefix("lease ") }
            #expect(notes == ["lease \(ip(2)) to \(mac(1))\(text)"], "\(naming.testDescription)")
        }
        var harness = DHCPHarness(reservations: [fixed])
        harness.lease(mac(9)) { $0[.hostName] = Array("other".utf8) }
        #expect(harness.outbox.notes.contains { $0.text == "lease \(ip(9)) to \(mac(9)) (nas)" })
    }

    @Test func fixedNameIsSentToItsGuest() {
        let fixed = AddressReservation(hardware: mac(1), address: ip(9), name: GuestName("web")!)
        var harness = DHCPHarness(reservations: [fixed])
        for (number, expected) in [(1, Array("web".utf8)), (2, nil)] {
            _ = harness.send(harness.message(.discover, mac(number)) { $0[.parameterRequestList] = [1, 3, 12] })
            #expect(harness.wait(second).last.map { $0[.hostName] == expected } == true)
        }
    }

    @Test func addressAndNameFollowLeases() {
        var harness = DHCPHarness()
        let web = GuestName("web")!
        harness.lease(mac(1)) { $0[.hostName] = Array("web".utf8) }
        #expect(harness.server.address(of: web, now: harness.now) == ip(2))
        #expect(harness.server.name(of: ip(2), now: harness.now) == web)
        harness.now += 1801 * second
        #expect(harness.server.address(of: web, now: harness.now) == nil, "its lease has ended")
        #expect(harness.server.name(of: ip(2), now: harness.now) == nil)
    }

    @Test func secondClientDoesNotTakeAName() {
        var harness = DHCPHarness()
        #expect(harness.lease(mac(1)) { $0[.hostName] = Array("web".utf8) } == ip(2))
        for number in 2...9 {
            #expect(harness.lease(mac(number)) { $0[.hostName] = Array("WEB".utf8) } == ip(number + 1))
        }
        #expect(harness.names == ["web": ip(2)])
        let notes = harness.outbox.notes.filter { $0.text.contains("calls itself web as well") }
        #expect(notes.count == 1 && notes[0].text.contains("\(mac(2))") && notes[0].text.contains("\(mac(1))"))
        // Nor when it renews, of which there is no further note.
        harness.now += 600 * second
        harness.renew(mac(3), ip(4), "WEB")
        #expect(harness.names == ["web": ip(2)])
        #expect(harness.outbox.notes.count { $0.text.contains("calls itself") } == 1)
    }

    @Test func nameIsFreeWhenItsLeaseHasEnded() {
        var harness = DHCPHarness()
        harness.lease(mac(1)) { $0[.hostName] = Array("web".utf8) }
        harness.lease(mac(2)) { $0[.hostName] = Array("web".utf8) }
        harness.now += 900 * second
        harness.renew(mac(2), ip(3), "web")
        #expect(harness.names == ["web": ip(2)])
        harness.now += 901 * second
        harness.renew(mac(2), ip(3), "web")
        #expect(harness.names == ["web": ip(3)])
        // Its first client comes back.
        #expect(harness.lease(mac(1)) { $0[.hostName] = Array("web".utf8) } == ip(2))
        #expect(harness.names == ["web": ip(3)])
    }

    @Test func nameIsFreeWhenItsLeaseIsReleased() {
        var harness = DHCPHarness()
        harness.lease(mac(1)) { $0[.hostName] = Array("web".utf8) }
        let release = harness.message(.release, mac(1)) { $0.clientAddress = ip(2) }
        _ = harness.send(release, from: ip(2), to: ip(1))
        #expect(harness.names.isEmpty && harness.outbox.changes.last?.name == nil)
        harness.lease(mac(2)) { $0[.hostName] = Array("web".utf8) }
        #expect(harness.names == ["web": ip(3)])
    }

    @Test func nameIsFreeWhenItsClientDeclinesTheAddress() {
        var harness = DHCPHarness()
        harness.lease(mac(1)) { $0[.hostName] = Array("web".utf8) }
        _ = harness.send(
            harness.message(.decline, mac(1)) {
                $0.set(.requestedAddress, [ip(2)])
                $0.set(.serverIdentifier, [ip(1)])
            })
        harness.lease(mac(2)) { $0[.hostName] = Array("web".utf8) }
        #expect(harness.names == ["web": ip(3)])
    }

    @Test func renewalWithAnotherNameFreesTheOldOne() {
        var harness = DHCPHarness()
        harness.lease(mac(1)) { $0[.hostName] = Array("web".utf8) }
        harness.lease(mac(2)) { $0[.hostName] = Array("db".utf8) }
        harness.renew(mac(1), ip(2), "www")
        #expect(harness.names == ["www": ip(2), "db": ip(3)])
        // A name that another holds: neither.
        harness.renew(mac(1), ip(2), "db")
        #expect(harness.names == ["db": ip(3)])
        harness.renew(mac(1), ip(2), "web")
        #expect(harness.names == ["web": ip(2), "db": ip(3)])
        // A text that is no name.
        harness.renew(mac(1), ip(2), "localhost")
        #expect(harness.names == ["db": ip(3)])
    }

    /// A guest that requests with the addresses of another one would rename it, and take its name then.
    @Test func otherPortDoesNotRenameAClient() {
        var harness = DHCPHarness { $0.hasKnownPorts = true }
        let first = ClientPort(1, .guest), other = ClientPort(2, .guest)
        #expect(harness.lease(mac(1), at: first) { $0[.hostName] = Array("web".utf8) } == ip(2))
        for _ in 0..<2 { harness.lease(mac(1), at: other) { $0[.hostName] = Array("hijacked".utf8) } }
        #expect(harness.names == ["web": ip(2)])
        harness.lease(mac(2), at: other) { $0[.hostName] = Array("web".utf8) }
        #expect(harness.names == ["web": ip(2)])
        // The guest itself, at another port.
        harness.server.portDetached(1, now: harness.now)
        harness.lease(mac(1), at: other) { $0[.hostName] = Array("db".utf8) }
        #expect(harness.names == ["db": ip(2)])
    }

    @Test func renewalWithoutANameKeepsIt() {
        var harness = DHCPHarness()
        harness.lease(mac(1)) { $0[.hostName] = Array("web".utf8) }
        harness.renew(mac(1), ip(2), nil)
        #expect(harness.names == ["web": ip(2)])
        // A lease that had ended begins without.
        harness.now += 1801 * second
        #expect(harness.lease(mac(1)) == ip(2))
        #expect(harness.names.isEmpty)
    }

    @Test func nameMovesWithItsClient() {
        var harness = DHCPHarness()
        harness.lease(mac(1)) { $0[.hostName] = Array("web".utf8) }
        // Another network card, silence at the old one.
        #expect(harness.lease(mac(2), identifier: [1] + mac(1).bytes) { $0[.hostName] = Array("web".utf8) } == ip(2))
        #expect(harness.names == ["web": ip(2)])
        #expect(harness.server.table.lease(on: ip(2))?.hardware == mac(2))
        // Another client identifier of the same hardware.
        #expect(harness.lease(mac(2), identifier: [255, 7, 7]) { $0[.hostName] = Array("web".utf8) } == ip(2))
        #expect(harness.names == ["web": ip(2)])
    }

    @Test func evictedLeaseGivesItsNameBack() {
        var harness = DHCPHarness(last: 2) { $0.hasKnownPorts = true }
        let first = ClientPort(1, .guest), other = ClientPort(2, .guest)
        #expect(harness.lease(mac(1), at: first) { $0[.hostName] = Array("web".utf8) } == ip(2))
        harness.server.portDetached(1, now: harness.now)
        #expect(harness.names == ["web": ip(2)], "the lease runs")
        #expect(harness.lease(mac(2), at: other) == ip(2))
        #expect(harness.names.isEmpty)
    }

    // MARK: Restarts

    @Test func nameSurvivesARestartWithItsLease() {
        var harness = DHCPHarness()
        harness.lease(mac(1)) { $0[.hostName] = Array("web".utf8) }
        harness.lease(mac(2)) { $0[.hostName] = Array("web".utf8) }
        let file =
            LeaseJournal.header
            + harness.outbox.changes.map {
                LeaseJournal.line(for: LeaseJournal.Record(lease: $0, ends: ($0.expires - .distantPast).seconds))
            }.joined()
        let leases = LeaseJournal.settled(LeaseJournal.parse(Array(file.utf8)).records).map {
            var lease = $0.lease
            lease.expires = .distantPast + .seconds($0.ends)
            return lease
        }
        var again = DHCPHarness(leases: leases)
        again.renew(mac(2), ip(3), "web")
        #expect(again.names == ["web": ip(2)])
        again.renew(mac(1), ip(2), "web")
        #expect(again.names == ["web": ip(2)])
    }

    /// Of two leases with one name in a file, as a clock that went back makes them, the one that ends last has it.
    @Test func nameBelongsToOneOfTwoRestoredLeases() {
        func lease(_ number: Int, _ ends: Int64) -> Lease {
            Lease(
                address: ip(number + 1), client: ClientIdentity(hardware: mac(number)), hardware: mac(number),
                hostName: "web", name: GuestName("web"), expires: .distantPast + ends * second)
        }
        let harness = DHCPHarness(leases: [lease(1, 1_100), lease(2, 1_200)])
        #expect(harness.names == ["web": ip(3)])
    }
}

extension DHCPHarness {
    /// The names of leases that run.
    fileprivate var names: [String: IPv4Address] {
        var names: [String: IPv4Address] = [:]
        for lease in server.table.leases where lease.expires > now {
            guard let name = lease.name else { continue }
            #expect(names.updateValue(lease.address, forKey: name.description) == nil, "\(name) is held twice")
            #expect(server.table.holder(of: name, now: now) == lease)
        }
        return names
    }

    fileprivate mutating func renew(_ client: MACAddress, _ address: IPv4Address, _ name: String?) {
        let renewal = message(.request, client) {
            $0.clientAddress = address
            $0[.hostName] = name.map { Array($0.utf8) }
        }
        #expect(send(renewal, from: address, to: ip(1)).last?.kind == .ack)
    }
}
