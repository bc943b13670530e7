// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Platform
import TestSupport
import Testing
import Timing
import Wire

@testable import NameService

/// Guests in a table of the test's own.
private final class Guests: GuestDirectory {
    var addresses: [String: String] = [:]

    init(_ addresses: [String: String] = [:]) { self.addresses = addresses }

    func address(of name: GuestName) -> IPv4Address? { addresses[name.description].flatMap { IPv4Address($0) } }

    /// Addresses that guests use, by name.
    var used: [String: [IPv6Address]] = [:]

    func addresses6(of name: GuestName, in network: IPv6Network) -> [IPv6Address] {
        (name.description == "web" ? [IPv6Address(network.base.high, 7)] : []) + (used[name.description] ?? [])
    }

    /// Guests that use IPv6 addresses.
    var users: [IPv6Address: MACAddress] = [:]

    func user(of address: IPv6Address, in network: IPv6Network?) -> (hardware: MACAddress, name: GuestName?)? {
        let name = network == nil ? nil : used.first { $0.value.contains(address) }.flatMap { GuestName($0.key) }
        if let hardware = users[address] { return (hardware, name) }
        return name.map { (MACAddress(0x5254_0000_00ff), $0) }
    }

    func name(of address: IPv6Address, in network: IPv6Network) -> GuestName? {
        address == IPv6Address(network.base.high, 7) ? GuestName("web") : nil
    }

    func name(of hardware: MACAddress) -> GuestName? {
        hardware == MACAddress(0x5254_0000_0001) ? GuestName("web") : nil
    }

    func name(of address: IPv4Address) -> GuestName? {
        addresses.first { $0.value == address.description }.flatMap { GuestName($0.key) }
    }
}

private let network = GuestNetwork(gateway: IPv4Address("192.168.105.1")!, prefixLength: 24)

@Suite struct GuestZoneTests {
    private let zone = GuestZone(.standard, network)
    private let guests = Guests(["web": "192.168.105.7", "org": "192.168.105.8"])

    private func answer(_ name: String, _ type: UInt16 = DNSType.a, class recordClass: UInt16 = 1) -> LocalAnswer? {
        var question = DNSQuestion(name: DNSName(name)!, type: type)
        question.recordClass = recordClass
        return zone.answer(question, guests)
    }

    private func address(_ text: String) -> LocalAnswer { .records([DNSRecord(IPv4Address(text)!)]) }

    private func pointer(_ name: String) -> LocalAnswer { .records([DNSRecord(pointer: DNSName(name)!)]) }

    @Test func namesOfGuestsAndGatewayHaveAddresses() {
        for name in ["web", "WEB", "web.vm.internal", "Web.VM.Internal."] {
            #expect(answer(name) == address("192.168.105.7"), "\(name)")
            #expect(answer(name, DNSType.aaaa) == .records([]), "\(name) has no AAAA record")
        }
        #expect(answer("web.vm.internal", DNSType.any) == address("192.168.105.7"))
        #expect(answer("web.vm.internal", 15) == .records([]))
        for name in ["gateway", "host", "gateway.vm.internal", "host.vm.internal"] {
            #expect(answer(name) == address("192.168.105.1"), "\(name)")
        }
        #expect(answer("vm.internal", 6) == .records([]))
    }

    @Test func unknownNamesWithinTheDomainDoNotExist() {
        for name in [
            "db.vm.internal", "a.web.vm.internal", "wpad.vm.internal", "isatap.vm.internal", "*.vm.internal",
            "_ldap._tcp.vm.internal", "_.vm.internal", "localhost.vm.internal", "web\u{1b}.vm.internal",
        ] {
            for type in [DNSType.a, DNSType.aaaa, DNSType.any, 33] {
                #expect(answer(name, type) == .noSuchName, "\(name)")
            }
        }
        #expect(answer("web.vm.internal", class: 3) == .refused)
    }

