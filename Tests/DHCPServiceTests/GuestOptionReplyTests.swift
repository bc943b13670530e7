// SPDX-License-Identifier: Apache-2.0
import DHCPService
import NetworkModel
import TestSupport
import Testing
import Timing
import Wire

private let second = TimeAmount.seconds(1)

@Suite struct GuestOptionReplyTests {
    /// The offer that a client gets for its DISCOVER.
    private func offer(
        _ harness: DHCPHarness, _ change: (inout DHCPv4Message) -> Void = { _ in }
    ) throws -> DHCPv4Message {
        var harness = harness
        _ = harness.send(harness.message(.discover, mac(1), change))
        return try #require(harness.wait(second).last)
    }

    private func harness(_ options: String...) throws -> DHCPHarness {
        let parsed = try options.map { try GuestOption($0) }
        return DHCPHarness { $0.guestOptions = parsed }
    }

    @Test func clientWithoutAListGetsAllOptions() throws {
        let reply = try offer(harness("ntp-server=192.0.2.1", "224=hex:0a", "router=192.168.105.9"))
        #expect(reply[code: 42] == [192, 0, 2, 1] && reply[code: 224] == [10])
        #expect(reply.addresses(.router) == [ip(9)], "the user's value replaces the server's")
    }

    @Test func clientWithAListGetsRequestedOptionsInItsOrder() throws {
        let harness = try harness(
            "ntp-server=192.0.2.1", "224=hex:0a", "classless-static-route=0.0.0.0/0,192.168.105.9")
        let reply = try offer(harness) { $0[.parameterRequestList] = [121, 3, 42, 15] }
        #expect(reply[code: 224] == nil, "not requested")
        #expect(reply.options.map(\.code).drop { $0 != 1 } == [1, 121, 3, 42, 15, 6])
    }

