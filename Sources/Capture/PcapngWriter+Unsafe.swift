// SPDX-License-Identifier: Apache-2.0
import Platform

/// Writes blocks of pcapng, one after the other.
package struct PcapngWriter: Sendable {
    /// The blocks so far, all of them whole.
    package private(set) var bytes: [UInt8] = []

    /// A writer that has written nothing.
    package init() { bytes.reserveCapacity(1 << 17) }

    /// Removes the blocks, whose bytes the caller has used.
    package mutating func removeAll() { bytes.removeAll(keepingCapacity: true) }

    /// Writes the header of the file.
    /// - Parameter application: the program that writes it.
    package mutating func sectionHeader(application: String) {
        block(Pcapng.BlockType.sectionHeader) { writer in
            writer.put32(Pcapng.byteOrderMagic)
            // Version 1.0; the length of the section is not known.
            writer.put16(1)
            writer.put16(0)
            writer.put64(.max)
            writer.option(Pcapng.Option.userApplication, application)
            writer.endOptions()
        }
    }

    /// Describes the next interface, of which the first one has number 0. Texts may contain anything: control
    /// characters become `?`.
    /// - Parameter snapLength: bytes of the longest frame that is captured.
    package mutating func interface(name: String, description: String, snapLength: Int) {
        block(Pcapng.BlockType.interfaceDescription) { writer in
            writer.put16(Pcapng.ethernet)
            writer.put16(0)
            writer.put32(UInt32(clamping: snapLength))
            writer.option(Pcapng.Option.interfaceName, name)
            if !description.isEmpty { writer.option(Pcapng.Option.interfaceDescription, description) }
            writer.optionHeader(Pcapng.Option.timeResolution, 1)
            writer.bytes += [Pcapng.nanoseconds, 0, 0, 0]
            writer.endOptions()
        }
    }

    /// Writes one frame.
    /// - Parameters:
    ///   - interface: its number.
    ///   - time: nanoseconds since 1970.
    ///   - length: bytes of the whole frame, of which `captured` has the first ones.
    ///   - comment: such as why the frame was dropped; nil for none.
    package mutating func packet(
        _ captured: RawSpan, interface: UInt32, time: Int64, length: Int, direction: CaptureDirection, comment: String?
    ) {
        block(Pcapng.BlockType.enhancedPacket) { writer in
            writer.put32(interface)
            writer.putTime(time)
            writer.put32(UInt32(captured.byteCount))
            writer.put32(UInt32(clamping: length))
            unsafe captured.withUnsafeBytes { unsafe writer.bytes.append(contentsOf: $0) }
            writer.pad()
            writer.optionHeader(Pcapng.Option.packetFlags, 4)
            writer.put32(UInt32(direction.rawValue))
            if let comment { writer.option(Pcapng.Option.comment, comment) }
            writer.endOptions()
        }
    }

    /// Writes the counters of an interface.
    /// - Parameter time: nanoseconds since 1970.
    package mutating func statistics(_ statistics: CaptureStatistics, time: Int64) {
        block(Pcapng.BlockType.interfaceStatistics) { writer in
            writer.put32(statistics.interface)
            writer.putTime(time)
            writer.optionHeader(Pcapng.Option.receivedFrames, 8)
            writer.put64(statistics.received)
            writer.optionHeader(Pcapng.Option.lostFrames, 8)
            writer.put64(statistics.lost)
            writer.endOptions()
        }
    }

    // MARK: Parts of a block

    private mutating func block(_ type: UInt32, _ body: (inout PcapngWriter) -> Void) {
        let start = bytes.count
        put32(type)
        put32(0)
        body(&self)
        let length = UInt32(bytes.count - start + 4)
        put32(length)
        for index in 0..<4 { bytes[start + 4 + index] = UInt8(truncatingIfNeeded: length >> UInt32(8 * index)) }
    }

    private mutating func option(_ code: UInt16, _ text: String) {
        let text = Array(PrintableText.line(text, limit: Pcapng.textLimit).utf8)
        optionHeader(code, text.count)
        bytes += text
        pad()
    }

    private mutating func optionHeader(_ code: UInt16, _ length: Int) {
        put16(code)
        put16(UInt16(length))
    }

    private mutating func endOptions() { optionHeader(Pcapng.Option.end, 0) }

    private mutating func pad() { while bytes.count % 4 != 0 { bytes.append(0) } }

    private mutating func putTime(_ time: Int64) {
        let time = UInt64(bitPattern: time)
        put32(UInt32(truncatingIfNeeded: time >> 32))
        put32(UInt32(truncatingIfNeeded: time))
    }

    private mutating func put16(_ value: UInt16) {
        unsafe withUnsafeBytes(of: value.littleEndian) { unsafe bytes.append(contentsOf: $0) }
    }

    private mutating func put32(_ value: UInt32) {
        unsafe withUnsafeBytes(of: value.littleEndian) { unsafe bytes.append(contentsOf: $0) }
    }

    private mutating func put64(_ value: UInt64) {
        unsafe withUnsafeBytes(of: value.littleEndian) { unsafe bytes.append(contentsOf: $0) }
    }
}
