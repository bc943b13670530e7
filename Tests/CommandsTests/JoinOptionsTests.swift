// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import ControlProtocol
import NetworkConfiguration
import NetworkModel
import Sessions
import Platform
import Testing
import Uplink
import VDEPlug
import VDESwitch
import Wire
@testable import Commands

private func configuration(_ arguments: String...) throws -> Configuration {
    try Join.parse(arguments).makeConfiguration()
}

/// The message with which the command line is refused; nil if it is accepted.
private func refusal(_ arguments: String...) -> String? { refusal(arguments: arguments) }

private func refusal(arguments: [String]) -> String? {
    do {
        _ = try Join.parse(arguments)
        return nil
    } catch {
        return Join.message(for: error)
    }
}

@Suite struct JoinOptionsTests {
    @Test func workerCountIsParsed() throws {
        #expect(try configuration("/tmp/vde").workers == nil)
        #expect(try configuration("--workers", "1", "/tmp/vde").workers == 1)
        #expect(try configuration("--workers=16", "/tmp/vde").workers == 16)
        #expect(refusal("--workers", "0", "/tmp/vde")?.contains("--workers: 0 is not between 1 and 16") == true)
        #expect(refusal("--workers", "17", "/tmp/vde")?.contains("--workers: 17 is not between 1 and 16") == true)
        #expect(refusal("--workers", "many", "/tmp/vde") != nil)
    }

    @Test func originalCommandLineIsAccepted() throws {
        let configuration = try configuration(
            "--vde-group", "root", "--vmnet-mode=shared", "--vmnet-gateway=192.168.106.1",
            "--vmnet-dhcp-end=192.168.106.99", "--vmnet-mask=255.255.255.0",
            "--vmnet-interface-id=3f2504e0-4f89-11d3-9a0c-0305e82c3301", "-p", "/run/x.pid", "/tmp/vde")
        guard case .client(.switchDirectory(path: "/tmp/vde", port: 0)) = configuration.role else {
            Issue.record("\(configuration.role)")
            return
        }
        #expect(configuration.vdeGroup == 0)
        #expect(configuration.mode == .shared)
        #expect(configuration.network?.gateway.description == "192.168.106.1")
        #expect(configuration.network?.lastLease.description == "192.168.106.99")
        #expect(configuration.interfaceID?.count == 16)
        #expect(configuration.interfaceID?.first == 0x3f)
        #expect(configuration.pidfile == "/run/x.pid")
    }

