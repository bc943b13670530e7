// SPDX-License-Identifier: Apache-2.0
import DHCPService
import NetworkCheck
import Testing
import Timing
import Wire

@Suite struct NetworkCheckTests {
    private func check(
        _ network: FakeNetwork, connect: (IPv4Address, UInt16)? = nil
    ) -> (holds: Bool, steps: [String: CheckStep]) {
        var steps: [String: CheckStep] = [:]
        let guest = Guest(hardware: MACAddress("52:54:00:00:00:09")!, link: network)
        let check = NetworkCheck(
            guest, NetworkCheck.Options(name: DNSName("localhost")!, connect: connect.map { ($0.0, $0.1) })
        ) { steps[$0.name] = $0 }
        return (check.run(), steps)
    }

    /// Of the basic steps.
    private func outcomes(_ steps: [String: CheckStep]) -> [String: CheckStep.Outcome] {
        steps.filter { ["lease", "arp", "ping", "name", "tcp"].contains($0.key) }.mapValues(\.outcome)
    }

    private let outside = IPv4Address("203.0.113.1")!

    @Test func longPacketsAreProbed() {
        let network = FakeNetwork { $0.mtu = 9000 }
        network.ports[80] = true
        let whole = check(network, connect: (outside, 80)).steps
        #expect(whole["mtu"]?.outcome == .ok && whole["mtu"]!.detail.contains("9000 bytes"))
        #expect(whole["path"]?.outcome == .ok)
        // Longer packets vanish: the longest one that passes is found.
        network.longestPing = 1400
        let (holds, steps) = check(network, connect: (outside, 80))
        #expect(!holds && steps["mtu"]?.outcome == .failed && steps["path"]?.outcome == .failed)
        #expect(steps["mtu"]?.detail.contains("packets of 1400 pass") == true, "\(steps["mtu"]!.detail)")
        #expect(steps["mtu"]?.remedy?.contains("--vmnet-mtu 1400") == true)
        // A router that reports them is no fault of the path.
        network.reportsLength = true
        let reported = check(network, connect: (outside, 80)).steps
        #expect(reported["path"]?.outcome == .ok)
        #expect(reported["path"]?.detail.contains("reports a path MTU of 1400") == true)
    }

    @Test func namesAreResolvedByTCP() {
        let network = FakeNetwork()
        #expect(check(network).steps["dns-tcp"]?.outcome == .skipped)
        network.ports[53] = false
        #expect(check(network).steps["dns-tcp"]?.outcome == .skipped)
        network.ports[53] = true
        let step = check(network).steps["dns-tcp"]
        #expect(step?.outcome == .ok, "\(step?.detail ?? "")")
        // It takes the query, and another message comes back.
        network.resolves = { question, id in
            DNSMessage.answer(id: id &+ 1, isRecursionDesired: true, question: question, records: [], timeToLive: 1)
        }
        #expect(check(network).steps["dns-tcp"]?.outcome == .failed)
    }

