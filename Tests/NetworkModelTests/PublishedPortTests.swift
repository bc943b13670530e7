// SPDX-License-Identifier: Apache-2.0
import TestSupport
import Testing
import NetworkModel
import Wire

@Suite struct PublishedPortTests {
    private let six = IPAddress.ipv6(IPv6Address("fd12:3456:789a::2")!)

    @Test func addressesOfIPv6AreInBrackets() throws {
        #expect(
            try PublishedPort(parsing: "8080:[fd12:3456:789a::2]:80")
                == PublishedPort(
                    .tcp, bind: .ipv6(.unspecified), ports: 8080...8080, guest: six, guestPort: 80))
        #expect(
            try PublishedPort(parsing: "[2001:db8::1]:6000-6001:[fd12:3456:789A:0::2]:7000/udp")
                == PublishedPort(
                    .udp, bind: .ipv6(IPv6Address("2001:db8::1")!), ports: 6000...6001, guest: six, guestPort: 7000))
        #expect(
            try PublishedPort(parsing: "[::]:80:[::10]").completed(
                by: IPv6Network(containing: IPv6Address("fd12::")!, prefixLength: 64)
            ).guest.description == "fd12::10")
        for text in ["8080:[fd12::2]:80/tcp", "[::1]:1-2:[::10]:1/udp", "[2001:db8::1]:53:[fd12::2]:53/udp"] {
            let one = try PublishedPort(parsing: text)
            #expect(one.description == text && one.isIPv6 && one.hasGuestAddress)
        }
    }

    @Test(arguments: [
        ("[::]:80:192.168.105.2", "IPv4 and IPv6"), ("127.0.0.1:80:[fd12::2]", "IPv4 and IPv6"),
        ("[::]:80:web", "to the lease of a guest"), ("[::]:80:52:54:00:00:00:01:80", "to the lease of a guest"),
        ("[fe80::1]:80:[fd12::2]", "that clients can reach"), ("[ff02::1]:80:[fd12::2]", "that clients can reach"),
        ("[::ffff:1.2.3.4]:80:[fd12::2]", "write 1.2.3.4"), ("[fe80::1%eth0]:80:[fd12::2]", "clients can"),
        ("80:[fe80::2]", "where a guest belongs"), ("80:[::1]", "where a guest belongs"),
        ("80:[::]", "where a guest belongs"), ("80:[ff05::2]", "where a guest belongs"),
        ("80:[::ffff:1.2.3.4]", "in the form of IPv6; write 1.2.3.4"), ("80:[fd12::2", "where a guest belongs"),
        ("80:fd12::2", "without brackets"), ("fd12::1:80:[fd12::2]", "without brackets"),
        ("80:[fd12::2]x:80", "where a guest belongs"),
        ("[::]:[fd12::2]", "lacks the guest"), ("[::1]", "[BIND:]PORT"), ("[]:80:[fd12::2]", "clients can reach"),
    ])
    func portOfIPv6IsRefusedWithAReason(text: String, reason: String) {
        #expect(refusal(text)?.contains(reason) == true, "\(refusal(text) ?? "accepted")")
    }

    @Test func guestOfIPv6IsInTheNetwork() throws {
        let network = IPv6Network(containing: IPv6Address("fd12::")!, prefixLength: 64)
        for (text, reason) in [
            ("80:[fd12::2]", nil), ("80:[::2]", nil), ("80:[fd13::2]", "write [::10]"), ("80:[fd12::1]", "gateway"),
        ] as [(String, String?)] {
            let found = try PublishedPort(parsing: text).refusal(in: network)
            #expect(reason.map { found?.contains($0) == true } ?? (found == nil), "\(found ?? "accepted")")
        }
        #expect(try PublishedPort(parsing: "80:[::2]").refusal(in: nil)?.contains("no IPv6") == true)
        #expect(try PublishedPort(parsing: "80:192.168.105.2").refusal(in: nil) == nil)
    }

    private let guest = IPAddress.ipv4(IPv4Address("192.168.105.2")!)

    private func refusal(_ text: String) -> String? {
        do {
            _ = try PublishedPort(parsing: text)
            return nil
        } catch {
            return error.description
        }
    }

    @Test func everyFormIsParsed() throws {
        #expect(
            try PublishedPort(parsing: "8080:192.168.105.2")
                == PublishedPort(.tcp, ports: 8080...8080, guest: guest, guestPort: 8080))
        #expect(
            try PublishedPort(parsing: "2222:192.168.105.2:22")
                == PublishedPort(.tcp, ports: 2222...2222, guest: guest, guestPort: 22))
        #expect(
            try PublishedPort(parsing: "127.0.0.1:2222:192.168.105.2")
                == PublishedPort(
                    .tcp, bind: .ipv4(IPv4Address("127.0.0.1")!), ports: 2222...2222, guest: guest, guestPort: 2222))
        #expect(
            try PublishedPort(parsing: "127.0.0.1:2222:192.168.105.2:22/tcp")
                == PublishedPort(
                    .tcp, bind: .ipv4(IPv4Address("127.0.0.1")!), ports: 2222...2222, guest: guest, guestPort: 22)
        )
        #expect(
            try PublishedPort(parsing: "0.0.0.0:53:192.168.105.2/udp")
                == PublishedPort(.udp, ports: 53...53, guest: guest, guestPort: 53))
        let range = try PublishedPort(parsing: "6000-6010:192.168.105.2:7000/udp")
        #expect(range == PublishedPort(.udp, ports: 6000...6010, guest: guest, guestPort: 7000))
        #expect(range.guestPorts == 7000...7010)
    }

    @Test func hardwareAddressNamesAGuest() throws {
        let mac = MACAddress("52:54:00:00:00:01")!
        var one = try PublishedPort(parsing: "2222:52:54:00:00:00:01:22")
        #expect(
            one == PublishedPort(.tcp, ports: 2222...2222, guest: .ipv4(.any), followed: .hardware(mac), guestPort: 22)
                && !one.hasGuestAddress)
        #expect(
            try PublishedPort(parsing: "127.0.0.1:6000-6001:52:54:00:00:00:01/udp")
                == PublishedPort(
                    .udp, bind: .ipv4(IPv4Address("127.0.0.1")!), ports: 6000...6001, guest: .ipv4(.any),
                    followed: .hardware(mac),
                    guestPort: 6000))
        one.setGuest(IPv4Address("192.168.105.2")!)
        #expect(one.hasGuestAddress && one.guest == guest && one.description == "2222:52:54:00:00:00:01:22/tcp")
        for text in [
            "2222:52:54:00:00:00:0g:22", "52:54:00:00:00:01", "2222:ff:ff:ff:ff:ff:ff:22", "80:52:54:00:00:00:01:22:22",
        ] { #expect(refusal(text) != nil, "\(text)") }
    }

    @Test func guestMayBeAHostName() throws {
        func name(_ text: String) throws -> FollowedGuest { .name(try #require(GuestName(text))) }
        var one = try PublishedPort(parsing: "2222:web:22")
        #expect(
            one == PublishedPort(.tcp, ports: 2222...2222, guest: .ipv4(.any), followed: try name("web"), guestPort: 22)
        )
        #expect(!one.hasGuestAddress && network.refusal(of: one) == nil)
        #expect(
            try PublishedPort(parsing: "127.0.0.1:8080-8081:WEB-1:80/udp")
                == PublishedPort(
                    .udp, bind: .ipv4(IPv4Address("127.0.0.1")!), ports: 8080...8081, guest: .ipv4(.any),
                    followed: try name("web-1"),
                    guestPort: 80))
        #expect(
            try PublishedPort(parsing: "80:guest")
                == PublishedPort(.tcp, ports: 80...80, guest: .ipv4(.any), followed: try name("guest"), guestPort: 80))
        one.setGuest(IPv4Address("192.168.105.2")!)
        #expect(one.hasGuestAddress && one.guest == guest && one.description == "2222:web:22/tcp")
    }

    /// What could be read as an address or a port is no name.
    @Test(arguments: [
        "2222", "80-90", "8-8", "-", "-web", "web-", "web_1", "web.local", "wéb", "web ", "0x7f000001", "0X7F",
        "52-54-00-00-00-01", "aa-bb-cc-dd-ee-ff", "1-2-3-4-5-f", "1.2.3", "1.2.3.4.5", "[web]", "*", "",
        String(repeating: "a", count: 64),
    ])
    func textThatIsNoHostNameIsRefusedWithTheWantedForms(text: String) throws {
        #expect(GuestName(text) == nil)
        let reason = try #require(refusal("2222:\(text):22"))
        for part in ["'\(text)'", "192.168.105.2", "52:54:00:00:00:01", "web"] {
            #expect(reason.contains(part), "\(reason)")
        }
    }

    @Test(arguments: ["localhost", "gateway", "Host", "WPAD", "isatap"])
    func reservedNameIsRefused(text: String) throws {
        #expect(GuestName(text) == nil)
        #expect(try #require(refusal("2222:\(text)")).contains("'\(text)' where a guest belongs, a name that no guest"))
    }

    @Test func hostNameIsOneLabelWithoutRegardToCase() {
        #expect(GuestName("Web-01") == GuestName("wEB-01") && GuestName("Web-01")?.description == "web-01")
        for text in ["a", "1a", "0x", "0xg", "fe", "dead-beef", "3com", String(repeating: "a", count: 63)] {
            #expect((GuestName(text) != nil) == (text != "0x"), "\(text)")
        }
    }

    /// A truncated hardware address and an IPv6 address do not become names.
    @Test(arguments: [
        "2222:52:54:00:00:00", "2222:fe80::1:22", "2222:[fe80::1]:22", "fe80::1",
        "2222:52:54", "web:2222:22", "localhost:2222:web:22", "2222:web:ssh", "2222:web:22:22", "web", "2222:web:",
        "1.2.3:80:web", "1.2.3.4:web:22", "2222:web/22",
    ])
    func nameInAWrongPlaceIsRefused(text: String) {
        #expect(refusal(text)?.hasPrefix("'\(text)' ") == true)
    }

    @Test func descriptionsAreReadBack() throws {
        for text in [
            "127.0.0.1:1-2:web-1:1/udp",
            "8080:10.0.0.2:80/tcp", "127.0.0.1:1-65535:10.0.0.2:1/udp", "5000-5009:10.0.0.2:6000/tcp",
        ] {
            #expect(try PublishedPort(parsing: text).description == text)
        }
    }

    @Test(arguments: [
        "", ":", "8080", "8080:", ":192.168.105.2", "0:192.168.105.2", "65536:192.168.105.2", "+80:192.168.105.2",
        "80-:192.168.105.2", "-80:192.168.105.2", "90-80:192.168.105.2",
        "80:192.168.105.2:0", "80:192.168.105.2:", "80-90:192.168.105.2:65530", "80:0.0.0.0",
        "80:127.0.0.1", "80:224.0.0.1", "80:255.255.255.255", "1.2.3:80:192.168.105.2",
        "224.0.0.1:80:192.168.105.2", "127.0.0.1:192.168.105.2", "80:192.168.105.2/sctp", "80:192.168.105.2/",
        "80:192.168.105.2/udp/", "1.2.3.4:80:1.2.3.5:80:80", "80 :192.168.105.2",
    ])
    func invalidFormIsRejectedWithAReason(text: String) {
        #expect(refusal(text)?.hasPrefix("'\(text)' ") == true)
    }

    @Test func overlapsAreDetected() throws {
        func overlap(_ one: String, _ other: String) throws -> Bool {
            try PublishedPort(parsing: one).overlaps(PublishedPort(parsing: other))
        }
        #expect(try overlap("80-90:10.0.0.2", "90:10.0.0.3"))
        #expect(try overlap("127.0.0.1:80:10.0.0.2", "80:10.0.0.3"))
        #expect(try !overlap("127.0.0.1:80:10.0.0.2", "127.0.0.2:80:10.0.0.3"))
        #expect(try !overlap("80:10.0.0.2", "80:10.0.0.2/udp"))
        #expect(try !overlap("80-89:10.0.0.2", "90:10.0.0.2"))
        #expect(try !overlap("80:10.0.0.2", "80:[fd12::2]"))
        #expect(try overlap("[::1]:80:[fd12::2]", "80:[fd12::2]"))
    }

    private let network = GuestNetwork(gateway: IPv4Address("192.168.105.1")!, prefixLength: 24)

    @Test func guestAddressesAreInTheNetwork() throws {
        #expect(network.refusal(of: try PublishedPort(parsing: "80:192.168.105.2")) == nil)
        for other in ["192.168.106.2", "192.168.105.0", "192.168.105.255", "192.168.105.1"] {
            #expect(network.refusal(of: try PublishedPort(parsing: "80:\(other)"))?.contains(other) == true)
        }
    }

    @Test(arguments: [
        "127.0.0.1:6000-6010:192.168.105.2:7000/udp", "127.0.0.1:6000-6010:web-1:7000/udp",
        "[2001:db8::1]:6000:[::10]:7000/udp",
        "6000:52:54:00:00:00:01:22",
    ])
    func fuzzedTextIsParsedOrRejected(sample: String) {
        fuzz(Array(sample.utf8)) { bytes in
            let text = String(decoding: bytes, as: UTF8.self)
            guard let published = try? PublishedPort(parsing: text) else { return }
            #expect(published.ports.lowerBound > 0 && Int(published.guestPort) + published.ports.count - 1 <= 65_535)
            #expect((try? PublishedPort(parsing: published.description)) == published)
            guard case .name(let name)? = published.followed else { return }
            let label = name.description.utf8
            #expect((1...63).contains(label.count) && label.first != 0x2d && Array(label).last != 0x2d)
            #expect(label.allSatisfy { $0 == 0x2d || (0x30...0x39).contains($0) || (0x61...0x7a).contains($0) })
        }
    }
}