    @Test func reservationsAreParsed() throws {
        let two = try configuration(
            "--dhcp-host", "52:54:00:00:00:01,192.168.9.7", "--dhcp-host", "52:54:00:00:00:02,192.168.9.8",
            "--vmnet-gateway", "192.168.9.1", "v")
        #expect(
            two.reservations.map(\.description) == ["52:54:00:00:00:01,192.168.9.7", "52:54:00:00:00:02,192.168.9.8"])
        #expect(refusal("--dhcp-host", "nonsense", "v")?.contains("--dhcp-host") == true)
        #expect(
            refusal(
                "--dhcp-host", "52:54:00:00:00:01,192.168.9.7", "--dhcp-host", "52:54:00:00:00:01,192.168.9.8", "v")?
                .contains("same guest") == true)
        #expect(
            refusal(
                "--dhcp-host", "52:54:00:00:00:01,192.168.9.7", "--dhcp-host", "52:54:00:00:00:02,192.168.9.7", "v")?
                .contains("same address") == true)
        #expect(
            refusal(
                "--dhcp-host", "52:54:00:00:00:01,192.168.9.7,web", "--dhcp-host",
                "52:54:00:00:00:02,192.168.9.8,WEB", "v")?
                .contains("same name") == true)
        for name in ["gateway", "a_b", "a.b", "*", ""] {
            #expect(
                refusal("--dhcp-host", "52:54:00:00:00:01,192.168.9.7,\(name)", "v")?.contains("--dhcp-host") == true)
        }
        #expect(
            refusal("--dhcp-host", "52:54:00:00:00:01,192.168.8.7", "--vmnet-gateway", "192.168.9.1", "v")?.contains(
                "not an address for guests") == true)
        #expect(
            refusal("--dhcp-host", "52:54:00:00:00:01,192.168.9.1", "--vmnet-gateway", "192.168.9.1", "v")?.contains(
                "is the gateway") == true)
        for other in [
            ["--dhcp", "off"], ["--dhcp", "system"], ["--vmnet-mode", "bridged", "--vmnet-interface", "eth0"],
        ] {
            #expect(
                refusal(arguments: ["--dhcp-host", "52:54:00:00:00:01,192.168.9.7", "v"] + other)?.contains(
                    "--dhcp-host does not go with") == true)
        }
        #expect(refusal("--uplink", "none", "--switch", "--dhcp-host", "52:54:00:00:00:01,192.168.9.7", "v") != nil)
    }

    @Test func domainIsParsed() throws {
        #expect(try configuration("v").domain?.description == "vm.internal")
        #expect(try configuration("--domain", "Lab.Example.", "v").domain?.description == "lab.example")
        #expect(try configuration("--domain", "off", "v").domain == nil)
        for domain in ["", "a_b", "x..y", "local", "*.x", "10.0.0.1", String(repeating: "a", count: 64)] {
            #expect(refusal("--domain", domain, "v")?.contains("--domain") == true, "\(domain)")
        }
        #expect(try configuration("v").hostDNS == .automatic)
        #expect(try configuration("--host-dns", "off", "v").hostDNS == .off)
        for address in ["127.0.0.9:5300", "[::1]:53"] {
            guard case .at(let found) = try configuration("--host-dns", address, "v").hostDNS else {
                Issue.record("\(address) was not taken")
                continue
            }
            #expect(found.description == address)
        }
        for address in ["192.0.2.1:53", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:70000", "::1:53", "[::2]:53", ":53", ""]
        {
            #expect(refusal("--host-dns", address, "v")?.contains("--host-dns") == true, "\(address)")
        }
        #expect(try configuration("--dns", "corp.example=192.0.2.1", "v").nameServers.count == 1)
        #expect(refusal("--dns", "corp.example=", "v")?.contains("--dns: 'corp.example=' has no server") == true)
        #expect(try configuration("--domain", "lab.example", "--egress", "deny", "v").egress.restrictsNames)
    }

    @Test func egressPolicyIsParsed() throws {
        let denying = try configuration(
            "--egress", "deny", "--allow", "203.0.113.0/24:443", "--allow", "[2001:db8::]/32", "v"
        ).egress
        #expect(
            denying.isDenying && denying.allowed.map(\.description) == ["203.0.113.0/24:443", "[2001:db8::]/32"]
                && !denying.opensHostLoopback)
        #expect(try configuration("--uplink", "user", "--host-loopback", "v").egress.opensHostLoopback)
        #expect(try configuration("v").egress == EgressPolicy())
        #expect(refusal("--allow", "203.0.113.0/24", "v")?.contains("--allow needs --egress deny") == true)
        #expect(refusal("--egress", "deny", "--allow", "nonsense", "v")?.contains("'nonsense' has one label") == true)
        #expect(
            refusal("--egress", "deny", "--vmnet-mode", "host", "v")?.contains(
                "--egress does not go with --vmnet-mode host") == true)
        #expect(refusal("--egress", "maybe", "v") != nil)
        for uplink in ["none", "vmnet"] {
            #expect(refusal("--switch", "--uplink", uplink, "--egress", "deny", "v") != nil)
        }
        #expect(
            refusal("--uplink", "tap", "--host-loopback", "v")?.contains(
                "--host-loopback does not go with --uplink tap") == true)
    }

    @Test func pidfileOptionMayBeJoined() throws {
        #expect(try configuration("-p/run/x.pid", "/tmp/vde").pidfile == "/run/x.pid")
        #expect(try configuration("--pidfile=/run/x.pid", "/tmp/vde").pidfile == "/run/x.pid")
    }

    @Test func missingArgumentsNameDefaultSwitch() throws {
        let configuration = try configuration()
        guard case .client(.defaultSwitch) = configuration.role else {
            Issue.record("\(configuration.role)")
            return
        }
        #expect(configuration.mode == .shared && configuration.network == nil && configuration.dhcp == .auto)
    }

    @Test func bridgedNeedsInterface() throws {
        #expect(refusal("--vmnet-mode", "bridged", "/tmp/vde")?.contains("--vmnet-interface") == true)
        #expect(refusal("--vmnet-mode", "bridged", "--vmnet-interface", "", "/tmp/vde") != nil)
        #expect(
            refusal(
                "--vmnet-mode", "bridged", "--vmnet-interface", "eth0", "--vmnet-gateway", "192.168.1.1", "/tmp/vde")?
                .contains("--vmnet-gateway") == true)
        #expect(refusal("--vmnet-interface", "eth0", "/tmp/vde")?.contains("bridged") == true)
        #expect(
            refusal("--vmnet-mode", "bridged", "--vmnet-interface", "eth0", "--dhcp", "builtin", "/tmp/vde")?.contains(
                "--dhcp") == true)
        #expect(
            try configuration("--vmnet-mode", "bridged", "--vmnet-interface", "eth0", "/tmp/vde").mode
                == .bridged(interface: "eth0"))
    }

    @Test func networkAddressesAreChecked() {
        #expect(refusal("--vmnet-dhcp-end", "192.168.1.9", "v")?.contains("needs --vmnet-gateway") == true)
        #expect(refusal("--vmnet-mask", "255.255.255.0", "v")?.contains("needs --vmnet-gateway") == true)
        #expect(refusal("--vmnet-gateway", "8.8.8.8", "v")?.contains("RFC 1918") == true)
        #expect(refusal("--vmnet-gateway", "169.254.1.1", "v")?.contains("RFC 1918") == true)
        #expect(
            refusal("--vmnet-gateway", "192.168.1.1", "--vmnet-mask", "255.0.0.0", "v")?.contains("RFC 1918") == true)
        #expect(refusal("--vmnet-gateway", "192.168.1.0", "v")?.contains("first") == true)
        #expect(refusal("--vmnet-gateway", "192.168.1.255", "v")?.contains("last") == true)
        #expect(refusal("--vmnet-gateway", "192.168.1.254", "v")?.contains("no address") == true)
        #expect(
            refusal("--vmnet-gateway", "192.168.1.1", "--vmnet-dhcp-end", "192.168.2.9", "v")?.contains(
                "192.168.1.0/24") == true)
        #expect(
            refusal("--vmnet-gateway", "192.168.1.9", "--vmnet-dhcp-end", "192.168.1.9", "v")?.contains("above") == true
        )
        #expect(
            refusal("--vmnet-gateway", "192.168.1.9", "--vmnet-dhcp-end", "192.168.1.5", "v")?.contains("above") == true
        )
        #expect(refusal("--vmnet-gateway", "192.168.1.1", "--vmnet-dhcp-end", "192.168.1.255", "v") != nil)
        #expect(
            refusal("--vmnet-gateway", "192.168.1.1", "--vmnet-mask", "255.0.255.0", "v")?.contains("--vmnet-mask")
                == true)
        #expect(
            refusal("--vmnet-gateway", "192.168.1.1", "--vmnet-mask", "255.255.255.254", "v")?.contains("--vmnet-mask")
                == true)
        #expect(refusal("--vmnet-gateway", "192.168.1", "v") != nil)
        #expect(
            refusal("--vmnet-gateway", "10.0.0.1", "--vmnet-mask", "255.0.0.0", "--vmnet-dhcp-end", "10.1.0.0", "v")
                == nil)
        #expect(refusal("--vmnet-gateway", "192.168.1.1", "--vmnet-mask", "255.255.255.252", "v") == nil)
    }

    @Test(arguments: [
        "x", "3f2504e0-4f89-11d3-9a0c-0305e82c330", "3f2504e04f8911d39a0c0305e82c3301",
        "3f2504e0-4f89-11d3-9a0c-0305e82c330g", "+f2504e0-4f89-11d3-9a0c-0305e82c3301",
    ])
    func interfaceIDsAreUUIDs(text: String) {
        #expect(refusal("--vmnet-interface-id", text, "v") != nil)
    }

    @Test func groupsAreResolved() {
        #expect(refusal("--vde-group", "no such group", "v")?.contains("no such group") == true)
        #expect(refusal("--vde-group", "0", "v") == nil)
    }

    @Test(arguments: ["", "a name", "a/b", "sixteen-letters-x", ".", "..", "a:b", "a\"b", "a%d"])
    func tapNamesAreInterfaceNames(name: String) {
        #expect(refusal("--tap-name", name, "v")?.contains("--tap-name") == true)
    }

    @Test func dhcpOffHasTwoNames() throws {
        #expect(try configuration("--vmnet-disable-dhcp", "v").dhcp == .off)
        #expect(try configuration("--vmnet-disable-dhcp", "--dhcp", "off", "v").dhcp == .off)
        #expect(
            refusal("--vmnet-disable-dhcp", "--dhcp", "builtin", "v")?.contains(
                "--vmnet-disable-dhcp does not go with --dhcp") == true)
        #expect(refusal("--dhcp", "maybe", "v") != nil)
    }

    @Test func locatorsAreChecked() {
        #expect(refusal("/tmp/vde[x]")?.contains("port") == true)
        #expect(refusal("tap://x") != nil)
        #expect(refusal("a", "b") != nil)
        #expect(refusal("--no-such-option", "a") != nil)
        #expect(refusal("--state-dir", "", "a") != nil)
        #expect(refusal("--pidfile", "", "a") != nil)
    }

    @Test func switchOptionsAreParsed() throws {
        let configuration = try configuration(
            "--switch", "--vde-mode", "0660", "--vde-dirmode", "2775", "--mgmt", "m", "--mgmtmode", "660", "--rcfile",
            "rc", "--vmnet-isolation", "--vmnet-mtu", "9000", "/tmp/vde")
        guard case .server(let own) = configuration.role else {
            Issue.record("\(configuration.role)")
            return
        }
        #expect(own.path == "/tmp/vde" && own.access.mode == 0o660 && own.access.directoryMode == 0o2775)
        #expect(
            own.console?.mode == 0o660 && own.console?.path.hasSuffix("/m") == true
                && own.console?.path.hasPrefix("/") == true)
        #expect(configuration.isIsolating && configuration.mtu == 9000 && configuration.uplink == .auto)
        #expect(refusal("--switch", "/tmp/vde[3]")?.contains("without a port") == true)
        #expect(refusal("--switch", "ptp:///tmp/vde") != nil)
        #expect(refusal("--switch") == nil)
        #expect(refusal("--switch", "--mgmtmode", "0600", "v")?.contains("needs --mgmt") == true)
        for mode in ["", "8", "0x1", "17777", "rw"] { #expect(refusal("--switch", "--vde-mode", mode, "v") != nil) }
    }

    @Test(arguments: [
        ["--vde-mode", "0600"], ["--vde-dirmode", "0700"], ["--mgmt", "m"], ["--mgmt", "m", "--mgmtmode", "0600"],
        ["--rcfile", "f"], ["--vmnet-isolation"], ["--trunk", "3"], ["--uplink", "none"],
    ])
    func whatIsAboutASwitchNeedsOne(options: [String]) {
        let message = refusal(arguments: options + ["v"])
        #expect(message?.contains(options[0]) == true && message?.contains("--switch") == true)
    }

    @Test(arguments: [
        ["--vmnet-mode", "host"], ["--vmnet-gateway", "10.0.0.1"], ["--vmnet-mtu", "9000"],
        ["--trunk", "3"], ["--dhcp", "builtin"], ["--tap-name", "t"],
        ["--vmnet-interface-id", "3f2504e0-4f89-11d3-9a0c-0305e82c3301"],
    ])
    func withoutAWayOutThereIsNothingAboutIt(options: [String]) {
        #expect(
            refusal(arguments: ["--switch", "--uplink", "none"] + options + ["v"])?.contains("--uplink none") == true)
        #expect(refusal("--switch", "--uplink", "none", "--dhcp", "off", "v") == nil)
        #expect(refusal("--switch", "--uplink", "none", "--vmnet-isolation", "v") == nil)
    }

    @Test func trunksMustBePorts() throws {
        guard case .server(let own) = try configuration("--switch", "--trunk", "3", "--trunk", "7", "/tmp/vde").role
        else {
            Issue.record("no switch")
            return
        }
        #expect(own.trunks == [3, 7])
        for port in ["-1", "1001", "x"] { #expect(refusal("--switch", "--trunk", port, "v") != nil) }
    }

    @Test func mtuIsBounded() {
        for mtu in ["575", "65522", "-1", "x"] { #expect(refusal("--vmnet-mtu", mtu, "v") != nil) }
        #expect(
            refusal("--vmnet-mtu", "9000", "--vmnet-mode", "bridged", "--vmnet-interface", "eth0", "v")?.contains(
                "bridged") == true)
    }

    @Test func interfaceIDIsParsed() throws {
        let gateway = IPv4Address("192.168.105.1")!
        #expect(
            try configuration("v").uplinkOptions.hardwareAddress(gateway: gateway)
                == configuration("w").uplinkOptions.hardwareAddress(gateway: gateway))
        #expect(
            try configuration("v").uplinkOptions.hardwareAddress(gateway: gateway)
                != configuration("v").uplinkOptions.hardwareAddress(gateway: IPv4Address("192.168.106.1")!))
        let id = "3f2504e0-4f89-11d3-9a0c-0305e82c3301"
        #expect(
            try configuration("--vmnet-interface-id", id, "v").uplinkOptions.hardwareAddress(gateway: gateway)
                != configuration("v").uplinkOptions.hardwareAddress(gateway: gateway))
    }

    @Test func helpListsAllOptions() {
        for option in [
            "--vde-group", "--vmnet-mode", "--vmnet-interface", "--vmnet-gateway", "--vmnet-dhcp-end", "--vmnet-mask",
            "--vmnet-interface-id", "--pidfile", "check",
        ] {
            #expect(Root.help.contains(option), "\(option)")
        }
    }
}

