// SPDX-License-Identifier: Apache-2.0
import Atomics
import FrameIO
import NetworkModel
import Platform
import Timing
import Wire

// Theory of operation
// ===================
//
//     switch ------> inbox -------> NATGateway ----> TCPRelay -------> sockets         TCP
//            <---- GuestOutput <-------- | <------------ |
//                                        +---------> DatagramRelay --> sockets         UDP, pings
//
// Towards the switch, the NAT is a device without its own descriptor. The forwarding workers append frames to
// `inbox` and poll the device: after frames were sent to it, when one of its sockets is ready, and when a deadline
// has passed. A poll does a bounded amount of work, under the NAT lock. A worker that finds the lock taken does not
// wait, unless many frames do (PollLock). Frames in both directions have a virtio header; TCP comes and goes in GSO
// frames.
//
// The control thread changes the NAT under the same lock, and has a worker poll afterwards (`wakeup`).
//
//     thread              may block in                     locks
//     forwarding worker   the NAT lock, if frames wait     switch (shared), then NAT lock
//     control thread      the NAT lock, during a poll      switch (shared), then NAT lock
//
// Beside this file: Gateway/ (addresses and policy), TCP/ (connections), Datagrams/ (UDP, pings), DNS/ (TCP to the DNS
// proxy).

