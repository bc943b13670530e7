// SPDX-License-Identifier: Apache-2.0
import FrameIO
import NetworkModel
import Platform
import Timing
import Wire

/// Terminates guests' TCP connections to the DNS proxy if the uplink does not, as on a TAP: a polled device that
/// receives frames to the gateway's TCP port 53 only. The host's TCP stack is not involved, so port 53 of the host
/// stays free and the host's firewall does not apply.
package final class DNSTCPTerminator: PolledDevice, @unchecked Sendable {
    /// Bytes of guests' frames that wait for the next poll, and bytes of all stream buffers together.
    private static let guestCapacity = 256 << 10
    private static let memory = 8 << 20
    /// Frames handled in one poll. The worker polls again while more wait.
    private static let framesPerPoll = 64

    /// Filled by workers that send to the port, emptied under the lock.
    package let inbox = SPSCFrameRing(capacity: DNSTCPTerminator.guestCapacity)
    package var coalescesSegments: Bool { false }
    /// Leases given since the last poll.
    private let leases = Mutex<[IPv4Address: (hardware: MACAddress, end: Instant)]>([:])
    private let pollLock = PollLock()
    // Protected by the lock.
    private let output: GuestOutput
    private var gateway: NATGateway
    private let relay: TCPRelay
    /// When the last poll began.
    private var now = Instant.distantPast

    /// - Parameters:
    ///   - network6: the guests' IPv6 network, if it has a name service.
    ///   - hardware: the gateway's.
    ///   - limit: connections at a time.
    ///   - queue: takes the connections.
    ///   - sink: where frames for guests go.
    package init(
        _ network: GuestNetwork, _ network6: IPv6Network? = nil, hardware: MACAddress, mtu: Int, limit: Int,
        queue: DNSConnectionQueue,
        to sink: any FrameInjector
    ) throws(SystemError) {
        var options = NATGateway.Options(network: network, hardware: hardware)
        options.mtu = mtu
        options.prefix = network6?.base.high
        options.answersDNS = true
        options.policy.isDenying = true
        options.flowLimit = limit * 4 / 3
        gateway = NATGateway(options)
        gateway.locate = { sink.origin(of: $0) }
        output = GuestOutput(to: sink, mtu: mtu)
        relay = try TCPRelay(options, dnsQueue: queue, to: output, memory: DNSTCPTerminator.memory)
    }

    /// A descriptor for the device's port, readable while sockets are ready. The caller owns it.
    package func readyDescriptor() throws(SystemError) -> Descriptor { try relay.descriptor.duplicate() }

    /// Notes leases that were given: address, client, and the end in nanoseconds of the clock.
    package func note(_ given: [(IPv4Address, MACAddress, end: Instant)]) {
        leases.withLock { leases in
            for (address, hardware, end) in given {
                leases[address] = (hardware, end)
            }
        }
    }

    /// Does a bounded amount of the work that there is. The caller holds the switch's shared lock.
    /// - Parameter isReadable: sockets are ready.
    /// - Returns: when the next poll is due if nothing happens before.
    package func poll(isReadable: Bool) -> Instant {
        guard pollLock.lock(for: inbox) else { return .distantFuture }
        let start = BootClock.now, isNewSecond = start.coarse != now.coarse
        now = start
        relay.beginPoll(now: now)
        if isNewSecond { relay.trim() }
        applyLeases()
        var count = 0
        while count < DNSTCPTerminator.framesPerPoll, inbox.removeFirst({ handle(&$0) }) != nil { count += 1 }
        if isReadable { relay.serve(gateway.neighbors) }
        output.flush()
        relay.finishPoll(gateway.neighbors)
        relay.drainEffects { gateway.apply($0, now: now) }
        for frame in gateway.toGuests { output.append(length: frame.count) { $0.put(frame.rawSpan, at: 0) } }
        gateway.toGuests.removeAll()
        output.flush()
        let deadline = inbox.hasFrames ? now : relay.nextDeadline()
        pollLock.unlock()
        return pollLock.takePollRequest() ? start : deadline
    }

    private func applyLeases() {
        let given = leases.withLock { leases in
            defer { leases = [:] }
            return leases
        }
        for (address, lease) in given { gateway.lease(address, to: lease.hardware, until: lease.end, now: now) }
    }

    /// Handles a frame, which begins with a virtio header. TCP checksums that the guest's kernel left open stay open.
    private func handle(_ bytes: inout MutableRawSpan) {
        guard bytes.byteCount > VirtioNetHeader.length + EthernetHeader.length,
            let offload = VirtioNetHeader(parsing: bytes.bytes)
        else { return }
        let frame = bytes.bytes.from(VirtioNetHeader.length)
        let verdict = gateway.fromGuest(
            frame, isComplete: !offload.flags.contains(.needsChecksum), now: now,
            hasConnection: { relay.hasConnection($0, isSYN: $1, from: $2) })
        if case .tcp(let segment) = verdict { relay.receive(frame, segment) }
    }
}
