// SPDX-License-Identifier: Apache-2.0
import CPlatform
import FrameIO
import NetworkModel
import Platform
import Uplinks
import Wire

/// Terminates guests' TCP to the name server where the uplink does not, as on a TAP: a device with turns that receives
/// frames to the gateway's TCP port 53 only. The host's TCP stack is not involved, so port 53 of the host stays free
/// and the host's firewalls do not apply.
@safe
package final class NameRelay: @unchecked Sendable {
    /// Bytes of what guests have sent and the next turn will take, and bytes that their streams may hold.
    private static let guestCapacity = 256 << 10
    private static let memory = 8 << 20
    /// Frames that are taken before other ports of the switch have their turn.
    private static let turnFrames = 64

    private let fromGuests = SPSCFrameRing(capacity: NameRelay.guestCapacity)
    /// Leases that were given since the last turn, with their ends in seconds.
    private let leases = Mutex<[IPv4Address: (hardware: MACAddress, end: UInt64)]>([:])
    private let turn = TurnLatch()
    // What belongs to the turn.
    private let output: GuestOutput
    private var gateway: UserGateway
    private let relay: TCPRelay
    /// Seconds.
    private var now: UInt64 = 0

    /// - Parameters:
    ///   - hardware: the gateway's.
    ///   - limit: connections at a time.
    ///   - names: takes them.
    package init(
        _ network: GuestNetwork, hardware: MACAddress, mtu: Int, limit: Int, names: NameInlet,
        to sink: any FrameInjector
    ) throws(SystemError) {
        var options = UserGateway.Options(network: network, hardware: hardware)
        options.mtu = mtu
        options.answersNames = true
        options.policy.isDenying = true
        options.flowLimit = limit * 4 / 3
        gateway = UserGateway(options)
        gateway.locate = { sink.origin(of: $0) }
        output = GuestOutput(to: sink, mtu: mtu)
        relay = try TCPRelay(options, names: names, to: output, memory: NameRelay.memory)
    }

    /// For a port of the forwarder, while that is running.
    package var device: FrameDevice {
        unsafe FrameDevice(
            context: Unmanaged.passUnretained(self).toOpaque(),
            send: { context, frames, stride, count in
                unsafe Unmanaged<NameRelay>.fromOpaque(context!)._withUnsafeGuaranteedRef {
                    unsafe $0.fromGuests.append(frames!, stride: Int(stride), count: Int(count))
                }
            },
            poll: { context, isReadable in
                unsafe Unmanaged<NameRelay>.fromOpaque(context!)._withUnsafeGuaranteedRef {
                    $0.takeTurn(isReadable: isReadable != 0)
                }
            },
            headerLength: VirtioNetHeader.length, maximumGSOFrame: FrameBatch.maximumFrameLength)
    }

    /// For the same port: a descriptor that is readable while sockets of connections have events. The caller owns it.
    package func readyDescriptor() throws(SystemError) -> Descriptor { try relay.descriptor.duplicate() }

    /// Tells of leases that were given: address, client, and the end in nanoseconds of the clock.
    package func note(_ given: [(IPv4Address, MACAddress, UInt64)]) {
        leases.withLock { leases in
            for (address, hardware, end) in given { leases[address] = (hardware, end / MonotonicClock.second) }
        }
    }

    /// Does what there is to do. From inside the sink. Returns when there is something to do though nothing has
    /// happened, in nanoseconds of the clock.
    private func takeTurn(isReadable: Bool) -> UInt64 {
        guard turn.tryBegin() else { return .max }
        let moment = MonotonicClock.now
        relay.begin(now: moment)
        if now != moment / MonotonicClock.second {
            now = moment / MonotonicClock.second
            relay.tick()
        }
        let given = leases.withLock { leases in
            defer { leases = [:] }
            return leases
        }
        for (address, lease) in given { gateway.lease(address, to: lease.hardware, until: lease.end, now: now) }
        var count = 0
        while count < NameRelay.turnFrames, fromGuests.removeFirst({ handle(&$0) }) != nil { count += 1 }
        if isReadable { relay.serve(&gateway) }
        output.send()
        relay.finishTurn(&gateway)
        for frame in gateway.toGuests { output.append(length: frame.count) { $0.put(frame.rawSpan, at: 0) } }
        gateway.toGuests.removeAll()
        gateway.toStack.removeAll()
        output.send()
        let deadline = fromGuests.hasFrames ? moment : relay.nextDeadline()
        turn.unlock()
        return turn.takeMissed() ? moment : deadline
    }

    /// Handles a frame behind its virtio header. Checksums of TCP that the guest's kernel has left open stay open.
    private func handle(_ bytes: inout MutableRawSpan) {
        guard bytes.byteCount > VirtioNetHeader.length + 14, let offload = VirtioNetHeader(parsing: bytes.bytes) else {
            return
        }
        let frame = bytes.bytes.from(VirtioNetHeader.length)
        guard
            case .tcp(let arrival) = gateway.fromGuest(
                frame, isComplete: !offload.flags.contains(.needsChecksum), now: now)
        else { return }
        _ = relay.receive(frame, arrival, &gateway)
    }
}
