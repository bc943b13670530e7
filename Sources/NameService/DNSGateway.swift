// SPDX-License-Identifier: Apache-2.0
import EventLoop
import FrameIO
import Lifecycle
import Logging
import NetworkModel
import Platform
import Switching
import Timing
import UserUplink
import Wire

/// The gateway's port 53, without a socket on it.
///
/// # Theory of operation
///
///     guest --UDP--> switch --frame--> DNSGateway --query--> DNSProxy --> DNSForwarder
///     guest --TCP--> NAT --socket pair--> DNSConnectionQueue --> DNSOverTCPProxy --query--> DNSProxy
///     DNSProxy <-- LocalNames: guests' names and /etc/hosts
///     DNSProxy --UDP or TCP--> the host's resolvers
///
/// The switch diverts UDP datagrams to the gateway's port 53 to this object (`SwitchControl.removeNameQuery`). TCP
/// connections to it are terminated by the user-mode NAT if that is the uplink, else by a `DNSTCPTerminator`, which is
/// the same code as a port of the switch; they arrive as the end of a socket pair. So DNS works the same for a TAP and
/// the user-mode NAT, port 53 of the host stays free, and the switch port of each query is known, which a guest cannot
/// choose (`GuestShares`).
///
/// All of it runs on the control thread, which never waits for a resolver. Only `DNSTCPTerminator` and
/// `DNSConnectionQueue` are shared with the switch's workers. What becomes of a query is in `DNSQueryClassifier`,
/// `LocalNames` and `DNSForwarder`, in this order.
package final class DNSGateway {
    /// Queries that are handled before other work of this thread.
    private static let burst = 64
    /// Relays that workers which do not respond may still be using; they are never freed.
    private static let unreleased = Mutex<[DNSTCPTerminator]>([])

    private let guests: GuestNetwork
    /// The guests' IPv6 network, whose gateway answers as well; nil for none.
    private let network6: IPv6Network?
    /// The gateway's hardware address.
    private let hardware: MACAddress
    private let mtu: Int
    private let proxy: DNSProxy
    /// Names that the proxy answers by itself.
    package let names: LocalNames
    /// What guests may resolve.
    package let policy: NamePolicy
    private let loop: ControlLoop
    private let control: SwitchControl
    private let logger: Logger
    /// Passes TCP connections of guests to this thread.
    package let inlet: DNSConnectionQueue
    /// Terminates TCP connections if the uplink does not.
    private var relay: DNSTCPTerminator?
    /// The relay's port.
    private var port: PortNumber?

    /// - Parameters:
    ///   - network6: the guests' IPv6 network, if its gateway answers as well.
    ///   - hardware: the gateway's hardware address.
    ///   - mtu: bytes of the longest packet for guests.
    ///   - names: what is not forwarded to the resolvers.
    ///   - cachesNames: whether responses of resolvers are kept for as long as they may be.
    ///   - egress: the names that guests may resolve.
    ///   - descriptors: how many descriptors the name service may open.
    ///   - outbound: the outbound path to the servers that the user has chosen; nil: the system's routes.
    /// - Throws: `unavailable` without a free descriptor.
    package init(
        _ guests: GuestNetwork, _ network6: IPv6Network?, hardware: MACAddress, mtu: Int, resolvers: Resolvers,
        names: LocalNames, cachesNames: Bool, egress: EgressPolicy, descriptors: Int, outbound: Outbound? = nil,
        loop: ControlLoop, control: SwitchControl, logger: Logger
    ) throws(ExitError) {
        self.guests = guests
        self.network6 = network6
        self.hardware = hardware
        self.mtu = mtu
        self.loop = loop
        self.control = control
        self.logger = logger
        self.names = names
        policy = NamePolicy(egress, logger: logger)
        inlet = try orUnavailable(DNSConnectionQueue.init)
        proxy = DNSProxy(
            resolvers: resolvers, names: names, policy: policy, cachesNames: cachesNames, descriptors: descriptors,
            outbound: outbound, loop: loop, logger: logger)
        proxy.onReply = { [unowned self] in reply($0, to: $1) }
        proxy.onRepliesEnd = { [unowned self] in wake() }
        try orUnavailable { () throws(SystemError) in
            try loop.watch(inlet.notification.descriptor.raw) { [unowned self] _ in acceptConnections() }
        }
    }

    /// The servers that guests' queries go to now, and those of single domains as `DOMAIN=ADDRESS:PORT`.
    package var servers: (all: [SocketAddress], ofDomains: [String]) { proxy.servers }

    /// Starts to serve guests.
    /// - Parameter terminatesTCP: false if the uplink terminates TCP connections.
    package func open(terminatesTCP: Bool) throws(ExitError) {
        if terminatesTCP { try orUnavailable { () throws(SystemError) in try openRelay() } }
        control.setNameService(service)
    }

    private var service: NameService {
        NameService(
            address: guests.gateway, address6: network6?.gateway ?? .unspecified, hardware: hardware, streams: port)
    }

    private func openRelay() throws(SystemError) {
        let injector = InjectionPort(control)
        let made = try DNSTCPTerminator(
            guests, network6, hardware: hardware, mtu: mtu, limit: proxy.connectionLimit, queue: inlet, to: injector
        )
        var configuration = PortConfiguration(
            name: "names over TCP", kind: .device, role: .service, descriptor: try made.readyDescriptor().release(),
            maximumFrame: FrameLimits.link(mtu: mtu),
            receivesUnknown: false)
        configuration.device = FrameDevice(made)
        configuration.injector = injector
        relay = made
        self.port = control.attach(configuration)
        if self.port == nil {
            _ = Descriptor(adopting: configuration.descriptor)
            logger.warning("no switch port is free for DNS over TCP; guests resolve names over UDP only")
        }
    }

    // MARK: Queries

    /// Handles the queries that guests have sent since the last call, up to a bound.
    package func receive() {
        defer { proxy.endEvent() }
        for _ in 0..<DNSGateway.burst {
            guard let (frame, port) = control.removeNameQuery() else { return }
            receive(frame, from: port)
        }
        control.notification.signal()
    }

    private func receive(_ frame: [UInt8], from port: PortNumber) {
        guard let ethernet = try? EthernetView(frame.rawSpan) else { return }
        if ethernet.type == EtherType.ipv6 { return receive6(ethernet, from: port) }
        guard let packet = try? IPv4View(ethernet.payload), packet.hasValidChecksum,
            let datagram = try? UDPView(packet.payload), datagram.sourcePort > 0,
            datagram.hasValidChecksum(source: packet.source, destination: packet.destination)
        else { return }
        let source = packet.source, network = guests.network
        guard network.contains(source), source != guests.gateway, source != network.base,
            source != network.broadcast
        else { return }
        let client = DNSDatagramClient(
            hardware: ethernet.source, address: IPv6Address(embedding: source), port: datagram.sourcePort)
        proxy.receive(datagram.payload.copied(), from: client, of: DNSGuest(port: port, address: source))
    }

    private func receive6(_ ethernet: borrowing EthernetView, from port: PortNumber) {
        guard let network6, let packet = try? IPv6View(ethernet.payload), packet.nextHeader == IPProtocol.udp,
            let datagram = try? UDPView(packet.payload), datagram.sourcePort > 0,
            datagram.bytes.byteCount == packet.payload.byteCount, datagram.hasValidChecksum(packet.pseudoHeader)
        else { return }
        let source = packet.source
        guard network6.contains(source), source != network6.gateway else { return }
        let client = DNSDatagramClient(hardware: ethernet.source, address: source, port: datagram.sourcePort)
        proxy.receive(datagram.payload.copied(), from: client, of: DNSGuest(port: port, address: source))
    }

    /// Replies are in the ring, and the worker was not woken since.
    private var hasReplies = false

    private func wake() {
        guard hasReplies else { return }
        hasReplies = false
        control.wakeForNameReplies()
    }

    private func reply(_ message: [UInt8], to client: DNSDatagramClient) {
        hasReplies = true
        if client.address.high != 0 {
            replyByIPv6(message, to: client)
        } else {
            replyByIPv4(message, to: client)
        }
    }

    private func replyByIPv4(_ message: [UInt8], to client: DNSDatagramClient) {
        let fits = message.count <= IPv4Header.maximumPacket - IPv4Header.length - UDPHeader.length
        guard let whole = fits ? message : DNSMessage.truncated(message) else { return }
        let address = IPv4Address(UInt32(truncatingIfNeeded: client.address.low))
        var frame = UDPFrame(
            from: (hardware, guests.gateway, NameService.port), to: (client.hardware, address, client.port))
        if UDPFrame.headerLength + whole.count <= longestFrame {
            control.sendNameReply(frame.bytes(payload: whole))
        } else {
            // The guest has announced that it takes datagrams of this length (RFC 6891 section 6.2.3).
            frame.ip.dontFragment = false
            frame.ip.identification = Random.value()
            let bytes = frame.bytes(payload: whole)
            guard var fragmenter = Fragmenter(bytes.rawSpan, limit: longestFrame) else { return }
            sendFragments { fragmenter.next(bytes.rawSpan, into: &$0) }
        }
    }

    private func replyByIPv6(_ message: [UInt8], to client: DNSDatagramClient) {
        guard let network6 else { return }
        let fits = message.count <= IPv6Header.maximumPayload - UDPHeader.length
        guard let whole = fits ? message : DNSMessage.truncated(message) else { return }
        let header = IPv6Header(source: network6.gateway, destination: client.address, nextHeader: IPProtocol.udp)
        let bytes = UDPFrame.bytes(
            header, from: (hardware, NameService.port), to: (client.hardware, client.port), payload: whole)
        if bytes.count <= longestFrame {
            control.sendNameReply(bytes)
        } else {
            guard var fragmenter = IPv6Fragmenter(bytes.rawSpan, limit: longestFrame, identification: Random.value())
            else { return }
            sendFragments { fragmenter.next(bytes.rawSpan, into: &$0) }
        }
    }

    /// Bytes of the longest frame with a reply, or with a fragment of one.
    private var longestFrame: Int { min(ServiceFrameRing.maximumFrameLength, EthernetHeader.length + mtu) }

    /// Sends the fragments that `next` writes, until it returns nil.
    private func sendFragments(_ next: (inout MutableRawSpan) -> Int?) {
        var target = [UInt8](repeating: 0, count: longestFrame)
        while let length = target.withMutableRawSpan(next) {
            control.sendNameReply(Array(target[..<length]))
        }
    }

    private func acceptConnections() {
        inlet.notification.drain()
        while let arrival = inlet.take() {
            let guest = DNSGuest(port: control.port(ofCaller: arrival.guest), address: arrival.guest)
            let hardware = arrival.hardware
            proxy.connections.accept(arrival.release(), of: guest, at: hardware)
        }
    }

    /// Passes leases to the relay: a leased address can be used by its holder only.
    package func note(_ leases: [(address: IPv4Address, hardware: MACAddress, expires: Instant)]) {
        relay?.note(leases.map { ($0.address, $0.hardware, $0.expires) })
    }

    /// Stops to serve guests.
    /// - Parameter isForwarding: workers run, so they may be using the relay.
    package func close(isForwarding: Bool) {
        control.setNameService(nil)
        loop.unwatch(inlet.notification.descriptor.raw)
        guard let relay else { return }
        if let port { control.detach(port) }
        if isForwarding && !control.barrier() { DNSGateway.unreleased.withLock { $0.append(relay) } }
    }
}