    @Test func otherNamesAreNotTheZones() {
        for name in ["db", "internal", "web.example.org", "vm.internal.example.org", "xvm.internal"] {
            #expect(answer(name) == nil, "\(name)")
        }
        // A guest called like a top-level domain does not hide that domain's servers and keys.
        #expect(answer("org") == address("192.168.105.8"))
        for type in [2, 6, 43, 48, DNSType.any] { #expect(answer("org", UInt16(type)) == nil) }
        #expect(answer("web", class: 3) == nil)
    }

    @Test func reverseNamesOfIPv6AddressesAreTheZones() {
        var zone = GuestZone(.standard, network)
        zone.gatewayIPv6 = [.customaryGateway, IPv6Address("fd00:1:2:3::1")!]
        func answer(_ address: String, below: String = "") -> LocalAnswer? {
            let digits = IPv6Address(address)!.bytes.flatMap { [$0 >> 4, $0 & 0xf] }
            let name = digits.reversed().map { String($0, radix: 16) }.joined(separator: ".") + ".ip6.arpa"
            return zone.answer(DNSQuestion(name: DNSName(below + name)!, type: DNSType.pointer), guests)
        }
        for prefix in ["fe80::", "fd00:1:2:3:"] {
            #expect(answer("\(prefix)5054:ff:fe00:1") == pointer("web.vm.internal"), "\(prefix)")
            #expect(answer("\(prefix)5054:ff:fe00:2") == .noSuchName, "\(prefix)")
            #expect(answer("\(prefix)1:2:3:4") == .noSuchName, "no hardware address")
            #expect(answer("\(prefix)5054:ff:fe00:1", below: "x.") == .noSuchName)
            // Another guest uses the address of the guest that is gone.
            let address = IPv6Address("\(prefix)5054:ff:fe00:1")!
            guests.users[address] = MACAddress(0x5254_0000_0002)
            #expect(answer("\(prefix)5054:ff:fe00:1") == .noSuchName, "\(prefix)")
            guests.users[address] = MACAddress(0x5254_0000_0001)
            #expect(answer("\(prefix)5054:ff:fe00:1") == pointer("web.vm.internal"), "\(prefix)")
        }
        #expect(answer("fd00:1:2:3::1") == pointer("gateway.vm.internal"))
        #expect(answer("fe80::1") == pointer("gateway.vm.internal"))
        for address in ["fd00:1:2:4:5054:ff:fe00:1", "2001:db8::1"] { #expect(answer(address) == nil, "\(address)") }
    }

    @Test func reservedIPv6AddressesAreRecords() {
        var zone = GuestZone(.standard, network)
        func answer(_ name: String, _ type: UInt16) -> LocalAnswer? {
            zone.answer(DNSQuestion(name: DNSName(name)!, type: type), guests)
        }
        let reverse = "7" + String(repeating: ".0", count: 15) + ".3.0.0.0.2.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa"
        #expect(answer("web.vm.internal", DNSType.aaaa) == .records([]), "no IPv6 network")
        #expect(answer(reverse, DNSType.pointer) == nil, "no IPv6 network")
        zone.network6 = IPv6Network(containing: IPv6Address("fd00:1:2:3::1")!, prefixLength: 64)
        zone.gatewayIPv6 = [IPv6Address("fd00:1:2:3::1")!]
        let address6 = DNSRecord(IPv6Address("fd00:1:2:3::7")!)
        for name in ["web", "web.vm.internal"] {
            #expect(answer(name, DNSType.aaaa) == .records([address6]))
            #expect(answer(name, DNSType.a) == address("192.168.105.7"))
        }
        #expect(
            answer("web.vm.internal", DNSType.any) == .records([DNSRecord(IPv4Address("192.168.105.7")!), address6]))
        #expect(answer("org", DNSType.aaaa) == .records([]), "no address is reserved")
        #expect(answer(reverse, DNSType.pointer) == pointer("web.vm.internal"))
        #expect(answer("8" + reverse.dropFirst(), DNSType.pointer) == .noSuchName)
    }

    @Test func gatewayHasItsIPv6Address() {
        var zone = GuestZone(.standard, network)
        func answer(_ name: String, _ type: UInt16) -> LocalAnswer? {
            zone.answer(DNSQuestion(name: DNSName(name)!, type: type), guests)
        }
        let address6 = DNSRecord(IPv6Address("fd00:1:2:3::1")!)
        for name in ["gateway", "host", "gateway.vm.internal", "host.vm.internal"] {
            #expect(answer(name, DNSType.aaaa) == .records([]), "no IPv6 network")
        }
        zone.network6 = IPv6Network(containing: IPv6Address("fd00:1:2:3::1")!, prefixLength: 64)
        zone.gatewayIPv6 = [IPv6Address("fd00:1:2:3::1")!]
        for name in ["gateway", "host", "gateway.vm.internal", "host.vm.internal"] {
            #expect(answer(name, DNSType.aaaa) == .records(name.hasPrefix("g") ? [address6] : []), "\(name)")
            #expect(answer(name, DNSType.a) == address("192.168.105.1"), "\(name)")
        }
    }

    @Test func usedIPv6AddressesAreRecords() {
        var zone = GuestZone(.standard, network)
        zone.network6 = IPv6Network(containing: IPv6Address("fd00:1:2:3::1")!, prefixLength: 64)
        zone.gatewayIPv6 = [IPv6Address("fd00:1:2:3::1")!]
        func answer(_ name: String, _ type: UInt16) -> LocalAnswer? {
            zone.answer(DNSQuestion(name: DNSName(name)!, type: type), guests)
        }
        let used = [IPv6Address("fd00:1:2:3::a")!, IPv6Address("fd00:1:2:3::b")!]
        guests.used = ["org": used, "web": [IPv6Address("fd00:1:2:3::c")!]]
        #expect(answer("org.vm.internal", DNSType.aaaa) == .records(used.map { DNSRecord($0) }))
        #expect(
            answer("web", DNSType.aaaa)
                == .records([DNSRecord(IPv6Address("fd00:1:2:3::7")!), DNSRecord(IPv6Address("fd00:1:2:3::c")!)]))
        let reverse = "b" + String(repeating: ".0", count: 15) + ".3.0.0.0.2.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa"
        #expect(answer(reverse, DNSType.pointer) == pointer("org.vm.internal"))
        #expect(answer("d" + reverse.dropFirst(), DNSType.pointer) == .noSuchName)
    }

