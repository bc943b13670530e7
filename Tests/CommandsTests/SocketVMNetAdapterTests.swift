// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import NetworkConfiguration
import Listeners
import Sessions
import Testing
import Wire

@testable import Commands

@Suite struct SocketVMNetTests {
    private func words(
        _ arguments: String..., hasVmnet: Bool = false, groups: [String] = ["staff", "everyone"]
    ) throws -> [String] {
        try SocketVMNetAdapter.parse(SocketVMNetAdapter.normalized(arguments)).arguments(
            hasVmnet: hasVmnet, isGroup: groups.contains)
    }

    private func value(of option: String, in words: [String]) -> String? {
        words.firstIndex(of: option).map { words[$0 + 1] }
    }

    @Test func commandLineOfLimaIsAccepted() throws {
        let words = try words(
            "--pidfile=/private/var/run/lima/shared_socket_vmnet.pid", "--socket-group=everyone", "--vmnet-mode=shared",
            "--vmnet-gateway=192.168.105.1",
            "--vmnet-dhcp-end=192.168.105.254", "--vmnet-mask=255.255.255.0",
            "/private/var/run/lima/socket_vmnet.shared")
        #expect(
            words == [
                "join", "--stream", "/private/var/run/lima/socket_vmnet.shared", "--vmnet-mode", "shared",
                "--socket-group", "everyone", "--vde-mode", "0770", "--vmnet-gateway",
                "192.168.105.1", "--vmnet-dhcp-end", "192.168.105.254", "--vmnet-mask", "255.255.255.0", "--pidfile",
                "/private/var/run/lima/shared_socket_vmnet.pid",
            ])
    }

    @Test func commaOfSocketStaysPartOfItsPath() throws {
        #expect(try value(of: "--stream", in: words("/tmp/a,offload")) == "/tmp/a,,offload")
    }

    @Test func defaultsAreThoseOfSocketVMNet() throws {
        let shared = try words("/tmp/s")
        #expect(
            shared == [
                "join", "--stream", "/tmp/s", "--vmnet-mode", "shared", "--socket-group", "staff", "--vde-mode", "0770",
            ])
        #expect(try value(of: "--socket-group", in: words("/tmp/s", groups: [])) == nil, "where there is no such group")
        #expect(
            try value(of: "--socket-group", in: words("--socket-group", "nobodys", "/tmp/s", groups: [])) == "nobodys",
            "which is then refused by name")
        #expect(try value(of: "--vmnet-dhcp-end", in: words("--vmnet-gateway", "10.1.2.1", "/tmp/s")) == "10.1.2.254")
        #expect(
            try value(
                of: "--vmnet-dhcp-end",
                in: words("--vmnet-gateway", "10.1.2.1", "--vmnet-mask", "255.255.0.0", "/tmp/s")) == "10.1.2.254")
        #expect(
            try value(
                of: "--vmnet-dhcp-end",
                in: words("--vmnet-gateway", "10.1.2.1", "--vmnet-mask", "255.255.255.128", "/tmp/s")) == nil)
    }

    @Test func hostNetworkWithoutGatewayIsIsolated() throws {
        let random = try words("--vmnet-mode", "host", "/tmp/s", hasVmnet: true)
        #expect(
            value(of: "--dhcp", in: random) == "off" && value(of: "--vmnet-network-identifier", in: random)?.count == 36
        )
        let uuid = "01234567-89ab-cdef-0123-456789abcdef"
        #expect(
            try value(
                of: "--vmnet-network-identifier",
                in: words("--vmnet-mode=host", "--vmnet-network-identifier=\(uuid)", "/tmp/s", hasVmnet: true)) == uuid)
        #expect(
            try value(
                of: "--dhcp", in: words("--vmnet-mode=host", "--vmnet-network-identifier=", "/tmp/s", hasVmnet: true))
                == nil)
        let withGateway = try words(
            "--vmnet-mode=host", "--vmnet-gateway=10.1.2.1", "--vmnet-network-identifier=\(uuid)", "/tmp/s",
            hasVmnet: true)
        #expect(
            value(of: "--dhcp", in: withGateway) == nil
                && value(of: "--vmnet-network-identifier", in: withGateway) == nil)
        #expect(try value(of: "--dhcp", in: words("--vmnet-disable-dhcp", "/tmp/s")) == "off")
        #expect(
            try value(of: "--vmnet-network-identifier", in: words("--vmnet-mode=host", "/tmp/s")) == nil,
            "a TAP is a network of its own anyway")
    }

    @Test func optionsMayBeAbbreviated() throws {
        #expect(try value(of: "--vmnet-gateway", in: words("/tmp/s", "--vmnet-g=10.1.2.1", "-p/tmp/p")) == "10.1.2.1")
        #expect(try value(of: "--pidfile", in: words("/tmp/s", "-p/tmp/p")) == "/tmp/p")
        #expect(throws: (any Error).self) { try words("/tmp/s", "--vmnet=shared") }
    }

    @Test(arguments: [
        [], ["/a", "/b"], ["--vmnet-mode", "nat", "/a"], ["--vmnet-interface-id", "1", "/a"],
        ["--vmnet-network-identifier", "x", "/a"], ["--vmnet-gateway", "x", "/a"], ["--unknown", "/a"],
    ])
    func invalidOptionsAreRefused(arguments: [String]) {
        #expect(throws: (any Error).self) { try SocketVMNetAdapter.parse(SocketVMNetAdapter.normalized(arguments)) }
    }

    @Test func resultIsAcceptedByJoin() throws {
        let words = try words("--vmnet-gateway", "192.168.105.1", "--socket-group", "root", "/tmp/s")
        let join = try #require(try Root.parseAsRoot(words) as? Join)
        let configuration = try join.makeConfiguration()
        #expect(
            configuration.listeners.streams == ["/tmp/s"] && configuration.listeners.access.mode == 0o770
                && configuration.listeners.access.group == 0)
        guard case .server(let own) = configuration.role else {
            Issue.record("it is a switch")
            return
        }
        #expect(own.path == nil)
    }
}