    @Test func longOptionIsSplitAndJoined() throws {
        let names = (0..<30).map { "name\($0).example.org" }
        let reply = try offer(harness("domain-search=" + names.joined(separator: ","))) {
            $0[.parameterRequestList] = [119]
            $0.set(.maximumMessageSize, short: 1500)
        }
        let value = try #require(reply[.domainSearch])
        #expect(value.count > 255)
        #expect(DHCPSearchList.names(in: value) == names.compactMap { DNSName($0) })
        // Without option 57, as many names as fit.
        let short = try #require(
            try offer(self.harness("domain-search=" + names.joined(separator: ","))) {
                $0[.parameterRequestList] = [119]
            }[.domainSearch])
        let some = try #require(DHCPSearchList.names(in: short))
        #expect(some.count > 10 && some == names.prefix(some.count).compactMap { DNSName($0) })
    }

    @Test func optionThatDoesNotFitIsLeftOut() throws {
        let long = "bootfile=" + String(repeating: "b", count: 400)
        let harness = try harness(long, "ntp-server=192.0.2.1")
        let reply = try offer(harness) { $0[.parameterRequestList] = [67, 42] }
        #expect(reply[.bootFile] == nil && reply[code: 42] != nil && reply.seconds(.leaseTime) == 1800)
        let whole = try offer(harness) {
            $0[.parameterRequestList] = [67, 42]
            $0.set(.maximumMessageSize, short: 1400)
        }
        #expect(whole[.bootFile]?.count == 400)
    }

    @Test func networkWithoutRouterAnnouncesNone() throws {
        let reply = try offer(DHCPHarness { $0.router = nil }) { $0[.parameterRequestList] = [1, 3, 6] }
        #expect(reply[.router] == nil && reply.addresses(.domainNameServer) == [ip(1)])
    }

    @Test func leaseTimeIsTheConfiguredOne() throws {
        let reply = try offer(DHCPHarness { $0.leaseTime = 86_400 })
        #expect(reply.seconds(.leaseTime) == 86_400 && reply.seconds(.renewalTime) == 43_200)
        #expect(reply.seconds(.rebindingTime) == 75_600)
    }

    // MARK: Booting

    private var boot: BootFiles {
        var files = BootFiles()
        files.standard = "pxelinux.0"
        files.names = [.efiX64: "ipxe.efi", .ipxe: "http://192.0.2.1/boot.ipxe"]
        files.directory = "/srv/boot"
        return files
    }

    @Test func firmwareGetsTheFileOfItsArchitecture() throws {
        let harness = DHCPHarness { $0.boot = boot }
        let bios = try offer(harness) {
            $0[.clientArchitecture] = [0, 0]
            $0[.parameterRequestList] = [1, 3, 66, 67]
        }
        #expect(bios.bootFile == Array("pxelinux.0".utf8) && bios[.bootFile] == Array("pxelinux.0".utf8))
        #expect(bios.nextServer == ip(1) && bios[.serverName] == Array("192.168.105.1".utf8))
        let efi = try offer(harness) { $0[.clientArchitecture] = [0, 7] }
        #expect(efi.bootFile == Array("ipxe.efi".utf8))
        let odd = try offer(harness) { $0[.clientArchitecture] = [0] }
        #expect(odd.bootFile == Array("pxelinux.0".utf8))
    }

    /// The user class as plain text and as the classes of RFC 3004, and iPXE's own options.
    private static let ipxe: [(UInt8, [UInt8])] = {
        let name = Array("iPXE".utf8), other = [3] + Array("abc".utf8)
        return [(77, name), (77, [4] + name), (77, [4] + name + other), (77, other + [4] + name), (175, [177, 1, 1])]
    }()

    @Test(arguments: ipxe) func ipxeGetsItsOwnFile(code: UInt8, value: [UInt8]) throws {
        let reply = try offer(DHCPHarness { $0.boot = boot }) {
            $0[.clientArchitecture] = [0, 7]
            $0[code: code] = value
        }
        #expect(reply.bootFile == Array("http://192.0.2.1/boot.ipxe".utf8))
        #expect(reply.nextServer == .any && reply[.serverName] == nil, "the URL has the server")
    }

    @Test(arguments: [
        "", "abc", "\u{3}abc", "\u{5}iPXEx", "\u{3}iPXE", "\u{4}iPXE\u{9}abc", "iPXE\u{3}abc", "\u{4}iPX",
    ])
    func otherUserClassIsNotIPXE(value: String) throws {
        let reply = try offer(DHCPHarness { $0.boot = boot }) {
            $0[.clientArchitecture] = [0, 7]
            $0[.userClass] = Array(value.utf8)
        }
        #expect(reply.bootFile == Array("ipxe.efi".utf8))
    }

    @Test func serverOfTheUserIsInTheFieldsToo() throws {
        let byAddress = try offer(harness("tftp-server=192.168.105.7", "bootfile=a.efi")) {
            $0[.parameterRequestList] = [1]
        }
        #expect(byAddress.nextServer == ip(7) && byAddress.bootFile == Array("a.efi".utf8))
        let byName = try offer(harness("tftp-server=boot.example", "bootfile=a.efi"))
        #expect(byName.nextServer == .any && byName.serverName == Array("boot.example".utf8))
    }

    // MARK: FQDN (RFC 4702)

    /// The acknowledgement's FQDN option for a client that sends this one.
    private func fqdn(_ value: [UInt8], isTaken: Bool = false, domain: String? = "vm.internal") -> [UInt8]? {
        var harness = DHCPHarness { $0.guestDomain = domain.flatMap { GuestDomain($0) } }
        if isTaken { harness.lease(mac(9)) { $0[.hostName] = Array("web".utf8) } }
        _ = harness.send(harness.message(.discover, mac(1)) { $0[.clientFQDN] = value })
        guard let offer = harness.wait(second).last else { return nil }
        var request = harness.selecting(offer)
        request[.clientFQDN] = value
        return harness.send(request).last?[.clientFQDN]
    }

    @Test func nameIsReturnedWithTheServersFlags() {
        let wire: [UInt8] = [3] + Array("web".utf8)
        let whole = wire + [2] + Array("vm".utf8) + [8] + Array("internal".utf8) + [0]
        #expect(fqdn([0b0101, 0, 0] + wire) == [0b0101, 255, 255] + whole, "S and E: the server updates")
        #expect(fqdn([0b0100, 0, 0] + wire) == [0b0111, 255, 255] + whole, "the client would update: overridden")
        #expect(fqdn([0b1100, 0, 0] + wire) == [0b0111, 255, 255] + whole, "no update requested: overridden")
        #expect(fqdn([0b0001, 0, 0] + Array("web".utf8)) == [1, 255, 255] + Array("web.vm.internal".utf8), "in ASCII")
        #expect(fqdn([0b0101, 0, 0] + wire, isTaken: true) == [0b1110, 255, 255] + wire, "another guest has the name")
        #expect(fqdn([0b0101, 0, 0] + wire, domain: nil) == [0b1110, 255, 255] + wire, "guests have no names")
        #expect(fqdn([0b0101, 0]) == nil)
        #expect(fqdn([0b0001, 0, 0] + [UInt8](repeating: 0x2a, count: 250))?.count == 253)
    }

    @Test func clientThatSendsNoNameGetsNone() throws {
        var harness = DHCPHarness { $0.guestDomain = .standard }
        _ = harness.send(harness.message(.discover, mac(1)) { $0[.parameterRequestList] = [81] })
        let offer = try #require(harness.wait(second).last)
        let reply = try #require(harness.send(harness.selecting(offer)).last)
        #expect(reply.kind == .ack && reply[.clientFQDN] == nil)
    }

    // MARK: Encoding

    @Test func repliesRoundTripWithAnyOptions() throws {
        var random = SeededGenerator(seed: 7)
        for _ in 0..<Rounds.of(300) {
            var codes: Set<UInt8> = []
            let options = (0..<Int.random(in: 0...6, using: &random)).compactMap { _ -> GuestOption? in
                let code = UInt8.random(in: 120...254, using: &random)
                guard codes.insert(code).inserted else { return nil }
                return GuestOption(code: code, value: random.bytes(Int.random(in: 1...600, using: &random)))
            }
            let size = UInt16.random(in: 0...1500, using: &random)
            let list = options.map(\.code).shuffled(using: &random)
            let reply = try offer(DHCPHarness { $0.guestOptions = options }) {
                $0.set(.maximumMessageSize, short: size)
                $0[.parameterRequestList] = list.isEmpty ? nil : list
            }
            #expect(reply.bytes().count <= max(576, Int(size)) - 28)
            #expect(reply.seconds(.leaseTime) == 1800)
            for option in options {
                #expect(reply[code: option.code].map { $0 == option.value } ?? true)
            }
        }
    }
}
