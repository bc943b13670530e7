// SPDX-License-Identifier: Apache-2.0
import CLibrary
import FrameIO
import Wire

/// Writes frames into a guest's buffers, each after its virtio header. Does what the guest has not negotiated:
/// checksums and segmentation.
@safe
struct FrameWriter: ~Copyable {
    enum Outcome {
        case written
        /// The guest has no buffers; nothing was written.
        case full
        /// The guest's buffers are too small for the frame.
        case tooLong
        /// The ring has impossible numbers.
        case broken
    }

    /// Chains that one frame may use.
    private static let chainCapacity = 512

    /// How many entries ahead buffers are loaded into the cache.
    private static let prefetchDistance = 4

    private var pieces = PieceList()
    private let chains: UnsafeMutablePointer<RingChain>
    /// Room for a virtio header, and for the headers of a segment after it.
    private let block: UnsafeMutableRawPointer
    private static var blockLength: Int { VirtioNetHeader.length + Segmenter.maximumHeaderLength }

    init() {
        unsafe chains = .allocate(capacity: FrameWriter.chainCapacity)
        unsafe block = .allocate(byteCount: FrameWriter.blockLength, alignment: 16)
    }

    deinit {
        unsafe chains.deallocate()
        unsafe block.deallocate()
    }

    /// Three parts of a frame that follow each other.
    @safe
    private struct Parts {
        var first: UnsafeRawPointer
        var firstLength: Int
        var second: UnsafeRawPointer
        var secondLength = 0
        var third: UnsafeRawPointer
        var thirdLength = 0

        var length: Int { firstLength + secondLength + thirdLength }

        init(_ start: UnsafeRawPointer, _ length: Int) {
            unsafe (first, second, third) = (start, start, start)
            firstLength = length
        }
    }

    /// Writes a frame that has a virtio header of 12 bytes before it.
    mutating func write(
        _ frame: iovec, to ring: inout GuestRing, _ features: VirtioFeatures, headerLength: Int
    ) -> Outcome {
        let length = unsafe frame.iov_len - VirtioNetHeader.length
        guard length > 0, let base = unsafe frame.iov_base else { return .tooLong }
        let start = unsafe UnsafeRawPointer(base) + VirtioNetHeader.length
        let bytes = unsafe RawSpan(_unsafeStart: start, byteCount: length)
        guard
            let offload = VirtioNetHeader(
                parsing: unsafe RawSpan(_unsafeStart: UnsafeRawPointer(base), byteCount: VirtioNetHeader.length))
        else { return .tooLong }
        if offload.segmentation != .none && !FrameWriter.takes(offload, features) {
            return unsafe writeSegments(bytes, start, offload, to: &ring, features, headerLength: headerLength)
        }
        var parts = unsafe Parts(start, length)
        if offload.flags.contains(.needsChecksum) && !features.contains(.guestChecksum) {
            guard complete(&parts, bytes, offload) else { return .tooLong }
            return put(parts, VirtioNetHeader(), to: &ring, features, headerLength: headerLength)
        }
        return put(parts, offload, to: &ring, features, headerLength: headerLength)
    }

    /// Whether the guest takes GSO frames of this kind.
    private static func takes(_ offload: VirtioNetHeader, _ features: VirtioFeatures) -> Bool {
        if offload.hasECN && !features.contains(.guestECN) { return false }
        return switch offload.segmentation {
        case .none: true
        case .tcp4: features.contains(.guestTSO4)
        case .tcp6: features.contains(.guestTSO6)
        case .udp: false
        }
    }