    @Test func zonesOfTheNetworkAreTheZones() {
        var zone = GuestZone(.standard, GuestNetwork(gateway: IPv4Address("192.168.4.1")!, prefixLength: 22))
        zone.gatewayIPv6 = [.customaryGateway, IPv6Address("fd00:1:2:3::1")!]
        let six = "3.0.0.0.2.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa"
        for name in [
            "vm.internal", "a.vm.internal", "4.168.192.in-addr.arpa", "7.168.192.in-addr.arpa",
            "9.5.168.192.in-addr.arpa", "x.9.5.168.192.in-addr.arpa", six, "a." + six,
        ] {
            #expect(zone.hasAll(below: DNSName(name)!), "\(name)")
        }
        for name in [
            "internal", "8.168.192.in-addr.arpa", "168.192.in-addr.arpa", "in-addr.arpa", "ip6.arpa", "arpa",
            String(six.dropFirst(2)), "4" + six.dropFirst(), "x.168.192.in-addr.arpa", "example.org",
        ] {
            #expect(!zone.hasAll(below: DNSName(name)!), "\(name)")
        }
    }

    @Test func reverseNamesOfTheNetworkAreTheZones() {
        #expect(answer("7.105.168.192.in-addr.arpa", DNSType.pointer) == pointer("web.vm.internal"))
        #expect(answer("1.105.168.192.IN-ADDR.arpa", DNSType.any) == pointer("gateway.vm.internal"))
        #expect(answer("7.105.168.192.in-addr.arpa", DNSType.a) == .records([]))
        for name in ["9.105.168.192.in-addr.arpa", "lb._dns-sd._udp.0.105.168.192.in-addr.arpa"] {
            #expect(answer(name, DNSType.pointer) == .noSuchName, "\(name)")
        }
        for name in ["7.106.168.192.in-addr.arpa", "168.192.in-addr.arpa", "07.105.168.192.in-addr.arpa"] {
            #expect(answer(name, DNSType.pointer) == nil, "\(name)")
        }
        // The host's resolvers get no query for the zone itself, nor of another class.
        for type in [DNSType.pointer, 6] { #expect(answer("105.168.192.in-addr.arpa", type) == .records([])) }
        #expect(answer("7.105.168.192.in-addr.arpa", DNSType.pointer, class: 3) == .refused)
        #expect(answer("7.106.168.192.in-addr.arpa", DNSType.pointer, class: 3) == nil)
    }

    @Test func guestsWithoutDirectoryHaveNoNames() {
        let question = DNSQuestion(name: DNSName("web.vm.internal")!, type: DNSType.a)
        #expect(zone.answer(question, nil) == .noSuchName)
        let gateway = DNSQuestion(name: DNSName("gateway")!, type: DNSType.a)
        #expect(zone.answer(gateway, nil) == address("192.168.105.1"))
    }
}

/// The parts of a response that the tests compare.
private struct Response {
    let bytes: [UInt8]
    let id: UInt16
    let code: UInt8
    let isTruncated: Bool
    let answers: Int
    let addresses: [String]
    let payloadSize: UInt16?

