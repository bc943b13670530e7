// SPDX-License-Identifier: Apache-2.0
import VirtioRing
import Wire

/// A message of a vhost-user front end (QEMU docs/interop/vhost-user): 12 bytes of header, then the payload. All
/// integers are in the host's order, which is little-endian on all systems that are supported.
package struct VhostMessage: Equatable, Sendable {
    /// Bytes of the header.
    package static let headerLength = 12
    /// The longest payload that a request has: the memory table.
    package static let maximumPayload = 8 + GuestMemory.maximumRegions * regionLength
    private static let regionLength = 32
    /// Bytes of the other payloads: a number, a ring and a number, a place in the dirty log, the addresses of a ring.
    private static let numberLength = 8, ringStateLength = 8, logLength = 16, ringAddressesLength = 40

    /// Offsets in the header, and in the payloads (vhost-user, "Header" and "Payload").
    private enum Field {
        static let request = 0, flags = 4, length = 8
        static let ring = 0, ringValue = 4
        static let ringDescriptors = 8, ringUsed = 16, ringAvailable = 24
        static let number = 0, high = 4
        static let logLength = 0, logOffset = 8
        static let regionCount = 0, regions = 8
        static let guestAddress = 0, size = 8, userAddress = 16, fileOffset = 24
    }
    /// In the flags: the version, and the bits of a reply and of a requested acknowledgement.
    private static let version: UInt32 = 1, versionMask: UInt32 = 3, isReply: UInt32 = 4, needsReply: UInt32 = 8

    /// The requests that are handled.
    package enum Request: UInt32, Sendable {
        case getFeatures = 1, setFeatures, setOwner, resetOwner, setMemoryTable, setLogBase, setLogDescriptor
        case setRingSize = 8, setRingAddresses, setRingBase, getRingBase, setKick, setCall, setError
        case getProtocolFeatures, setProtocolFeatures, getQueueCount, setRingEnabled
        case setMTU = 20
        case resetDevice = 34
        case setStatus = 39, getStatus
    }

    /// The number of the request.
    package let number: UInt32
    /// The front end waits for an acknowledgement, if that was negotiated.
    package let needsAcknowledgement: Bool
    /// What follows the header.
    package var payload: [UInt8]

    package init(_ number: UInt32, needsAcknowledgement: Bool = false, payload: [UInt8]) {
        self.number = number
        self.needsAcknowledgement = needsAcknowledgement
        self.payload = payload
    }

    /// The request; nil for one that is not handled.
    package var request: Request? { Request(rawValue: number) }

    /// Reads a header. Returns the message without its payload, and the payload's length.
    package static func parse(header bytes: [UInt8]) throws(VhostFault) -> (message: VhostMessage, length: Int) {
        guard bytes.count == headerLength else { throw VhostFault("its message has no header") }
        let span = bytes.rawSpan
        let flags = span.native32(at: Field.flags), length = span.native32(at: Field.length)
        guard flags & versionMask == version, flags & isReply == 0 else {
            throw VhostFault("it sent \(flags) as flags of a message; the program may use another protocol")
        }
        guard length <= UInt32(maximumPayload) else {
            throw VhostFault("it announced a message of \(length) bytes; the longest one has \(maximumPayload)")
        }
        let message = VhostMessage(
            span.native32(at: Field.request), needsAcknowledgement: flags & needsReply != 0, payload: [])
        return (message, Int(length))
    }

    /// The reply to this message, with these words of 32 bits.
    package func reply(_ words: [UInt32]) -> [UInt8] {
        VhostMessage.bytes([number, VhostMessage.version | VhostMessage.isReply, UInt32(4 * words.count)] + words)
    }

    /// The reply to this message, with a number of 64 bits.
    package func reply(_ value: UInt64) -> [UInt8] {
        reply([UInt32(truncatingIfNeeded: value), UInt32(truncatingIfNeeded: value >> 32)])
    }

    private static func bytes(_ words: [UInt32]) -> [UInt8] {
        words.flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> (8 * $0)) } }
    }

    // MARK: Payloads

    private func checkLength(_ length: Int) throws(VhostFault) {
        guard payload.count == length else {
            throw VhostFault("its request \(number) has \(payload.count) bytes instead of \(length)")
        }
    }

    private func word64(_ offset: Int) -> UInt64 {
        let span = payload.rawSpan
        return UInt64(span.native32(at: offset)) | UInt64(span.native32(at: offset + Field.high)) << 32
    }

    /// A payload of one number.
    package func number64() throws(VhostFault) -> UInt64 {
        try checkLength(VhostMessage.numberLength)
        return word64(Field.number)
    }

    /// Bytes of the dirty log, and where it begins in its file.
    package func logPlace() throws(VhostFault) -> (length: UInt64, offset: UInt64) {
        try checkLength(VhostMessage.logLength)
        return (word64(Field.logLength), word64(Field.logOffset))
    }

    /// A ring, and a number for it.
    package func ringState() throws(VhostFault) -> (ring: Int, value: UInt32) {
        try checkLength(VhostMessage.ringStateLength)
        let span = payload.rawSpan
        return (try ring(UInt64(span.native32(at: Field.ring))), span.native32(at: Field.ringValue))
    }

    /// A ring, and whether a descriptor comes with the message.
    package func ringDescriptor() throws(VhostFault) -> (ring: Int, hasDescriptor: Bool) {
        let value = try number64()
        return (try ring(value & 0xff), value & 0x100 == 0)
    }

    /// A ring, and the front end's addresses of its parts.
    package func ringAddresses() throws(VhostFault) -> (ring: Int, place: RingPlace) {
        try checkLength(VhostMessage.ringAddressesLength)
        var place = RingPlace()
        place.descriptors = word64(Field.ringDescriptors)
        place.used = word64(Field.ringUsed)
        place.available = word64(Field.ringAvailable)
        return (try ring(UInt64(payload.rawSpan.native32(at: Field.ring))), place)
    }

    private func ring(_ index: UInt64) throws(VhostFault) -> Int {
        guard index < UInt64(VhostDevice.ringCount) else {
            let pairs = VhostDevice.maximumPairs
            throw VhostFault("it sets up ring \(index), and \(2 * pairs) rings are served (queues=\(pairs))")
        }
        return Int(index)
    }

    /// The guest's memory.
    package func memoryRegions() throws(VhostFault) -> [MemoryRegion] {
        guard payload.count >= Field.regions else { throw VhostFault("its memory table has \(payload.count) bytes") }
        let count = payload.rawSpan.native32(at: Field.regionCount)
        guard count <= UInt32(GuestMemory.maximumRegions) else {
            throw VhostFault("it shares \(count) memory regions; at most \(GuestMemory.maximumRegions) are possible")
        }
        try checkLength(Field.regions + Int(count) * VhostMessage.regionLength)
        return (0..<Int(count)).map { index in
            let start = Field.regions + index * VhostMessage.regionLength
            return MemoryRegion(
                guestAddress: word64(start + Field.guestAddress), size: word64(start + Field.size),
                userAddress: word64(start + Field.userAddress), fileOffset: word64(start + Field.fileOffset))
        }
    }
}