    @Test func addressOfIPv6IsMadeOfAdvertisement() {
        let network = FakeNetwork()
        let without = check(network).steps
        for name in ["ipv6", "ping6", "mtu6", "name6", "tcp6", "path6"] { #expect(without[name]?.outcome == .skipped) }
        network.prefix = 0x2001_0db8_0000_0007
        let steps = check(network).steps
        #expect(steps["ipv6"]?.detail == "2001:db8:0:7:5054:ff:fe00:9 by fe80::1", "\(steps["ipv6"]!.detail)")
        #expect(steps["ping6"]?.outcome == .ok && steps["name6"]?.outcome == .skipped)
        #expect(steps["mtu6"]?.detail == "packets of 1500 bytes pass to fe80::1 and back")
        network.answersPing = false
        #expect(check(network).steps["ping6"]?.outcome == .failed)
    }

    @Test func throughputIsWhatServerAcknowledges() {
        let network = FakeNetwork()
        func rate() -> CheckStep? {
            var found: CheckStep?
            _ = NetworkCheck(
                Guest(hardware: MACAddress("52:54:00:00:00:09")!, link: network),
                NetworkCheck.Options(
                    name: DNSName("localhost")!, throughput: ((.ipv4(gateway), 5001), .milliseconds(20)))
            ) { if $0.name == "rate" { found = $0 } }.run()
            return found
        }
        #expect(rate()?.outcome == .failed, "nothing listens")
        network.ports[5001] = true
        let measured = rate()
        #expect(measured?.outcome == .ok && network.received > 0, "\(measured?.detail ?? "")")
        #expect(check(network).steps["rate"]?.outcome == .skipped)
    }

    @Test func workingNetworkPassesAllSteps() {
        let network = FakeNetwork()
        network.ports[80] = true
        let (holds, steps) = check(network, connect: (gateway, 80))
        #expect(holds)
        #expect(outcomes(steps) == ["lease": .ok, "arp": .ok, "ping": .ok, "name": .ok, "tcp": .ok])
        // The first addresses are the guests'.
        #expect(steps["lease"]!.detail.contains("192.168.105.21/24"))
        #expect(steps["name"]!.detail.contains("127.0.0.1"))
        // The lease was given back.
        #expect(network.server!.table.running(at: Instant(nanoseconds: 2_000_000_000)) == 0)
    }

    @Test func leaseIsReleasedAfterFailure() {
        let mute = FakeNetwork()
        mute.answersARP = false
        #expect(!check(mute).holds)
        #expect(mute.server!.table.leases.map(\.address) == [gateway.advanced(by: 20)])
        #expect(mute.server!.table.running(at: Instant(nanoseconds: 2_000_000_000)) == 0)
    }

    @Test func leaseTimeIsShort() throws {
        let network = FakeNetwork()
        let guest = Guest(hardware: MACAddress("52:54:00:00:00:09")!, link: network)
        #expect(try guest.obtainLease().seconds == 120)
    }

    @Test func unofferedServicesAreSkipped() {
        let (holds, steps) = check(
            FakeNetwork {
                $0.nameServers = []; $0.router = nil
            })
        #expect(holds)
        #expect(outcomes(steps) == ["lease": .ok, "arp": .ok, "ping": .ok, "name": .skipped, "tcp": .skipped])
    }

    @Test func missingServerEndsCheck() {
        let network = FakeNetwork()
        network.server = nil
        let (holds, steps) = check(network)
        #expect(!holds)
        #expect(outcomes(steps) == ["lease": .failed])
        #expect(steps["lease"]!.remedy != nil)
    }

    @Test(arguments: [
        (0, "network unreachable", "offline"), (1, "host unreachable", "no host has that address"),
        (13, "administratively prohibited", "--egress deny"), (10, "administratively prohibited", "firewall"),
    ])
    func whatICMPSaysIsSaid(code: UInt8, words: String, remedy: String) {
        let network = FakeNetwork()
        network.unreachable = code
        let steps = check(network, connect: (IPv4Address("203.0.113.1")!, 443)).steps
        #expect(
            steps["tcp"]?.outcome == .failed
                && steps["tcp"]!.detail
                    == "203.0.113.1 port 443 is unreachable: 192.168.105.1 answers by ICMP: \(words)"
        )
        #expect(steps["tcp"]?.remedy?.contains(remedy) == true)
        #expect(steps["name"]?.detail.contains("is unreachable: 192.168.105.1 answers by ICMP: \(words)") == true)
    }

    @Test(arguments: [(2, "SERVFAIL"), (5, "REFUSED"), (4, "NOTIMP"), (11, "response code 11")])
    func responseCodesHaveTheirNames(code: UInt8, name: String) {
        let network = FakeNetwork()
        network.resolves = { question, id in
            var answer = DNSMessage.answer(
                id: id, isRecursionDesired: true, question: question, records: [], timeToLive: 1)
            answer[3] = answer[3] & 0xf0 | code
            return answer
        }
        let guest = Guest(hardware: MACAddress("52:54:00:00:00:09")!, link: network)
        var detail = ""
        _ = NetworkCheck(guest, NetworkCheck.Options(name: DNSName("www.example")!)) {
            if $0.name == "name" { detail = $0.detail }
        }.run()
        #expect(detail.contains("could not resolve www.example (\(name)"), "\(detail)")
    }

    @Test func failureIsReportedForItsStep() {
        let mute = FakeNetwork()
        mute.answersARP = false
        #expect(outcomes(check(mute).steps)["arp"] == .failed)
        let walled = FakeNetwork()
        walled.answersPing = false
        let (holds, steps) = check(walled)
        #expect(!holds)
        #expect(outcomes(steps) == ["lease": .ok, "arp": .ok, "ping": .failed, "name": .ok, "tcp": .skipped])
        let nameless = FakeNetwork()
        nameless.resolves = nil
        #expect(outcomes(check(nameless).steps)["name"] == .failed)
        let failing = FakeNetwork()
        failing.resolves = { question, id in
            DNSMessage.failure(id: id, isRecursionDesired: true, question: question, code: .nameError)
        }
        #expect(check(failing).steps["name"]?.outcome == .ok, "it need not know localhost")
        let broken = FakeNetwork()
        broken.resolves = { question, id in
            DNSMessage.failure(id: id, isRecursionDesired: true, question: question, code: .serverFailure)
        }
        #expect(check(broken).steps["name"]?.outcome == .failed)
        let refusing = FakeNetwork()
        refusing.ports[80] = false
        #expect(check(refusing, connect: (gateway, 80)).steps["tcp"]?.detail.contains("refuses") == true)
        #expect(check(FakeNetwork(), connect: (gateway, 81)).steps["tcp"]?.detail.contains("does not answer") == true)
    }
}
