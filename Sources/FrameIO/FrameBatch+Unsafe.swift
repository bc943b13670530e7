// SPDX-License-Identifier: Apache-2.0
import Wire

/// Memory for frames that were received together, and their descriptors.
///
/// Every frame has its own slot, large enough for a GSO frame, with headroom before it for a virtio header and a
/// VLAN tag, so that neither needs the frame to move. Slots are touched only as far as frames reach into them: an idle
/// batch costs address space, not memory. A slot's size is an odd number of cache lines, so that the headers of a
/// batch's frames spread over all sets of the cache. Owned by one thread.
@safe
@usableFromInline
package struct FrameBatch: ~Copyable {
    /// The largest frame: 65,535 bytes of IP packet, the Ethernet header, and a VLAN tag.
    @inlinable package static var maximumFrameLength: Int { IPv4Header.maximumPacket + EthernetHeader.taggedLength }
    /// Bytes before a frame; two more than a multiple of four, so that the IP header is aligned.
    @inlinable package static var headroom: Int { 18 }
    @inlinable static var stride: Int { (headroom + maximumFrameLength + 63) / 64 * 64 | 64 }

    @usableFromInline let memory: UnsafeMutableRawPointer
    @usableFromInline let descriptors: UnsafeMutablePointer<FrameDescriptor>
    /// How many frames fit.
    @usableFromInline package let capacity: Int
    /// How many there are.
    @usableFromInline package private(set) var count = 0

    /// Memory for `capacity` frames.
    package init(capacity: Int) {
        self.capacity = capacity
        unsafe memory = .allocate(byteCount: capacity * FrameBatch.stride, alignment: 64)
        unsafe descriptors = .allocate(capacity: capacity)
        unsafe descriptors.initialize(repeating: FrameDescriptor(offset: 0, length: 0), count: capacity)
    }

    deinit {
        unsafe descriptors.deallocate()
        unsafe memory.deallocate()
    }

    /// Where the frame of slot `index` begins when it arrives.
    @inlinable
    package static func slotOffset(_ index: Int) -> Int { index &* stride &+ headroom }

    /// The descriptor of frame `index`.
    @inlinable
    package subscript(index: Int) -> FrameDescriptor {
        get {
            precondition(index >= 0 && index < count)
            return unsafe descriptors[index]
        }
        set {
            precondition(index >= 0 && index < count)
            unsafe descriptors[index] = newValue
        }
    }

    /// Removes all frames.
    @inlinable
    package mutating func removeAll() { count = 0 }

    /// Declares that the frame of the next slot has arrived with `length` bytes.
    @inlinable
    package mutating func append(length: Int, offload: VirtioNetHeader = VirtioNetHeader()) {
        precondition(count < capacity && length >= 0 && length <= FrameBatch.maximumFrameLength)
        unsafe descriptors[count] = FrameDescriptor(
            offset: UInt32(truncatingIfNeeded: FrameBatch.slotOffset(count)),
            length: UInt32(truncatingIfNeeded: length), offload: offload)
        count &+= 1
    }

    /// Removes the last frame.
    package mutating func removeLast() { count = max(0, count - 1) }

    /// Copies a frame into the next slot.
    package mutating func append(copying frame: RawSpan) {
        precondition(count < capacity && frame.byteCount <= FrameBatch.maximumFrameLength)
        unsafe frame.withUnsafeBytes { bytes in
            guard let base = bytes.baseAddress else { return }
            unsafe memory.advanced(by: FrameBatch.slotOffset(count)).copyMemory(from: base, byteCount: bytes.count)
        }
        append(length: frame.byteCount)
    }

    /// Appends a frame of `length` bytes that `body` writes into the next slot.
    package mutating func append(
        length: Int, offload: VirtioNetHeader = VirtioNetHeader(), _ body: (inout MutableRawSpan) -> Void
    ) {
        append(length: length, offload: offload)
        var span = unsafe MutableRawSpan(_unsafeStart: memory + FrameBatch.slotOffset(count - 1), byteCount: length)
        body(&span)
    }

    /// The bytes of a frame.
    @inlinable
    @_lifetime(borrow self)
    package func bytes(of frame: FrameDescriptor) -> RawSpan {
        precondition(Int(frame.offset) &+ Int(frame.length) <= capacity &* FrameBatch.stride)
        let span = unsafe RawSpan(_unsafeStart: memory + Int(frame.offset), byteCount: Int(frame.length))
        return unsafe _overrideLifetime(span, borrowing: self)
    }

    /// The bytes of a frame, to be changed in place.
    @inlinable
    @_lifetime(&self)
    package mutating func mutableBytes(of frame: FrameDescriptor) -> MutableRawSpan {
        precondition(Int(frame.offset) &+ Int(frame.length) <= capacity &* FrameBatch.stride)
        let span = unsafe MutableRawSpan(_unsafeStart: memory + Int(frame.offset), byteCount: Int(frame.length))
        return unsafe _overrideLifetime(span, mutating: &self)
    }

    /// The address of byte `offset` of this batch's memory, for system calls. Valid as long as the batch lives.
    @unsafe
    @inlinable
    package func address(at offset: Int) -> UnsafeMutableRawPointer {
        precondition(offset >= 0 && offset <= capacity &* FrameBatch.stride)
        return unsafe memory + offset
    }

    /// Writes the virtio header of frame `index` into the headroom right before it.
    /// - Parameter length: 10 or 12.
    @inlinable
    package mutating func prependHeader(to index: Int, length: Int = VirtioNetHeader.length) {
        let frame = self[index]
        precondition(Int(frame.offset) >= length)
        var header = unsafe MutableRawSpan(_unsafeStart: memory + Int(frame.offset) - length, byteCount: length)
        frame.offload.emit(into: &header)
    }

    /// The virtio header of `length` bytes that was received right before slot `index`; nil if it is invalid.
    @inlinable
    package func receivedHeader(of index: Int, length: Int = VirtioNetHeader.length) -> VirtioNetHeader? {
        precondition(index >= 0 && index < capacity && length <= FrameBatch.headroom)
        return VirtioNetHeader(
            parsing: unsafe RawSpan(_unsafeStart: memory + FrameBatch.slotOffset(index) - length, byteCount: length))
    }

    /// Inserts a VLAN tag into frame `index`, moving the two addresses into the headroom.
    /// Without effect on a frame that has no room for one.
    package mutating func insert(_ tag: VLANTag, into index: Int) {
        var frame = self[index]
        guard frame.length >= EthernetHeader.length, Int(frame.length) + VLANTag.length <= FrameBatch.maximumFrameLength
        else { return }
        frame.offset -= UInt32(VLANTag.length)
        frame.length += UInt32(VLANTag.length)
        unsafe (memory + Int(frame.offset)).copyMemory(
            from: memory + Int(frame.offset) + VLANTag.length, byteCount: EthernetHeader.Field.type)
        if frame.offload.flags.contains(.needsChecksum) { frame.offload.checksumStart += UInt16(VLANTag.length) }
        self[index] = frame
        var bytes = mutableBytes(of: frame)
        tag.emit(into: &bytes, at: EthernetHeader.Field.type)
    }

    /// Removes the VLAN tag of frame `index`, moving the two addresses over it. `insert` puts it back.
    package mutating func removeTag(from index: Int) {
        var frame = self[index]
        guard Int(frame.length) >= EthernetHeader.taggedLength else { return }
        let address = unsafe memory + Int(frame.offset)
        unsafe (address + VLANTag.length).copyMemory(from: address, byteCount: EthernetHeader.Field.type)
        frame.offset += UInt32(VLANTag.length)
        frame.length -= UInt32(VLANTag.length)
        if frame.offload.flags.contains(.needsChecksum) { frame.offload.checksumStart -= UInt16(VLANTag.length) }
        self[index] = frame
    }

    /// Finishes the checksum of frame `index`, if one is unfinished, in place.
    /// Returns false, leaving the frame alone, if the header points outside the frame.
    @inlinable
    package mutating func completeChecksum(of index: Int) -> Bool {
        var frame = self[index]
        guard frame.offload.flags.contains(.needsChecksum) else { return true }
        var bytes = mutableBytes(of: frame)
        guard bytes.completeChecksum(frame.offload) else { return false }
        frame.offload.flags.remove(.needsChecksum)
        self[index] = frame
        return true
    }
}

extension MutableRawSpan {
    /// Finishes the checksum of the frame that begins at `origin`, if `offload` marks it as unfinished. Returns
    /// false, leaving the frame alone, if `offload` points outside it.
    @inlinable
    @_lifetime(self: copy self)
    package mutating func completeChecksum(_ offload: VirtioNetHeader, from origin: Int = 0) -> Bool {
        guard offload.flags.contains(.needsChecksum) else { return true }
        let start = origin + Int(offload.checksumStart), field = start + Int(offload.checksumOffset)
        guard offload.checksumStart >= EthernetHeader.length, field + 2 <= byteCount else { return false }
        var sum = InternetChecksum()
        sum.add(bytes.from(start))
        // The only protocol with its checksum at this offset is UDP, where 0 would mean "none".
        put16(Int(offload.checksumOffset) == UDPHeader.Field.checksum ? sum.finishedForUDP : sum.finished, at: field)
        return true
    }
}