/// The user-mode NAT: terminates TCP, and relays UDP and pings.
package final class UserNAT: PolledDevice, @unchecked Sendable {
    /// Bytes of guests' frames that wait for the next poll: enough for the windows of many connections.
    private static let guestCapacity = 8 << 20
    /// Frames handled in one poll, each of which may open a connection. The worker polls again while more wait.
    static let framesPerPoll = 64
    /// The longest time between two polls while buffers have memory.
    private static let trimInterval = TimeAmount.seconds(10)

    /// Filled by workers that send to the port, emptied under the lock.
    package let inbox = SPSCFrameRing(capacity: UserNAT.guestCapacity)
    let sink: any FrameInjector
    package var coalescesSegments: Bool { true }
    /// Has a worker poll.
    private let wakeup: Wakeup
    /// The gateway's hardware address.
    let hardware: MACAddress
    /// The gateway's IPv6 addresses; none without IPv6.
    package let gatewayIPv6: [IPv6Address]
    /// TCP connections, retransmissions so far, and UDP ports with clients of published ones, as of the last poll.
    private let connections = ManagedAtomic<Int>(0)
    private let retransmissions = ManagedAtomic<Int>(0)
    private let udpFlows = ManagedAtomic<Int>(0)
    let drops = Mutex([Int](repeating: 0, count: NATDropReason.allCases.count))

    /// Frames that the policy has refused, for the control thread.
    package let refusals = RefusalLog()
    /// For the control thread.
    let notices: NATNotices

    /// The NAT lock. Taken after the switch's shared lock.
    let pollLock = PollLock()
    // Protected by the NAT lock.
    private let output: GuestOutput
    var gateway: NATGateway
    let relay: TCPRelay
    let datagrams: DatagramRelay
    /// When the last poll began.
    private var now = Instant.distantPast

    /// Publishes ports. Frames move when the device is polled.
    /// - Parameters:
    ///   - dnsQueue: takes guests' TCP connections to the DNS proxy.
    ///   - sink: where frames for guests go.
    package init(
        _ options: NATGateway.Options, publishing published: [PublishedPort], dnsQueue: DNSConnectionQueue? = nil,
        to sink: any FrameInjector
    ) throws(UserNATError) {
        self.sink = sink
        output = GuestOutput(to: sink, mtu: options.mtu)
        gateway = NATGateway(options)
        gateway.locate = { sink.origin(of: $0) }
        hardware = options.hardware
        gatewayIPv6 = options.prefix.map { [options.linkLocal, IPv6Address($0, options.interfaceID)] } ?? []
        do throws(SystemError) {
            relay = try TCPRelay(options, dnsQueue: dnsQueue, to: output)
            datagrams = try DatagramRelay(options, to: output)
            wakeup = try Wakeup()
            try relay.watch(datagrams.descriptor)
            try relay.watch(wakeup.descriptor)
            notices = try NATNotices()
        } catch {
            throw .system(error)
        }
        relay.setPolicy(options.policy)
        for port in published {
            for (host, guest) in zip(port.ports, port.guestPorts) {
                let error = publish(port, host, guest)
                if error != 0 { throw .port(port, host, error) }
            }
        }
    }

    /// Returns 0 or a positive errno. Under the NAT lock, or before the start.
    func publish(_ port: PublishedPort, _ host: UInt16, _ guest: UInt16) -> Int32 {
        do throws(SystemError) {
            if port.transport == .udp {
                try datagrams.publish(port.bind, host, to: port.guest, guest, following: port.followed)
            } else {
                try relay.publish(port.bind, host, to: port.guest, guest, following: port.followed)
            }
            return 0
        } catch {
            return error.code
        }
    }

    // MARK: The control thread

    /// A descriptor for the NAT's port, readable while sockets are ready. The caller owns it.
    package func readyDescriptor() throws(SystemError) -> Descriptor { try relay.descriptor.duplicate() }

    /// Has a worker poll. From any thread.
    func wake() { wakeup.signal() }

    /// Notes leases that were given: address, client, its name, and the end.
    package func note(_ leases: [(IPv4Address, MACAddress, GuestName?, end: Instant)]) {
        // The gateway gets the clients' ports from the switch.
        sink.lockShared()
        pollLock.lock()
        let present = BootClock.now
        var hasEnded = false
        for (address, hardware, name, end) in leases {
            let before = gateway.neighbors.ipv4.hardware(of: address)
            gateway.lease(address, to: hardware, until: end, now: present)
            guard end > present else { continue }
            if let before, before != hardware {
                // At once, although no other guest continues them: the outside need not wait.
                relay.reset(now: present) { key, _ in key.guestAddress == .ipv4(address) }
                datagrams.endFlows(of: .ipv4(address))
                hasEnded = true
            }
            relay.note(lease: address, to: hardware, named: name)
            datagrams.note(lease: address, to: hardware, named: name)
        }
        pollLock.unlock()
        sink.unlock()
        // This was no poll. One that was requested meanwhile is made up for.
        if hasEnded || pollLock.isPollRequested { wake() }
    }

    /// How many TCP connections there are, and how many parts of their streams were retransmitted to guests so far.
    package var streams: (count: Int, retransmissions: Int) {
        (connections.load(ordering: .relaxed), retransmissions.load(ordering: .relaxed))
    }

    /// How many UDP ports of guests have a flow, and clients of published UDP ports.
    package var udpFlowCount: Int { udpFlows.load(ordering: .relaxed) }

    /// How many frames were dropped, by reason.
    package func dropped(_ reason: NATDropReason) -> Int { drops.withLock { $0[reason.rawValue] } }

    private func drop(_ reason: NATDropReason, _ count: Int = 1) { drops.withLock { $0[reason.rawValue] += count } }

    // MARK: A poll

    /// Does a bounded amount of the work that there is. The caller holds the switch's shared lock.
    /// - Parameter isReadable: sockets are ready.
    /// - Returns: when the next poll is due if nothing happens before.
    package func poll(isReadable: Bool) -> Instant {
        guard pollLock.lock(for: inbox) else { return .distantFuture }
        let start = BootClock.now, isNewSecond = start.coarse != now.coarse
        now = start
        relay.beginPoll(now: now)
        datagrams.beginPoll(now: now)
        if isNewSecond { everySecond() }
        var count = 0
        while count < UserNAT.framesPerPoll, inbox.removeFirst({ handle(&$0) }) != nil { count += 1 }
        datagrams.flush()
        if isReadable { wakeup.drain() }
        if isReadable, relay.serve(gateway.neighbors) {
            datagrams.serve(gateway.neighbors) { gateway.allowsDatagrams($0, now: now) }
        }
        // What is ready for guests goes out before sockets are written to.
        output.flush()
        relay.finishPoll(gateway.neighbors)
        datagrams.finishPoll(gateway.neighbors)
        flush()
        var deadline = inbox.hasFrames ? now : min(relay.nextDeadline(), datagrams.nextDeadline)
        if gateway.needsTick {
            deadline = min(deadline, Instant(now.coarse + .seconds(1)))
        }
        // Memory that is not needed goes back, and the numbers for the control thread are of the last poll.
        if relay.memoryUsed > 0 { deadline = min(deadline, now + UserNAT.trimInterval) }
        connections.store(relay.count, ordering: .relaxed)
        retransmissions.store(relay.retransmissions, ordering: .relaxed)
        udpFlows.store(datagrams.portCount + datagrams.clients.count, ordering: .relaxed)
        pollLock.unlock()
        return pollLock.takePollRequest() ? start : deadline
    }

    private func everySecond() {
        relay.trim()
        gateway.tick(now: now)
    }

    /// Sends the frames of the gateway, and the rest of the output.
    private func flush() {
        relay.drainEffects { gateway.apply($0, now: now) }
        datagrams.drainEffects { gateway.apply($0, now: now) }
        datagrams.drainDrops(drop)
        relay.drainRefused { refusal in
            drop(.refused)
            refusals.note(refusal)
        }
        if let (last, count) = relay.context.takeUnreached() { notices.note(unreached: last, count) }
        if let (last, count) = datagrams.unreached.take() { notices.note(unreached: last, count) }
        if relay.context.memory.takeRelease() { notices.noteFreedMemory() }
        if datagrams.arePingsForbidden {
            datagrams.arePingsForbidden = false
            notices.notePingsForbidden()
        }
        for frame in gateway.toGuests { sendToGuests(frame.rawSpan) }
        gateway.toGuests.removeAll()
        output.flush()
    }

    private func sendToGuests(_ frame: RawSpan) { output.append(length: frame.byteCount) { $0.put(frame, at: 0) } }

    // MARK: Frames of guests

    /// Handles a frame, which begins with a virtio header.
    private func handle(_ bytes: inout MutableRawSpan) {
        let headerLength = VirtioNetHeader.length
        guard bytes.byteCount > headerLength + EthernetHeader.length,
            let offload = VirtioNetHeader(parsing: bytes.bytes)
        else { return drop(.malformed) }
        // The relays do not need the checksum of TCP and UDP if the guest's kernel left it open.
        let isPartialTCP =
            offload.flags.contains(.needsChecksum)
            && Int(offload.checksumOffset) == TCPHeader.Field.checksum
        if offload.segmentation == .udp { return segment(bytes.bytes.from(headerLength), offload) }
        if !isPartialTCP && !bytes.completeChecksum(offload, from: headerLength) { return drop(.malformed) }
        forward(bytes.bytes.from(headerLength), isComplete: !offload.flags.contains(.needsChecksum))
    }

    /// Splits a GSO frame of UDP into datagrams.
    private func segment(_ frame: RawSpan, _ offload: VirtioNetHeader) {
        guard var segmenter = Segmenter(frame, offload) else { return drop(.malformed) }
        var header = [UInt8](repeating: 0, count: Segmenter.maximumHeaderLength)
        while let segment = header.withMutableRawSpan({ segmenter.next(frame, header: &$0) }) {
            let payload = frame.extracting(segment.payloadOffset..<segment.payloadOffset + segment.payloadLength)
            let datagram = header[0..<segment.headerLength] + payload.copied()
            forward(Array(datagram).rawSpan, isComplete: true)
        }
    }

    private func forward(_ frame: RawSpan, isComplete: Bool) {
        // A priority tag has no meaning here, and a kernel would remove it.
        if let plain = LinkHeader.withoutPriorityTags(frame) { return forward(plain.rawSpan, isComplete: isComplete) }
        let verdict = gateway.fromGuest(
            frame, isComplete: isComplete, now: now,
            hasConnection: {
                $0.protocolNumber == IPProtocol.udp
                    ? datagrams.hasClient($0) : relay.hasConnection($0, isSYN: $1, from: $2)
            })
        switch verdict {
        case .tcp(let segment): relay.receive(frame, segment) { gateway.target(of: $0) }
        case .tcpReassembled(let segment, let whole): relay.receive(whole.rawSpan, segment) { gateway.target(of: $0) }
        case .datagram(let datagram): datagrams.receive(frame, datagram)
        case .datagramReassembled(let datagram, let whole): datagrams.receive(whole.rawSpan, datagram)
        case .unreachable(let key, let sequence): relay.guestUnreachable(key, sequence: sequence)
        case .refusedTCP(let segment):
            relay.refuse(frame, segment)
            drop(.refused)
            refusals.note(frame)
        case .consumed: break
        case .drop(let reason):
            drop(reason)
            if reason == .refused { refusals.note(frame) }
        }
    }
}