    init(_ bytes: [UInt8]) throws {
        let view = try DNSView(bytes.rawSpan)
        let isResponse = view.isResponse
        #expect(isResponse)
        self.bytes = bytes
        id = view.id
        code = view.responseCode
        isTruncated = view.isTruncated
        answers = view.answerCount
        addresses = try view.addresses()
        payloadSize = try view.extended()?.payloadSize
    }
}

@Suite struct LocalNamesTests {
    private let folder: TemporaryFolder
    private let guests = Guests(["web": "192.168.105.7"])
    private let names: LocalNames

    init() throws {
        folder = try TemporaryFolder()
        names = LocalNames(zone: GuestZone(.standard, network), hosts: HostsFile(path: folder.file("hosts")))
        names.directory = guests
    }

    private func response(
        _ name: String, _ type: UInt16 = DNSType.a, over transport: DNSTransport = .datagram
    ) throws -> Response? {
        let question = DNSQuestion(name: DNSName(name)!, type: type)
        let bytes = names.response(to: DNSMessage.query(id: 7, question), question, over: transport)
        return try bytes.map { try Response($0) }
    }

    @Test func responseKeepsTheCaseOfTheQuestion() throws {
        var query = DNSMessage.query(
            id: 0x1234, DNSQuestion(name: DNSName("web.vm.internal")!, type: DNSType.a))
        for index in [13, 17, 22] { query[index] -= 0x20 }
        let question = try DNSView(query.rawSpan).question()
        let bytes = try #require(names.response(to: query, question, over: .datagram))
        #expect(bytes[12..<query.count] == query[12...])
        let response = try Response(bytes)
        #expect(response.id == 0x1234 && response.code == 0 && response.addresses == ["192.168.105.7"])
        #expect(response.payloadSize == nil)
        // With EDNS, the response has an OPT record too.
        var extended = ByteWriter(capacity: 64)
        extended.put(query)
        ExtendedDNS(payloadSize: 1232).emit(into: &extended)
        var withOption = extended.bytes
        withOption[11] = 1
        let second = try #require(names.response(to: withOption, question, over: .datagram))
        let parsed = try Response(second)
        #expect(parsed.payloadSize == ExtendedDNS.preferredPayload && parsed.addresses == ["192.168.105.7"])
        // BADVERS (RFC 6891 section 6.1.3): 1 in the upper bits, 0 in the header, and this server's version is 0.
        withOption[withOption.count - 5] = 1
        let third = try #require(names.response(to: withOption, question, over: .datagram))
        #expect(try DNSView(third.rawSpan).extended()?.codeAndFlags == 1 << 24 && third[3] & 0xf == 0)
    }

    @Test func missingNameIsAnError() throws {
        let missing = try response("Nothing.vm.internal"), other = try response("www.example.org")
        #expect(missing?.code == DNSResponseCode.nameError.rawValue)
        #expect(other?.bytes == nil)
    }

