// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import TestSupport
import Wire

@testable import VirtioRing

/// A device with the rings of a guest that this process plays.
final class RingFixture {
    let guest: VhostGuest
    let device: VhostDevice
    let frames: FrameDevice
    private var batch = FrameBatch(capacity: 64)
    private var receiver: ReceiveVector

    /// - Parameters:
    ///   - guest: one that other devices served before; nil for a new one.
    ///   - bases: where each ring begins; packed rings by default with a wrap counter of 1.
    ///   - starts: the rings run.
    init(
        _ features: VirtioFeatures, guest: VhostGuest? = nil, bases: [UInt32] = [0, 0], starts: Bool = true
    ) throws {
        let isPacked = features.contains(.packedRings)
        self.guest = try guest ?? VhostGuest(isPacked: isPacked)
        device = try VhostDevice()
        frames = device.frameDevice
        receiver = ReceiveVector(for: batch)
        try device.setFeatures(features.union(.protocolFeatures))
        try device.setMemory(RingFixture.memory(of: self.guest))
        guard starts else { return }
        for ring in bases.indices { try start(ring, base: bases[ring] | (isPacked ? 0x8000_8000 : 0)) }
    }

    static func memory(
        of guest: VhostGuest, size: UInt64 = UInt64(VhostGuest.memoryLength)
    ) throws -> GuestMemory {
        var list = DescriptorList()
        list.append(adopting: try guest.file.duplicate().release())
        return try GuestMemory(
            [
                MemoryRegion(
                    guestAddress: VhostGuest.guestBase, size: size, userAddress: VhostGuest.userBase, fileOffset: 0)
            ], from: list)
    }

    func start(_ ring: Int, base: UInt32 = 0, size: UInt32 = UInt32(VhostGuest.entries)) throws {
        func user(_ places: [Int]) -> UInt64 { VhostGuest.userBase + UInt64(places[ring]) }
        try device.setPlace(of: ring) {
            $0.size = size
            $0.base = base
            $0.descriptors = user(VhostGuest.Place.descriptors)
            $0.available = user(VhostGuest.Place.available)
            $0.used = user(VhostGuest.Place.used)
        }
        try device.setCall(of: ring, Box(guest.calls[ring].value.descriptor.duplicate()))
        try device.start(ring, kick: Box(guest.kicks[ring].value.descriptor.duplicate()))
        try device.setEnabled(ring, true)
    }

    /// What the device takes from the guest: frames with their offloads.
    func receive() -> (frames: [(bytes: [UInt8], offload: VirtioNetHeader)], error: Int32) {
        batch.removeAll()
        let outcome = receiver.receive(from: frames, into: &batch)
        var all: [(bytes: [UInt8], offload: VirtioNetHeader)] = []
        for index in 0..<batch.count {
            let frame = batch[index]
            let bytes = batch.bytes(of: frame)
            var copy: [UInt8] = []
            for offset in 0..<bytes.byteCount { copy.append(bytes.byte(at: offset)) }
            all.append((copy, frame.offload))
        }
        return (all, outcome.error)
    }

    /// Has the device put frames into the guest's buffers.
    func send(_ all: [[UInt8]], offload: VirtioNetHeader = VirtioNetHeader()) -> (sent: Int, error: Int32) {
        batch.removeAll()
        var vector = SendVector()
        for frame in all { batch.append(length: frame.count, offload: offload) { $0.put(frame.rawSpan, at: 0) } }
        for index in 0..<batch.count {
            PacketIO.append(index, of: &batch, to: &vector, headerLength: VirtioNetHeader.length)
        }
        return vector.send(to: frames)
    }
}

/// A frame of `count` bytes that differ.
func numbered(_ count: Int, from first: Int = 0) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: $0 * 7 + first) }
}
