// SPDX-License-Identifier: Apache-2.0
import Platform
import Wire

/// Frames of guests that the egress policy has refused. A flood fills it and is counted, until the control thread takes
/// what is in it.
package final class RefusalLog: Sendable {
    /// One refused frame.
    package struct Entry: Hashable, Sendable {
        /// The guest's.
        package let hardware: MACAddress
        /// The destination's address as text.
        package let destination: String
        /// `tcp`, `udp`, `icmp`, or the number of another protocol.
        package let transport: String
        /// Of TCP and UDP.
        package let port: UInt16?
    }

    private static let capacity = 64

    private struct State {
        var entries: Set<Entry> = []
        var further = 0
        /// Nothing is stored while no client awaits it.
        var isOn = false
    }

    private let state = Mutex(State())

    /// Whether refused frames are stored.
    package func setOn(_ isOn: Bool) {
        state.withLock { state in
            state.isOn = isOn
            if !isOn { (state.entries, state.further) = ([], 0) }
        }
    }

    /// Removes the entries, each once, and returns them with the number of frames that had no room.
    package func take() -> (entries: [Entry], further: Int) {
        state.withLock { state in
            defer { (state.entries, state.further) = ([], 0) }
            return (Array(state.entries), state.further)
        }
    }

    /// Notes a frame without VLAN tags that was refused.
    func note(_ frame: RawSpan) {
        let wants = state.withLock { state in
            guard state.isOn else { return false }
            guard state.entries.count < RefusalLog.capacity else {
                state.further += 1
                return false
            }
            return true
        }
        guard wants, let entry = RefusalLog.entry(frame) else { return }
        state.withLock { _ = $0.entries.insert(entry) }
    }

    private static func entry(_ frame: RawSpan) -> Entry? {
        guard let ethernet = try? EthernetView(frame) else { return nil }
        let payload = ethernet.payload
        switch ethernet.type {
        case EtherType.ipv4:
            guard let packet = try? IPv4View(payload) else { return nil }
            return entry(ethernet.source, "\(packet.destination)", packet.protocolNumber, packet.payload)
        case EtherType.ipv6:
            guard payload.byteCount >= IPv6Header.length else { return nil }
            return entry(
                ethernet.source, "\(IPv6Address(payload, at: IPv6Header.Field.destination))",
                payload.byte(at: IPv6Header.Field.nextHeader), payload.from(IPv6Header.length))
        default: return nil
        }
    }

    private static func entry(
        _ hardware: MACAddress, _ destination: String, _ number: UInt8, _ transport: RawSpan
    ) -> Entry {
        let names = [IPProtocol.tcp: "tcp", IPProtocol.udp: "udp", IPProtocol.icmp: "icmp", IPProtocol.icmpv6: "icmp"]
        // TCP's ports are where UDP's are. A TCP header is longer.
        let hasPort =
            (number == IPProtocol.tcp || number == IPProtocol.udp) && transport.byteCount >= UDPHeader.length
        return Entry(
            hardware: hardware, destination: destination, transport: names[number] ?? "\(number)",
            port: hasPort ? transport.big16(at: UDPHeader.Field.destinationPort) : nil)
    }
}