    /// A guest does not take a bare name that the host's administrator has given.
    @Test func hostsFilePrecedesBareNamesOfGuests() throws {
        try Files.replace(
            folder.file("hosts"),
            Array(
                """
                192.0.2.5 web nas.lan nas static.vm.internal gateway host
                192.168.105.9 static2.vm.internal

                """.utf8))
        func addresses(_ name: String, _ type: UInt16 = DNSType.a) throws -> [String]? {
            try response(name, type)?.addresses
        }
        #expect(try addresses("nas") == ["192.0.2.5"])
        #expect(try addresses("web") == ["192.0.2.5"] && addresses("WEB", DNSType.aaaa) == [])
        #expect(try addresses("web.vm.internal") == ["192.168.105.7"], "with the domain it is the guest's")
        #expect(try addresses("static.vm.internal") == ["192.0.2.5"])
        #expect(try addresses("gateway") == ["192.168.105.1"] && addresses("host") == ["192.168.105.1"])
        let reverse = try response("9.105.168.192.in-addr.arpa", DNSType.pointer)
        #expect(reverse?.answers == 1)
        // A policy of names exempts names of guests, and not those of the file.
        func owns(_ name: String) -> Bool { names.owns(DNSQuestion(name: DNSName(name)!, type: DNSType.a)) }
        #expect(!owns("web") && !owns("nas") && owns("web.vm.internal") && owns("gateway"))
        try Files.replace(folder.file("hosts"), [])
        let fresh = LocalNames(zone: GuestZone(.standard, network), hosts: HostsFile(path: folder.file("hosts")))
        fresh.directory = guests
        #expect(fresh.owns(DNSQuestion(name: DNSName("web")!, type: DNSType.a)))
    }

    @Test func bareNamesOfTheFileAreGuestNames() {
        let table = HostsTable(
            parsing: Array("192.0.2.5 Nas nas.lan\n192.0.2.6 nas\n2001:db8::1 six\n127.0.1.1 own\n10.0.0.1 a_b\n".utf8))
        #expect(
            table.guestNames == [
                GuestName("nas")!: [IPv4Address("192.0.2.5")!, IPv4Address("192.0.2.6")!], GuestName("six")!: [],
            ])
    }

    @Test func longAnswerIsTruncatedOverUDPOnly() throws {
        // 16 records of 28 bytes do not fit into 512 beside a name of 66.
        let long = String(repeating: "a", count: 60) + ".lan"
        let lines = (1...17).map { "2001:db8::\($0) \(long)\n" }.joined()
        try Files.replace(folder.file("hosts"), Array(lines.utf8))
        let short = try response(long, DNSType.aaaa)
        #expect(short?.isTruncated == true && short?.answers == 0 && short?.addresses == [])
        let whole = try response(long, DNSType.aaaa, over: .stream)
        #expect(whole?.isTruncated == false && whole?.addresses.count == 16)
    }

    /// Whatever the query is, a response parses, has the query's id, and fits.
    @Test func fuzzedQueriesGetValidResponses() {
        let query = DNSMessage.query(id: 7, DNSQuestion(name: DNSName("web.vm.internal")!, type: DNSType.a))
        fuzz(query, rounds: 3000) { bytes in
            guard case .forward(let question) = DNSQueryClassifier.classify(bytes.rawSpan),
                let response = names.response(to: bytes, question, over: .datagram)
            else { return }
            #expect(response[0..<2] == bytes[0..<2])
            #expect(throws: Never.self) { try Response(response) }
        }
    }
}

@Suite struct HostsFileTests {
    private func answer(_ table: HostsTable, _ name: String, _ type: UInt16 = DNSType.a) -> LocalAnswer? {
        table.answer(DNSQuestion(name: DNSName(name)!, type: type))
    }

