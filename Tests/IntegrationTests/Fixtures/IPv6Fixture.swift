// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

/// How guests' IPv6 packets leave the host.
enum IPv6Way: String, CaseIterable {
    /// By a TAP and `force_forwarding`.
    case tap
    /// By a TAP of a host that has become a router, on a kernel without `force_forwarding`.
    case router
    /// By the user-mode NAT beside a TAP, on a kernel without `force_forwarding`.
    case nat
    /// By the user-mode NAT.
    case user

    /// What this kernel can do.
    static var possible: [IPv6Way] { allCases.filter { $0 != .tap || IPv6Fixture.canForward } }

    func fixture(
        _ options: [String] = [], internet: Bool = false, prepare: (TestNetwork) throws -> Void = { _ in }
    ) throws -> IPv6Fixture {
        let own = ["--uplink", self == .user ? "user" : "tap"] + (self == .router ? ["--ipv6", "kernel"] : [])
        return try IPv6Fixture(own + options, internet: internet, isOldKernel: self == .router || self == .nat) {
            if usesNAT { try IPv6Fixture.permitPings($0.host) }
            try prepare($0)
        }
    }

    /// Whether packets leave by sockets of this program.
    var usesNAT: Bool { self == .nat || self == .user }
}

/// A guest network on a TAP, with an Internet that has IPv6 and a route to the host's address only.
final class IPv6Fixture {
    /// Whether this kernel forwards IPv6 that arrives by single interfaces (Linux 6.17).
    static let canForward = Files.exists("/proc/sys/net/ipv6/conf/all/force_forwarding")
    static let outside = "2001:db8::1", host = "2001:db8::2"

    let network: TestNetwork
    let path: String
    private(set) var daemon: BackgroundProgram
    private let wrapper: [String]

    /// - Parameters:
    ///   - options: of the daemon.
    ///   - hasIPv6: the host has an address and a default route.
    ///   - internet: the Internet has servers.
    ///   - isOldKernel: the kernel seems to have no `force_forwarding`.
    ///   - prepare: what precedes the daemon.
    init(
        _ options: [String] = [], hasIPv6: Bool = true, internet: Bool = false, isOldKernel: Bool = false,
        prepare: (TestNetwork) throws -> Void = { _ in }
    ) throws {
        network = try TestNetwork()
        if internet { try network.startInternet() }
        path = network.folder.file("vde")
        try network.internet.ip("-6", "addr", "add", "\(Self.outside)/64", "dev", "eth0", "nodad")
        if hasIPv6 { try IPv6Fixture.giveIPv6(network.host) }
        try prepare(network)
        wrapper = isOldKernel ? try OldKernel.hidingForwarding(network.folder) : []
        daemon = try IPv6Fixture.start(network, wrapper, ["--switch", path] + options)
    }

    private static func start(
        _ network: TestNetwork, _ wrapper: [String], _ arguments: [String]
    ) throws -> BackgroundProgram {
        let daemon = try network.host.start(
            wrapper + [TestHost.product("vde_vmnet"), "--state-dir", network.folder.file("state")] + arguments)
        try daemon.wait(for: "vde_vmnet: ready: ", within: 20)
        return daemon
    }

    /// Lets processes of every group ping, as distributions do.
    static func permitPings(_ host: Namespace) throws {
        try host.run("sysctl", "-qw", "net.ipv4.ping_group_range=0 2147483647")
    }

    static func giveIPv6(_ host: Namespace) throws {
        try host.ip("-6", "addr", "add", "\(Self.host)/64", "dev", "wan", "nodad")
        try host.ip("-6", "route", "add", "default", "via", Self.outside)
    }

    func restart(_ options: [String] = []) throws {
        #expect(try daemon.stop() == .exited(0))
        daemon = try IPv6Fixture.start(network, wrapper, ["--switch", path] + options)
    }

    /// Kills the daemon, and starts it again.
    func killAndRestart(_ options: [String] = []) throws {
        daemon.kill()
        daemon = try IPv6Fixture.start(network, wrapper, ["--switch", path] + options)
    }

    /// Another instance on the same host, whose switch is at `path` and `suffix`.
    func startSecond(_ options: [String], at suffix: String = "2") throws -> BackgroundProgram {
        try IPv6Fixture.start(network, wrapper, ["--switch", path + suffix] + options)
    }

    func guest(_ name: String = "guest", mac: String? = nil) throws -> PlugGuest {
        try PlugGuest(name, path: path, mac: mac, folder: network.folder)
    }

    func setting(_ path: String) throws -> String {
        try network.host.run("cat", "/proc/sys/net/ipv6/conf/\(path)").trimmed
    }
}