    /// Replaces the frame's checksum in what is written. The frame stays as it is, because other ports send it, too.
    /// Returns false if the header points outside the frame.
    private func complete(_ parts: inout Parts, _ bytes: RawSpan, _ offload: VirtioNetHeader) -> Bool {
        let start = Int(offload.checksumStart), field = start + Int(offload.checksumOffset)
        guard start >= EthernetHeader.length, field + 2 <= bytes.byteCount else { return false }
        var sum = InternetChecksum()
        sum.add(bytes.from(start))
        let isUDP = Int(offload.checksumOffset) == UDPHeader.Field.checksum
        let checksum = isUDP ? sum.finishedForUDP : sum.finished
        unsafe (block + VirtioNetHeader.length).storeBytes(of: checksum.bigEndian, as: UInt16.self)
        let whole = unsafe parts.first
        parts.firstLength = field
        unsafe parts.second = UnsafeRawPointer(block + VirtioNetHeader.length)
        parts.secondLength = 2
        unsafe parts.third = whole + field + 2
        parts.thirdLength = bytes.byteCount - field - 2
        return true
    }

    private mutating func writeSegments(
        _ bytes: RawSpan, _ start: UnsafeRawPointer, _ offload: VirtioNetHeader, to ring: inout GuestRing,
        _ features: VirtioFeatures, headerLength: Int
    ) -> Outcome {
        guard var segmenter = Segmenter(bytes, offload) else { return .tooLong }
        guard let ready = ring.availableCount() else { return .broken }
        // All or none, unless the ring can never hold all.
        guard ready >= min(segmenter.remaining, ring.size) else { return .full }
        var isAnyWritten = false
        while true {
            var room = unsafe MutableRawSpan(
                _unsafeStart: block + VirtioNetHeader.length, byteCount: Segmenter.maximumHeaderLength)
            guard let segment = segmenter.next(bytes, header: &room) else { return .written }
            var parts = unsafe Parts(UnsafeRawPointer(block + VirtioNetHeader.length), segment.headerLength)
            unsafe parts.second = start + segment.payloadOffset
            parts.secondLength = segment.payloadLength
            let outcome = put(parts, VirtioNetHeader(), to: &ring, features, headerLength: headerLength)
            // The guest has seen nothing of a frame that is tried again; of others the rest is lost.
            guard outcome == .written else { return isAnyWritten && outcome != .broken ? .written : outcome }
            isAnyWritten = true
        }
    }

    private mutating func put(
        _ parts: Parts, _ offload: VirtioNetHeader, to ring: inout GuestRing, _ features: VirtioFeatures,
        headerLength: Int
    ) -> Outcome {
        let needed = headerLength + parts.length
        guard var ready = ring.knownCount > 0 ? ring.knownCount : ring.availableCount() else { return .broken }
        let before = ring.cursor
        ring.prefetch(FrameWriter.prefetchDistance, isWritable: true)
        var count = 0, room = 0
        pieces.removeAll()
        repeat {
            if count == ready {
                guard let more = ring.availableCount() else { return .broken }
                ready += more
            }
            guard count < ready else {
                ring.cursor = before
                // A ring that is full of too small buffers stays full.
                return count == ring.size ? .tooLong : .full
            }
            guard count < FrameWriter.chainCapacity else { break }
            guard let chain = ring.take(isWritable: true, into: &pieces), chain.length > 0 else { return .broken }
            unsafe (chains + count).initialize(to: chain)
            count += 1
            room += chain.length
        } while room < needed && features.contains(.mergeableBuffers)
        guard room >= needed else {
            ring.cursor = before
            return .tooLong
        }
        var header = unsafe MutableRawSpan(_unsafeStart: block, byteCount: VirtioNetHeader.length)
        offload.emit(into: &header)
        header.put16Little(UInt16(count), at: VirtioNetHeader.shortLength)
        unsafe pieces.write(block, headerLength)
        unsafe pieces.write(parts.first, parts.firstLength)
        unsafe pieces.write(parts.second, parts.secondLength)
        unsafe pieces.write(parts.third, parts.thirdLength)
        if ring.memory.isLogged { pieces.mark(needed, in: ring.memory) }
        var rest = needed
        for index in 0..<count {
            let chain = unsafe chains[index], length = min(rest, chain.length)
            ring.complete(chain, length: length)
            rest -= length
        }
        return .written
    }
}
