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

/// The gateway's port 53 without a socket on it: the forwarder takes guests' UDP questions as frames, and terminates
/// their TCP connections here. This works the same for a TAP and the user-mode NAT, leaves port 53 of the host to the
/// host, and gives the switch port that a question came in by.
package final class DNSGateway {
    /// Questions that are dealt with before others on this thread have their turn.
    private static let burst = 64
    /// Relays that a forwarder that does not respond may still be using.
    private static let abandoned = Mutex<[NameRelay]>([])

    private let guests: GuestNetwork
    /// Of the gateway.
    private let hardware: MACAddress
    /// Each port of the switch leads to one guest, as far as is known.
    private let knowsPorts: Bool
    private let mtu: Int
    private let server: DNSProxy
    private let loop: ControlLoop
    private let control: SwitchControl
    private let logger: Logger
    /// Carries guests' TCP connections to this thread.
    package let inlet: NameInlet
    /// Terminates them if the uplink does not.
    private var relay: NameRelay?
    private var port: PortNumber?

    /// - Parameters:
    ///   - knowsPorts: the switch is ours, so that a port tells guests apart better than an address that they choose.
    ///   - descriptors: how many it may open.
    package init(
        _ guests: GuestNetwork, hardware: MACAddress, mtu: Int, knowsPorts: Bool, resolvers: Resolvers,
        descriptors: Int,
        loop: ControlLoop, control: SwitchControl, logger: Logger
    ) throws(ExitError) {
        self.guests = guests
        self.hardware = hardware
        self.mtu = mtu
        self.knowsPorts = knowsPorts
        self.loop = loop
        self.control = control
        self.logger = logger
        inlet = try orUnavailable(NameInlet.init)
        server = DNSProxy(resolvers: resolvers, descriptors: descriptors, loop: loop, logger: logger)
        server.onReply = { [unowned self] in answer($0, to: $1) }
        try orUnavailable { () throws(SystemError) in
            try loop.watch(inlet.notification.descriptor.raw) { [unowned self] _ in takeConnections() }
        }
    }

    /// Starts taking guests' questions.
    /// - Parameter endsStreams: the uplink does not terminate TCP, so it is terminated here.
    package func open(endsStreams: Bool) throws(ExitError) {
        if endsStreams { try orUnavailable { () throws(SystemError) in try openRelay() } }
        control.setNames(NameService(address: guests.gateway, hardware: hardware, streams: port))
    }

    private func openRelay() throws(SystemError) {
        let worker = DeviceWorker(control)
        let made = try NameRelay(
            guests, hardware: hardware, mtu: mtu, limit: server.streamLimit, names: inlet, to: worker
        )
        var configuration = PortConfiguration(
            name: "names by TCP", kind: .device, role: .service, descriptor: try made.readyDescriptor().release(),
            maximumFrame: FrameLimits.link(mtu: mtu),
            receivesUnknown: false)
        configuration.device = made.device
        configuration.worker = worker
        relay = made
        self.port = control.attach(configuration)
        if self.port == nil {
            _ = Descriptor(adopting: configuration.descriptor)
            logger.warning("no port is left for names by TCP; guests resolve names by UDP only")
        }
    }

    // MARK: Questions

    /// Handles the questions that guests have sent since the last call, up to a bound.
    package func receive() {
        for _ in 0..<DNSGateway.burst {
            guard let (frame, port) = control.takeQuestion() else { return }
            take(frame, port)
        }
        control.notification.signal()
    }

    private func take(_ frame: [UInt8], _ port: PortNumber) {
        guard let ethernet = try? EthernetView(frame.rawSpan), let packet = try? IPv4View(ethernet.payload),
            packet.hasValidChecksum,
            let datagram = try? UDPView(packet.payload), datagram.sourcePort > 0,
            datagram.hasValidChecksum(source: packet.source, destination: packet.destination)
        else { return }
        let source = packet.source, network = guests.network
        guard network.contains(source), source != guests.gateway, source != network.base,
            source != network.broadcast
        else { return }
        let asker = DNSDatagramClient(hardware: ethernet.source, address: source, port: datagram.sourcePort)
        server.receive(datagram.payload.copied(), from: asker, of: DNSGuest(port: port, address: source))
    }

    private func answer(_ message: [UInt8], to asker: DNSDatagramClient) {
        let fits = message.count + 42 <= FrameRing.slotCapacity && message.count + 28 <= mtu
        guard let whole = fits ? message : DNSMessage.truncated(message) else { return }
        let frame = UDPFrame(
            from: (hardware, guests.gateway, NameService.port),
            to: (asker.hardware, asker.address, asker.port))
        control.sendAnswer(frame.bytes(payload: whole))
    }

    private func takeConnections() {
        inlet.notification.drain()
        while let arrival = inlet.take() {
            let guest = DNSGuest(port: control.port(ofCaller: arrival.guest), address: arrival.guest)
            server.streams.take(in: arrival.release(), of: guest)
        }
    }

    /// Notes new leases: a leased address counts for its holder only.
    package func note(_ leases: [(address: IPv4Address, hardware: MACAddress, expires: Instant)]) {
        relay?.note(leases.map { ($0.address, $0.hardware, UInt64(bitPattern: $0.expires.nanoseconds)) })
    }

    /// Stops taking questions.
    /// - Parameter isForwarding: the forwarder has started, so it may be using the relay.
    package func close(isForwarding: Bool) {
        control.setNames(nil)
        loop.unwatch(inlet.notification.descriptor.raw)
        guard let relay else { return }
        if let port { control.detach(port) }
        if isForwarding && !control.settle() { DNSGateway.abandoned.withLock { $0.append(relay) } }
    }
}