@Suite struct JSONTests {
    @Test func valuesFollowRFC8259() {
        let value = JSON.object([
            ("a", .string("q\"b\\s\nn\u{1}\u{7f}é")), ("b", .array([.integer(-1), .bool(true), .null])),
            ("c", .number(1.5)), ("d", .number(.infinity)),
        ])
        #expect(value.text == #"{"a":"q\"b\\s\nn\u0001\u007fé","b":[-1,true,null],"c":1.5,"d":null}"#)
    }

    @Test func offloadIsOfOneListener() throws {
        let listeners = try configuration(
            "--stream", "/tmp/s,offload", "--stream", "/tmp/t", "--dgram", "/tmp/a,,b,offload"
        ).listeners
        #expect(listeners.streams == ["/tmp/s", "/tmp/t"] && listeners.datagrams == ["/tmp/a,b"])
        #expect(listeners.offloadedPaths == ["/tmp/s", "/tmp/a,b"])
        #expect(refusal("--stream", "/tmp/s,fast")?.contains("'fast' is unknown") == true)
        #expect(refusal("--stream", "/tmp/s,offload", "--dgram", "/tmp/s")?.contains("given twice") == true)
    }

    @Test func allowedServersAreParsed() throws {
        #expect(try configuration("--switch").allowedServers.isEmpty)
        let servers = try configuration(
            "--switch", "--allow-server", "3", "--allow-server", "52:54:00:00:00:66", "/tmp/vde"
        ).allowedServers
        #expect(servers == [.port(3), .hardware(MACAddress(0x5254_0000_0066))])
        #expect(try configuration("--stream", "/tmp/s", "--allow-server=0").allowedServers == [.port(0)])
        for wrong in ["-1", "1024", "x", "", "01:00:5e:00:00:01", "00:00:00:00:00:00", "192.168.105.3", "+3"] {
            #expect(refusal("--switch", "--allow-server=" + wrong) != nil, "\(wrong)")
        }
        #expect(refusal("/tmp/vde", "--allow-server", "3")?.contains("vde_vmnet's own switch") == true)
        #expect(refusal("--switch", "--uplink", "none", "--allow-server", "3")?.contains("--uplink none") == true)
        #expect(
            refusal("--switch", "--vmnet-mode", "bridged", "--vmnet-interface", "br0", "--allow-server", "3")?.contains(
                "--vmnet-mode bridged") == true)
        #expect(refusal("--switch", "--vmnet-isolation", "--allow-server", "3")?.contains("--vmnet-isolation") == true)
        #expect(
            refusal(arguments: ["--switch"] + (0..<17).flatMap { ["--allow-server", "\($0)"] })?.contains(
                "16 times at most") == true)
    }
}

@Suite struct JournalTests {
    /// systemd's description of the native protocol: NAME, line end, length in eight bytes, value, line end.
    @Test func messageWithLineEndsIsOneField() {
        let bytes = JournalSocket.datagram("a\nPRIORITY=0", priority: 4)
        let text = String(decoding: bytes, as: UTF8.self)
        #expect(text.hasPrefix("PRIORITY=4\nSYSLOG_IDENTIFIER=vde_vmnet\n"))
        #expect(text.hasSuffix("MESSAGE\n\u{c}\0\0\0\0\0\0\0a\nPRIORITY=0\n"))
    }
}
