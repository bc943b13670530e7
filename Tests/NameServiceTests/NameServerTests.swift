// SPDX-License-Identifier: Apache-2.0
import NameService
import Platform
import TestSupport
import Testing
import Timing
import Wire

@Suite struct NameServerTests {
    @Test func serversAndDomainsAreParsed() {
        for (text, expected) in [
            ("192.0.2.1", "192.0.2.1:53"), ("192.0.2.1:5353", "192.0.2.1:5353"),
            ("2001:db8::1", "[2001:db8::1]:53"), ("[2001:db8::1]", "[2001:db8::1]:53"),
            ("[2001:db8::1]:5353", "[2001:db8::1]:5353"), ("127.0.0.1", "127.0.0.1:53"),
            ("Corp.Example=192.0.2.1", "corp.example=192.0.2.1:53"), ("corp.=[::1]:54", "corp=[::1]:54"),
            ("168.192.in-addr.arpa=192.0.2.1:1", "168.192.in-addr.arpa=192.0.2.1:1"),
            ("::ffff:192.0.2.1", "192.0.2.1:53"), ("[::ffff:192.0.2.1]:5353", "192.0.2.1:5353"),
        ] {
            #expect(NameServer(text)?.description == expected, "\(text)")
        }
    }

    @Test func otherTextsAreRefused() {
        for text in [
            "", "=", "a=", "=192.0.2.1", "a..b=192.0.2.1", "dns.example", "192.0.2", "192.0.2.1:", "192.0.2.1:0",
            "192.0.2.1:65536", "192.0.2.1:x", "[192.0.2.1]:53", "[::1", "::1]", "[::1]53", "[]:53", "0.0.0.0", "::",
            "224.0.0.1", "255.255.255.255", "ff02::1", "a=b=192.0.2.1", "a b=192.0.2.1", "bücher.example=192.0.2.1",
            "192.0.2.1 ", "0x7f.1", "127.1", "192.0.2.1:+53", "[2001:db8::1]:-1", "fe80::1", "::ffff:0.0.0.0",
            "2001:db8::1:53", "corp.example=::1:5353",
        ] {
            #expect(NameServer(text) == nil && NameServer.refusal(of: text) != nil, "\(text)")
        }
        fuzz(Array("corp.example=[2001:db8::1]:53".utf8)) { bytes in
            let text = String(decoding: bytes, as: UTF8.self)
            let server = NameServer(text)
            if let server { #expect(NameServer(server.description) == server, "\(text)") }
            #expect((server == nil) == (NameServer.refusal(of: text) != nil), "\(text)")
        }
    }

    /// Each with the cause, and with what to write instead.
    @Test(arguments: [
        ("corp.example=", "has no server", "such as corp.example=10.0.0.53"),
        ("", "has no server", "such as 10.0.0.53"), ("[fe80::7]:53", "an address of a link", "fe80::1%eth0"),
        ("=192.0.2.1", "no domain", "without '='"), (".=192.0.2.1", "no domain", "without '='"),
        ("a..b=192.0.2.1", "'a..b' is not a domain", "letters, digits"),
        ("*.corp.example=192.0.2.1", "'*.corp.example' is not a domain", "write corp.example,"),
        (".corp.example=192.0.2.1", "'.corp.example' is not a domain", "write corp.example,"),
        ("bücher.example=192.0.2.1", "not in ASCII", "xn--"), ("a b=192.0.2.1", "'a b' is not a domain", "letters"),
        ("corp.example=dns.example", "'dns.example' is not the address", "192.0.2.1:5353"),
        ("192.0.2.1:", "no port", "ADDRESS:PORT"), ("192.0.2.1:99999", "no port", "from 1 to 65535"),
        ("[::1]:0", "no port", "from 1 to 65535"), ("[::1", "'[::1' is not the address", "[2001:db8::1]:5353"),
        ("2001:db8::1:53", "could be an address, or an address and a port", "write [2001:db8::1]:53 for the port, or"),
        ("a.b=::2:5353", "'::2:5353' could be an address", "[::2:5353] for port 53 of the address"),
        ("fe80::7", "an address of a link", "fe80::1%eth0"), ("fe80::7%nothing", "no address on an interface", "list"),
        ("224.0.0.1", "no server has the address '224.0.0.1'", "write"), ("a\nb=::1", "'a?b' is not a domain", "write"),
    ])
    func refusalHasCauseAndNextStep(text: String, cause: String, nextStep: String) throws {
        let refusal = try #require(NameServer.refusal(of: text))
        #expect(refusal.contains(cause) && refusal.contains(nextStep), "\(refusal)")
    }

    @Test func chosenServersTakeThePlaceOfTheHosts() throws {
        let folder = try TemporaryFolder(), path = folder.file("resolv.conf")
        try Files.replace(path, Array("nameserver 192.0.2.1\nsearch a.example\n".utf8))
        let chosen = ["192.0.2.8", "corp.example=192.0.2.9", "192.0.2.7:54", "corp.example=192.0.2.6"].compactMap {
            NameServer($0)
        }
        let resolvers = Resolvers(path: path, servers: chosen)
        #expect(resolvers.servers.map(\.description) == ["192.0.2.8:53", "192.0.2.7:54"])
        #expect(resolvers.domainServers == ["corp.example=192.0.2.9:53", "corp.example=192.0.2.6:53"])
        #expect(resolvers.search == ["a.example"], "the search domains stay the host's")
        try Files.remove(path)
        #expect(!resolvers.refresh(now: BootClock.now + .seconds(2)) && resolvers.servers.count == 2)
        let routed = Resolvers(path: path, servers: [chosen[1]])
        #expect(routed.servers.isEmpty && routed.domainServers.count == 1)
    }

    /// systemd-resolved's list of all servers does not have the domains of a VPN; its own server has.
    @Test func stubIsTheFirstResolverInPlaceOfTheListOfAllServers() throws {
        let folder = try TemporaryFolder(), path = folder.file("etc")
        try Files.replace(folder.file("resolv.conf"), Array("nameserver 192.0.2.1\nnameserver 10.8.0.1\n".utf8))
        try Files.replace(folder.file("stub-resolv.conf"), Array("nameserver 127.0.0.53\n".utf8))
        func servers(_ target: String) throws -> [String] {
            try? Files.remove(path)
            _ = try ChildProcess.run(["ln", "-s", target, path])
            return Resolvers(path: path, stubDirectory: folder.path).servers.map(\.description)
        }
        #expect(try servers(folder.file("resolv.conf")) == ["127.0.0.53:53", "192.0.2.1:53", "10.8.0.1:53"])
        #expect(try servers(folder.file("stub-resolv.conf")) == ["127.0.0.53:53"])
        try Files.replace(folder.file("own"), Array("nameserver 192.0.2.2\n".utf8))
        #expect(try servers(folder.file("own")) == ["192.0.2.2:53"], "a file of the administrator")
        // Without a stub, both names lead to one file.
        try Files.remove(folder.file("stub-resolv.conf"))
        _ = try ChildProcess.run(["ln", "-s", folder.file("resolv.conf"), folder.file("stub-resolv.conf")])
        #expect(try servers(folder.file("resolv.conf")) == ["192.0.2.1:53", "10.8.0.1:53"])
    }
}
