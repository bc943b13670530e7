// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Timing
import VDEPlug
import Wire

/// New DHCP clients by `perfdhcp` of Kea, on 20 ports of a /16.
struct DHCPRows {
    let report: Report
    let scale: Scale

    private static let program = "/usr/sbin/perfdhcp"
    /// `perfdhcp` is a relay agent (RFC 2131 section 4.1) at one address, and sends to the other, `RelayShim`.
    static let agent = "127.0.0.2", shim = "127.0.0.1"

    func run() throws {
        report.progress("new DHCP clients by perfdhcp")
        let what = "1000 new DHCP clients a second for 10 s, 20 ports, a /16"
        for uplink in ["tap", "user"] {
            let host = try Namespace("dhcp"), folder = try TemporaryFolder()
            try host.ip("addr", "add", DHCPRows.agent + "/8", "dev", "lo")
            let path = folder.file("vde")
            let daemon = try VMNetDaemon(
                in: host,
                [
                    "--switch", "--uplink", uplink, "--dhcp", "builtin", "--vmnet-gateway", "172.20.0.1",
                    "--vmnet-mask", "255.255.0.0", path,
                ], folder: folder, level: "warning")
            let shim = try host.start([try Files.realPath("/proc/self/exe"), "relay-shim", path])
            try shim.wait(for: "ready", within: 10)
            let result = try host.attempt([
                DHCPRows.program, "-4", "-l", DHCPRows.agent, "-r", "1000", "-R", "60000", "-p",
                "\(max(1, Int(10 * scale.seconds)))", "-W", "2000000", DHCPRows.shim,
            ])
            let who = "\(Report.ours) --uplink \(uplink)"
            var lost = 0.0, sent = 0.0
            for line in result.output.split(separator: "\n") {
                let words = line.split(separator: " ")
                guard let last = words.last.flatMap({ Double($0) }) else { continue }
                if line.hasPrefix("drops:") { lost += last }
                if line.hasPrefix("sent packets:") { sent += last }
            }
            guard sent > 0 else { throw CommandFailed(description: "perfdhcp: \(result.output)\(result.error)") }
            report.add(what, "messages", who, sent)
            report.add(what, "lost", who, lost)
            shim.kill()
            _ = try daemon.stop()
        }
        report.want(what, "lost", .atMost(0))
    }
}

/// Makes guests of the clients of a relay agent: each client's messages go to one of 20 ports of a switch, as frames
/// from the client's own hardware address.
final class RelayShim {
    private static let portCount = 20
    private let agentSocket: Descriptor
    private let poller: Poller
    private var ports: [Box<Plug>] = []
    private let agent = IPv4Address(DHCPRows.agent)!

    /// Runs until it is killed.
    /// - Parameter path: the switch.
    static func run(path: String) throws -> Never {
        let shim = try RelayShim(path: path)
        StandardOutput.writeIfPossible("ready\n")
        while true {
            let count = shim.poller.wait(timeout: nil)
            for index in 0..<count {
                let port = Int(shim.poller.event(index).token)
                // As many as there are; then the poller again.
                while port == portCount ? shim.forwardToSwitch() : shim.forwardToAgent(port) {}
            }
        }
    }

    private init(path: String) throws {
        agentSocket = try Socket.udp()
        poller = try Poller()
        agentSocket.setBuffers(send: 4 << 20, receive: 4 << 20)
        try agentSocket.bind(to: SocketAddress(IPv4Address(DHCPRows.shim)!, port: DHCPPort.server))
        agentSocket.setNonBlocking()
        try poller.add(agentSocket.raw, token: UInt64(RelayShim.portCount), for: .readable)
        for number in 0..<RelayShim.portCount {
            let plug = try Plug.join(
                path: path, port: 0, options: PlugOptions(description: "clients \(number)"),
                deadline: BootClock.now + .seconds(5))
            plug.data.setNonBlocking()
            plug.data.setBuffers(send: 1 << 20, receive: 4 << 20)
            try poller.add(plug.data.raw, token: UInt64(number), for: .readable)
            ports.append(Box(plug))
        }
    }

    private static func port(of client: MACAddress) -> Int { Int(client.value & 0xffff) % portCount }

    /// Forwards a message of the agent as a client's broadcast. Returns false if there was none.
    private func forwardToSwitch() -> Bool {
        guard var message = try? agentSocket.receiveFrom(limit: 2048).bytes, message.count > 240 else { return false }
        let relay = DHCPv4Message.Field.relay
        message.replaceSubrange(relay..<relay + agent.bytes.count, with: IPv4Address.any.bytes)
        let client = MACAddress(message.rawSpan, at: DHCPv4Message.Field.clientHardware)
        let frame = UDPFrame(
            from: (client, .any, DHCPPort.client), to: (.broadcast, .broadcast, DHCPPort.server)
        ).bytes(payload: message)
        let number = RelayShim.port(of: client)
        while (try? ports[number].value.data.send(frame)) == nil {
            _ = ports[number].value.data.wait(for: .writable, until: BootClock.now + .milliseconds(1))
        }
        return true
    }

    /// Forwards a server's message for a client of this port to the agent. Returns false if there was no frame.
    private func forwardToAgent(_ port: Int) -> Bool {
        guard let frame = try? ports[port].value.data.receive(limit: 2048), !frame.isEmpty else { return false }
        // The switch floods frames for clients that its address table has no room for.
        guard RelayShim.port(of: MACAddress(frame.rawSpan, at: 0)) == port,
            let message = RelayShim.dhcpMessage(in: frame)
        else { return true }
        let addressed =
            message.prefix(DHCPv4Message.Field.relay) + agent.bytes
            + message.dropFirst(DHCPv4Message.Field.relay + agent.bytes.count)
        try? agentSocket.send(Array(addressed), to: SocketAddress(agent, port: DHCPPort.server))
        return true
    }

    private static func dhcpMessage(in frame: [UInt8]) -> [UInt8]? {
        let bytes = frame.rawSpan
        guard let ethernet = try? EthernetView(bytes), ethernet.type == EtherType.ipv4,
            let ip = try? IPv4View(ethernet.payload), ip.protocolNumber == IPProtocol.udp,
            let udp = try? UDPView(ip.payload), udp.destinationPort == DHCPPort.client
        else { return nil }
        let payload = udp.payload
        return (0..<payload.byteCount).map { payload.byte(at: $0) }
    }
}
