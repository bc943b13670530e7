// SPDX-License-Identifier: Apache-2.0
import DHCPService
import NetworkCheck
import Testing
import Timing
import Wire

/// Connections that the user has requested: none of them is skipped.
@Suite struct RequestedConnectionTests {
    private static let prefix: UInt64 = 0x2001_0db8_0000_0007
    private let outside = IPAddress.ipv4(IPv4Address("203.0.113.9")!)
    private let outside6 = IPAddress.ipv6(IPv6Address("2001:dead::1")!)

    /// The steps of a check that connects to `address` both at once and to measure.
    private func steps(_ network: FakeNetwork, _ address: IPAddress, name: String = "localhost") -> [String: CheckStep]
    {
        var steps: [String: CheckStep] = [:]
        var options = NetworkCheck.Options(name: DNSName(name)!, throughput: ((address, 444), .milliseconds(20)))
        switch address {
        case .ipv4(let four): options.connect = (four, 444)
        case .ipv6(let six): options.connect6 = (six, 444)
        }
        let guest = Guest(hardware: MACAddress("52:54:00:00:00:09")!, link: network)
        let holds = NetworkCheck(guest, options) { steps[$0.name] = $0 }.run()
        #expect(holds == !steps.values.contains { $0.outcome == .failed })
        return steps
    }

    private func network(_ change: (FakeNetwork) -> Void = { _ in }) -> FakeNetwork {
        let network = FakeNetwork()
        network.prefix = Self.prefix
        change(network)
        return network
    }

    /// Expects that the connection and the measurement fail for one cause.
    private func expectFailure(
        _ steps: [String: CheckStep], _ tcp: String, _ detail: String, remedy: String,
        location: SourceLocation = #_sourceLocation
    ) {
        for name in [tcp, "rate"] {
            let step = steps[name], text = "\(name): \(step?.detail ?? "-") / \(step?.remedy ?? "-")"
            #expect(step?.outcome == .failed, "\(text)", sourceLocation: location)
            #expect(step?.detail.contains(detail) == true, "\(text)", sourceLocation: location)
            #expect(step?.remedy?.contains(remedy) == true, "\(text)", sourceLocation: location)
        }
    }

    @Test(arguments: ["2001:db8:0:7::99", "fe80::99"]) func addressOfNoStationFailsOverIPv6(text: String) {
        let found = steps(network(), .ipv6(IPv6Address(text)!))
        expectFailure(found, "tcp6", "\(text) belongs to this network, and no station answers", remedy: "lease list")
        #expect(found["path6"]?.outcome == .skipped && found["path6"]!.detail.contains("no station answers"))
    }

    @Test func addressOfNoStationFailsOverIPv4() {
        let address = IPv4Address("192.168.105.99")!
        let found = steps(network(), .ipv4(address))
        expectFailure(found, "tcp", "\(address) belongs to this network, and no station answers", remedy: "lease list")
    }

    @Test func lackOfRouterFails() {
        let found = steps(network { $0.isDefaultRouter = false }, outside6)
        expectFailure(found, "tcp6", "fe80::1 is no default router for IPv6", remedy: "ip -6 route get 2001:dead::1")
        #expect(found["path6"]?.outcome == .skipped)
        let four = steps(FakeNetwork { $0.router = nil }, outside)
        expectFailure(four, "tcp", "the network has no router", remedy: "--vmnet-mode shared")
        #expect(four["path"]?.outcome == .skipped)
    }

    @Test func lackOfIPv6Fails() {
        let found = steps(FakeNetwork(), outside6)
        expectFailure(found, "tcp6", "no router advertises IPv6", remedy: "--ipv6 auto")
        // Steps that the user has not requested are not.
        for name in ["tcp", "path", "ipv6", "ping6", "mtu6", "name6", "path6"] {
            #expect(found[name]?.outcome == .skipped, "\(name)")
        }
        let plain = steps(FakeNetwork(), outside)
        #expect(plain["tcp6"]?.outcome == .skipped)
    }

    @Test func requestedNameWithoutServerFails() {
        let without = FakeNetwork { $0.nameServers = [] }
        #expect(steps(without, outside)["name"]?.outcome == .skipped)
        let step = steps(without, outside, name: "www.example")["name"]
        #expect(step?.outcome == .failed && step!.detail.contains("no guest can resolve www.example"))
    }

    /// A connection to measure fails as any other connection.
    @Test func outcomesOfConnectionsDiffer() {
        for (address, tcp) in [(outside, "tcp"), (outside6, "tcp6")] {
            let silent = steps(network(), address)
            expectFailure(silent, tcp, "\(address) port 444 does not answer", remedy: "the host")
            let unreachable = network { ($0.unreachable, $0.unreachable6) = (0, 0) }
            expectFailure(
                steps(unreachable, address), tcp, "answers by ICMP: network unreachable", remedy: "has no route there")
            let forbidden = network { ($0.unreachable, $0.unreachable6) = (13, 1) }
            expectFailure(
                steps(forbidden, address), tcp, "ICMP: administratively prohibited", remedy: "--egress deny")
            let closed = steps(network { $0.ports[444] = false }, address)
            expectFailure(closed, tcp, "\(address) refuses connections to port 444", remedy: "start ")
            // TCP-LISTEN of socat 1.7 is of IPv4 only.
            let listener = address.isIPv6 ? "socat -u TCP6-LISTEN:444 " : "socat -u TCP-LISTEN:444 "
            #expect(closed["rate"]?.remedy?.contains(listener) == true, "\(closed["rate"]?.remedy ?? "")")
        }
    }
}
