// SPDX-License-Identifier: Apache-2.0
import Atomics
import FrameIO
import Platform
import Wire

/// The address at which guests ask for names. Frames to its port 53 never reach the uplink: no socket of this host is
/// needed, and other users of that port are not disturbed.
package struct NameService: Equatable, BitwiseCopyable, Sendable {
    package static let port: UInt16 = 53

    package let address: IPv4Address
    package let hardware: MACAddress
    /// The port of the device that ends guests' TCP; nil where the way out does that itself.
    package let streams: PortNumber?

    package init(address: IPv4Address, hardware: MACAddress, streams: PortNumber? = nil) {
        self.address = address
        self.hardware = hardware
        self.streams = streams
    }
}

/// The port by which each address has last sent to the name service by TCP, to know in whose share a connection counts.
/// Addresses that end in the same ten bits share a place, at the cost of accuracy only.
final class CallerPorts: Sendable {
    private static let places = 1024
    private let ports = (0..<CallerPorts.places).map { _ in ManagedAtomic<PortNumber>(0) }

    func note(_ address: IPv4Address, _ port: PortNumber) {
        ports[Int(address.value) % CallerPorts.places].store(port, ordering: .relaxed)
    }

    func port(of address: IPv4Address) -> PortNumber {
        ports[Int(address.value) % CallerPorts.places].load(ordering: .relaxed)
    }
}

/// How a frame asks for a name.
enum NameTransport: BitwiseCopyable {
    case datagram, stream

    /// Returns nil for every frame that is not a whole packet to the service's port 53.
    init?(of frame: RawSpan, to service: NameService) {
        guard frame.byteCount >= 46 else { return nil }
        let start = frame.big16(at: 12) == EtherType.vlan ? 18 : 14
        // Protocol, address, no fragment; then the destination port.
        guard frame.byteCount >= start &+ 28, frame.big16(at: start &- 2) == EtherType.ipv4,
            frame.big32(at: start &+ 16) == service.address.value,
            frame.big16(at: start &+ 6) & 0x3fff == 0
        else { return nil }
        let transport = start &+ Int(frame.byte(at: start) & 0xf) &* 4
        guard frame.byteCount >= transport &+ 8, frame.big16(at: transport &+ 2) == NameService.port else { return nil }
        switch frame.byte(at: start &+ 9) {
        case IPProtocol.udp: self = .datagram
        case IPProtocol.tcp: self = .stream
        default: return nil
        }
    }
}

extension Forwarder {
    /// Passes a guest's question for a name to the name service. Returns false if the frame is anything else.
    mutating func takeName(_ passage: Passage, _ service: NameService) -> Bool {
        // Where VLANs are not looked at, a tag without one is the sender's priority and no more.
        guard passage.vlan == (state.isVLANAware ? unsafe ports[Int(SwitchControl.servicePort)].untaggedVLAN : 0)
        else { return false }
        switch NameTransport(of: batch.bytes(of: batch[passage.index]), to: service) {
        case .datagram?: note(passage.index, .keep, for: SwitchControl.servicePort)
        case .stream?:
            let address = batch.bytes(of: batch[passage.index]).big32(at: passage.isTagged ? 30 : 26)
            control.callers.note(IPv4Address(address), PortNumber(passage.ingress))
            guard let port = service.streams, isAttached(port) else { return false }
            note(passage.index, passage.isTagged ? .strip : .keep, for: port)
        case nil: return false
        }
        return true
    }
}
