// SPDX-License-Identifier: Apache-2.0
import CLibrary
import CPlatform
import Wire

/// A group of NFLOG, to which rules of nftables log packets (Linux). No other program has the group while this object
/// exists.
package final class PacketLog {
    /// The beginning of a logged packet.
    package struct Packet: Sendable {
        /// The sender's.
        package let hardware: MACAddress
        /// From the IP header on, with the ports of TCP and UDP.
        package let bytes: [UInt8]
    }

    /// Packets of one call of the kernel.
    private static let burst = 256

    /// The number in rules: `log group NUMBER`.
    package let group: UInt16
    /// Readable when packets were logged.
    package let descriptor: Descriptor

    /// - Throws: if this process may not, or the kernel has no NFLOG (module `nfnetlink_log`).
    package init() throws(SystemError) {
        var group: UInt16 = 0
        descriptor = try Descriptor(checking: unsafe platform_packet_log_open(&group), "open a group of NFLOG")
        self.group = group
    }

    /// Removes and returns the packets that were logged, up to a bound. The kernel discards those for which its buffer
    /// has no room.
    package func receive() -> [Packet] {
        unsafe withUnsafeTemporaryAllocation(of: platform_logged_packet.self, capacity: PacketLog.burst) { buffer in
            let count = Int(
                unsafe platform_packet_log_receive(
                    descriptor.raw, buffer.baseAddress, Int32(truncatingIfNeeded: buffer.count)))
            guard count > 0 else { return [] }
            return (0..<count).compactMap { index in
                guard unsafe buffer[index].has_hardware != 0 else { return nil }
                let hardware = unsafe withUnsafeBytes(of: buffer[index].hardware) { unsafe [UInt8]($0) }
                let length = unsafe Int(buffer[index].length)
                let bytes = unsafe withUnsafeBytes(of: buffer[index].bytes) { unsafe [UInt8]($0.prefix(length)) }
                return Packet(hardware: MACAddress(hardware.rawSpan, at: 0), bytes: bytes)
            }
        }
    }
}
