// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

/// The uplinks of networks whose events a client follows.
enum EventUplink: String, CaseIterable, CustomTestStringConvertible {
    case tap
    /// A TAP with the user-mode NAT beside it.
    case tapWithNAT
    case user
    /// The simulated vmnet.framework.
    case vmnet
    /// A port of a Linux bridge.
    case bridged
    /// A packet socket on a NIC.
    case packet
    case none

    /// Those with a guest network of this program.
    static let routed = [EventUplink.tap, .user, .vmnet]
    /// Those of different switch ports.
    static let ports = [EventUplink.tap, .user, .vmnet, .packet, .none]

    var testDescription: String { rawValue }

    var gateway: String { self == .vmnet ? "192.168.64.1" : "192.168.105.1" }

    /// - Parameter settings: of the simulator of vmnet.framework.
    func fixture(
        _ options: [String] = [], settings: String = "", prepare: (TestNetwork) throws -> Void = { _ in }
    ) throws -> EventFixture {
        let own: (uplink: String, options: [String]) =
            switch self {
            case .tap, .tapWithNAT: ("tap", [])
            case .user: ("user", [])
            case .vmnet: ("vmnet", [])
            case .bridged: ("tap", ["--vmnet-mode", "bridged", "--vmnet-interface", "br0"])
            case .packet: ("tap", ["--vmnet-mode", "bridged", "--vmnet-interface", "wan"])
            case .none: ("none", [])
            }
        return EventFixture(
            try ControlFixture(
                own.uplink, own.options + options,
                environment: self == .vmnet ? ["VMNET_SIMULATOR": settings] : [:],
                product: self == .vmnet ? "vde_vmnet_simulated" : "vde_vmnet", isOldKernel: self == .tapWithNAT
            ) { network in
                try network.host.setResolvers("nameserver 203.0.113.1\n")
                if self == .bridged {
                    try network.host.ip("link", "add", "br0", "type", "bridge")
                    try network.host.ip("link", "set", "br0", "up")
                    try network.host.ip("link", "set", "wan", "master", "br0")
                }
                try prepare(network)
            })
    }
}

/// A network and what its clients see of it.
struct EventFixture {
    let control: ControlFixture

    init(_ control: ControlFixture) { self.control = control }

    var host: Namespace { control.host }
    var path: String { control.path }

    /// Starts `events --json` about some kinds, and waits until the network sends them.
    func follow(_ kinds: String) throws -> EventClient {
        let program = try host.start([
            TestHost.product("vde_vmnet"), "events", control.socket, "--json", "--only", kinds + ",join",
        ])
        try eventually("the subscription", within: ampleTime) {
            // A port that is gone at once may not be seen.
            let plug = try PlugPort(path: path, description: "subscription")
            defer { withExtendedLifetime(plug) {} }
            try? eventually("its arrival", within: 1) { program.output.contains("\"event\":\"join\"") }
            return program.output.contains("\"event\":\"join\"") || program.poll() != nil
        }
        return EventClient(program: program)
    }

    /// The number of the port of a client with this description.
    func port(_ description: String) throws -> String {
        let list = try control.run("port", "list")
        let line = list.split(separator: "\n").first { $0.contains(description) }
        return String(try #require(line?.split(separator: " ").first, "\(list)"))
    }

    /// A pipe that a program waits at.
    func fifo() throws -> String {
        let path = control.folder.file("go")
        try host.run("mkfifo", path)
        return path
    }

    func stop() throws { #expect(try control.daemon.stop() == .exited(0)) }
}

/// `vde_vmnet events --json` of a network.
struct EventClient {
    let program: BackgroundProgram

    /// The events of a kind that contain some text, without those of the plug that shows the subscription.
    func events(_ kind: String, _ text: String = "") -> [String] {
        program.output.split(separator: "\n").map(String.init).filter {
            $0.contains("\"event\":\"\(kind)\"") && (text.isEmpty || $0.contains(text))
                && !$0.contains("\"description\":\"subscription\"")
        }
    }

    /// Waits for an event.
    func wait(_ kind: String, _ text: String = "", within seconds: Double = ampleTime) throws {
        do {
            try eventually("the event \(kind) with \(text)", within: seconds) { !events(kind, text).isEmpty }
        } catch {
            throw TimedOut("\(error); there were: \(program.output)")
        }
    }

    /// Waits for an event, until which `body` is repeated.
    func wait(_ kind: String, _ text: String = "", _ body: () throws -> Void) throws {
        do {
            try eventually("the event \(kind) with \(text)", within: ampleTime) {
                try body()
                return !events(kind, text).isEmpty
            }
        } catch {
            throw TimedOut("\(error); there were: \(program.output)")
        }
    }
}
