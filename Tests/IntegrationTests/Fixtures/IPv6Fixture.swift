// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

/// A guest network on a TAP, with an Internet that has IPv6 and knows the host's address only.
final class IPv6Fixture {
    static let outside = "2001:db8::1", host = "2001:db8::2"

    let network: TestNetwork
    let path: String
    private(set) var daemon: VMNetDaemon

    /// - Parameters:
    ///   - options: of the daemon.
    ///   - hasIPv6: the host has an address and a default route.
    init(_ options: [String] = [], hasIPv6: Bool = true) throws {
        network = try TestNetwork()
        path = network.folder.file("vde")
        try network.internet.ip("-6", "addr", "add", "\(Self.outside)/64", "dev", "eth0", "nodad")
        if hasIPv6 { try IPv6Fixture.giveIPv6(network.host) }
        daemon = try VMNetDaemon(in: network.host, ["--switch", path] + options, folder: network.folder)
    }

    static func giveIPv6(_ host: Namespace) throws {
        try host.ip("-6", "addr", "add", "\(Self.host)/64", "dev", "wan", "nodad")
        try host.ip("-6", "route", "add", "default", "via", Self.outside)
    }

    func restart(_ options: [String] = []) throws {
        #expect(try daemon.stop() == .exited(0))
        daemon = try VMNetDaemon(in: network.host, ["--switch", path] + options, folder: network.folder)
    }

    func guest(_ name: String = "guest", mac: String? = nil) throws -> PlugGuest {
        try PlugGuest(name, path: path, mac: mac, folder: network.folder)
    }

    func setting(_ path: String) throws -> String {
        try network.host.run("cat", "/proc/sys/net/ipv6/conf/\(path)").trimmed
    }
}

extension PlugGuest {
    /// The guest's own address from a router advertisement, as soon as it has one.
    func address6(within seconds: Double = 15) throws -> IPv6Address {
        var found: IPv6Address?
        try eventually("an address by router advertisement", within: seconds) {
            let words = try namespace.run(
                "ip", "-6", "-o", "addr", "show", "dev", PlugGuest.interface, "scope", "global", "-tentative"
            ).split { $0 == " " || $0 == "/" }
            guard let place = words.firstIndex(of: "inet6"), place + 1 < words.count else { return false }
            found = IPv6Address(words[place + 1])
            return found != nil
        }
        return found!
    }

    /// Waits for a default route by IPv6, or for its end.
    func waitForRouter(_ isThere: Bool = true) throws {
        try eventually(isThere ? "a default route by IPv6" : "the end of the default route", within: 15) {
            try namespace.run("ip", "-6", "route", "show", "default").isEmpty != isThere
        }
    }
}
