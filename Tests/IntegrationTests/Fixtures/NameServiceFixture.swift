// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

/// A host with resolvers on its loopback address, and our switch with one of the uplinks.
final class NameServiceFixture {
    enum Uplink: String, CaseIterable, CustomTestStringConvertible {
        case tap, user

        var testDescription: String { rawValue }
    }

    static let good = "good.example", address = "192.0.2.9"

    let network: TestNetwork
    let path: String
    let daemon: VMNetDaemon
    private var resolvers: [BackgroundProgram] = []

    /// - Parameters:
    ///   - resolvers: the host's; `127.0.0.2` has names, among them those of another network with the guests' domain
    ///     and addresses, and is silent about those below slow.example; `127.0.0.4` refuses all.
    ///   - options: further options of the daemon.
    ///   - hosts: the host's `/etc/hosts`.
    init(
        _ uplink: Uplink, resolvers: [String] = ["127.0.0.2"], options: [String] = [], hosts: String? = nil
    ) throws {
        network = try TestNetwork()
        if let hosts { try network.host.setHosts(hosts) }
        path = network.folder.file("own")
        let own = [
            "--no-daemon", "--conf-file=/dev/null", "--user=root", "--no-resolv", "--no-hosts", "--bind-interfaces",
        ]
        let strings = (0..<4).map { _ in String(repeating: "x", count: 200) }.joined(separator: ",")
        let knowing = [
            "--listen-address=127.0.0.2", "--address=/\(NameServiceFixture.good)/\(NameServiceFixture.address)",
            "--server=/slow.example/203.0.113.99", "--txt-record=long.example,\(strings)",
            "--address=/vm.internal/203.0.113.66", "--ptr-record=77.105.168.192.in-addr.arpa,other.example",
        ]
        self.resolvers = [
            try network.host.start(["dnsmasq"] + own + knowing),
            try network.host.start(["dnsmasq"] + own + ["--listen-address=127.0.0.4"]),
        ]
        try network.host.setResolvers(resolvers.map { "nameserver \($0)\n" }.joined())
        let host = network.host
        for address in ["127.0.0.2", "127.0.0.4"] {
            try eventually("a name server at \(address)") {
                try host.run("ss", "-Hltn", "src = \(address):53").contains(address)
            }
        }
        daemon = try VMNetDaemon(
            in: network.host, ["--switch", "--uplink", uplink.rawValue, path] + options, folder: network.folder)
    }

    func guest(_ name: String = "guest") throws -> PlugGuest {
        let guest = try PlugGuest(name, path: path, folder: network.folder)
        #expect(try guest.lease()["dns"] == IntegrationTests.gateway)
        return guest
    }

    /// Whether a guest finds the good name over UDP.
    func resolves(_ guest: PlugGuest) throws -> Bool {
        try guest.namespace.attempt([
            "busybox", "nslookup", "-type=a", NameServiceFixture.good, IntegrationTests.gateway,
        ]).output
            .contains(NameServiceFixture.address)
    }

    /// The gateway's hardware address, as a guest that has an address sees it.
    func router(_ guest: PlugGuest) throws -> MACAddress {
        _ = try guest.namespace.pings(IntegrationTests.gateway)
        return try #require(
            try guest.namespace.run("ip", "neigh", "show", IntegrationTests.gateway).split(separator: " ").compactMap {
                MACAddress($0)
            }.first)
    }

    var descriptors: Int { get throws { try Files.entries("/proc/\(daemon.program.identifier)/fd").count } }
}

/// Frames of a guest of the test's own.
struct DNSClientFixture {
    static let hardware = MACAddress(0x5254_0000_0666), address = IPv4Address("192.168.105.66")!
    let plug: PlugPort
    let router: MACAddress

    init(_ fixture: NameServiceFixture, _ router: MACAddress) throws {
        plug = try PlugPort(path: fixture.path)
        self.router = router
    }

    func ask(_ message: [UInt8], from address: IPv4Address = address) {
        plug.send(
            Frames.udp(
                from: Endpoint(DNSClientFixture.hardware, address, port: 4000),
                to: Endpoint(router, IPv4Address(IntegrationTests.gateway)!, port: 53), message))
    }

    /// The first answer that `accept` takes.
    func answer(_ accept: (borrowing DNSView) -> Bool) -> [UInt8]? {
        var found: [UInt8]?
        _ = plug.receive { frame in
            guard let ethernet = try? EthernetView(frame.rawSpan), ethernet.destination == DNSClientFixture.hardware,
                let packet = try? IPv4View(ethernet.payload), packet.hasValidChecksum,
                let datagram = try? UDPView(packet.payload), datagram.sourcePort == 53,
                datagram.hasValidChecksum(source: packet.source, destination: packet.destination),
                let view = try? DNSView(datagram.payload), accept(view)
            else { return false }
            found = datagram.payload.copied()
            return true
        }
        return found
    }
}