    @Test func addressesAndNamesAreRead() {
        let table = HostsTable(
            parsing: Array(
                """
                # comment
                127.0.0.1 localhost self
                127.0.1.1 self.lan
                ::1 ip6-localhost
                fe80::1%eth0 link
                fe80::2 link
                ff02::1 ip6-allnodes
                0.0.0.0 blocked.example
                255.255.255.255 broadcasthost
                  192.0.2.1\tNAS.lan nas # the box
                192.0.2.2 nas
                2001:db8::1 nas.lan six
                192.0.2.9
                nonsense name
                192.0.2.300 wrong
                192.0.2.3 a..b \(String(repeating: "x", count: 64)) ok\r
                """.utf8))
        let one = DNSRecord(IPv4Address("192.0.2.1")!), two = DNSRecord(IPv4Address("192.0.2.2")!)
        let six = DNSRecord(IPv6Address("2001:db8::1")!)
        #expect(answer(table, "nas") == .records([one, two]))
        #expect(answer(table, "nas.LAN") == .records([one]))
        #expect(answer(table, "nas.lan", DNSType.aaaa) == .records([six]))
        #expect(answer(table, "nas", DNSType.aaaa) == .records([]), "the name is there, without such an address")
        #expect(answer(table, "ok") == .records([DNSRecord(IPv4Address("192.0.2.3")!)]))
        #expect(answer(table, "nas", 15) == nil, "other types are forwarded")
        #expect(
            answer(table, "1.2.0.192.in-addr.arpa", DNSType.pointer)
                == .records([DNSRecord(pointer: DNSName("nas.lan")!)]))
        let nibbles = String(repeating: "0.", count: 23) + "8.b.d.0.1.0.0.2.ip6.arpa"
        #expect(answer(table, "1." + nibbles, DNSType.pointer) == .records([DNSRecord(pointer: DNSName("nas.lan")!)]))
        for name in [
            "localhost", "self", "self.lan", "ip6-localhost", "link", "ip6-allnodes", "blocked.example",
            "broadcasthost", "name", "wrong",
        ] { #expect(answer(table, name) == nil, "\(name)") }
        #expect(table.count == 4)
        #expect(HostsTable(parsing: []) == HostsTable())
    }

    @Test func tableIsBounded() {
        let many = (0..<40_000).map { "10.\($0 >> 16).\($0 >> 8 & 255).\($0 & 255) h\($0)\n" }.joined()
        let table = HostsTable(parsing: Array(many.utf8))
        #expect(table.count == 32_768 && answer(table, "h39999") == nil && answer(table, "h1") != nil)
        let addresses = (1...99).map { "192.0.2.\($0) many\n" }.joined()
        guard case .records(let records)? = answer(HostsTable(parsing: Array(addresses.utf8)), "many") else {
            Issue.record("no records")
            return
        }
        #expect(records.count == 16)
    }

    @Test func fuzzedFilesAreRead() {
        fuzz(Array("192.0.2.1 nas.lan nas\n2001:db8::1 six # c\n127.0.0.1 self\n".utf8), rounds: 3000) { bytes in
            let table = HostsTable(parsing: bytes)
            #expect(table.count <= bytes.count)
            for name in ["nas", "six"] {
                guard case .records(let records)? = answer(table, name, DNSType.aaaa) else { continue }
                #expect(records.allSatisfy { $0.data.count == 16 })
            }
        }
    }

    @Test func changedFileIsReadAgain() throws {
        let folder = try TemporaryFolder(), path = folder.file("hosts"), second = TimeAmount.seconds(1)
        let hosts = HostsFile(path: path)
        var now = BootClock.now
        hosts.refresh(now: now)
        #expect(hosts.table.count == 0, "there is no file")
        try Files.replace(path, Array("192.0.2.1 nas\n".utf8))
        hosts.refresh(now: now)
        #expect(hosts.table.count == 0, "at most once a second")
        now += second
        hosts.refresh(now: now)
        #expect(hosts.table.count == 1)
        try Files.replace(path, Array("192.0.2.1 nas nas.lan\n".utf8))
        now += second
        hosts.refresh(now: now)
        #expect(hosts.table.count == 2)
        // A file beyond the bound is not read.
        try Files.replace(path, [UInt8](repeating: UInt8(ascii: "\n"), count: HostsTable.maximumLength + 1))
        now += second
        hosts.refresh(now: now)
        #expect(hosts.table.count == 0)
        try Files.rename(path, to: folder.file("away"))
        now += second
        hosts.refresh(now: now)
        #expect(hosts.table == HostsTable())
    }
}
