// SPDX-License-Identifier: Apache-2.0
import CLibrary
import Platform
import Timing

/// A guest's virtio network driver with its front end, in this process: two queue pairs in shared
/// memory, of which the first one is used by default, and the messages of vhost-user. Every word can be made wrong.
@safe
package final class VhostGuest: @unchecked Sendable {
    /// Entries of each ring.
    package static let entries = 64
    /// Bytes of each receive buffer.
    package static let bufferLength = 2048
    /// Where the guest has its memory, and where the front end has it.
    package static let guestBase: UInt64 = 0x1_0000_0000, userBase: UInt64 = 0x7f00_0000_0000
    package static let memoryLength = 2 << 20
    /// The rings of both pairs.
    package static let ringCount = 4
    /// The 12 bytes before each frame.
    package static let headerLength = 12

    /// Where things are in the memory: of each ring, or of each pair.
    package enum Place {
        package static let descriptors = [0x0000, 0x3000, 0x8000, 0xb000]
        package static let available = [0x1000, 0x4000, 0x9000, 0xc000], used = [0x2000, 0x5000, 0xa000, 0xd000]
        package static let indirect = 0x6000
        package static let receiveBuffers = [0x10000, 0x100000], transmitBuffers = [0x40000, 0x120000]
        /// Bytes of a frame to send.
        package static let transmitRoom = 0x16000
    }

    package let memory: UnsafeMutableRawPointer
    /// The file of the memory.
    package let file: Descriptor
    package let kicks: [Box<Wakeup>]
    package let calls: [Box<Wakeup>]
    private var socket: Box<Descriptor>?
    /// Of each ring: how many entries the driver has made available, and how many it has taken back.
    package var available = [UInt16](repeating: 0, count: ringCount)
    package var taken = [UInt16](repeating: 0, count: ringCount)
    /// The rings are packed ones.
    package let isPacked: Bool
    /// Of each packed ring: where the driver goes on, and the entries of each chain.
    var packed = [PackedDriver](repeating: PackedDriver(), count: ringCount)

    package init(isPacked: Bool = false) throws {
        self.isPacked = isPacked
        file = try VhostGuest.sharedFile(of: VhostGuest.memoryLength)
        unsafe memory = mmap(nil, VhostGuest.memoryLength, PROT_READ | PROT_WRITE, MAP_SHARED, file.raw, 0)
        kicks = try (0..<VhostGuest.ringCount).map { _ in Box(try Wakeup()) }
        calls = try (0..<VhostGuest.ringCount).map { _ in Box(try Wakeup()) }
    }

    deinit { unsafe munmap(memory, VhostGuest.memoryLength) }

    /// A file in memory without a name, full of zeros.
    package static func sharedFile(of length: Int) throws -> Descriptor {
        let name = "/dev/shm/vde_vmnet-test-\(CurrentProcess.identifier)-\(UInt64.random(in: 0...UInt64.max))"
        let file = try Files.open(name, [.readWrite, .create])
        try Files.remove(name)
        try file.truncate(to: length)
        return file
    }

    /// Makes the eventfd of a ring's interrupts blocking, and fills it: a write to it waits until `emptyCall`.
    package func fillCall(_ ring: Int) throws {
        calls[ring].value.drain()
        calls[ring].value.descriptor.setBlocking()
        var counter = UInt64.max - 1
        guard unsafe CLibrary.write(calls[ring].value.descriptor.raw, &counter, 8) == 8 else {
            throw CommandFailed(description: "the eventfd cannot be filled")
        }
    }

    /// Lets a write that waits go on.
    package func emptyCall(_ ring: Int) { calls[ring].value.drain() }

    // MARK: Memory

    /// Replaces the driver's own mapping by zeros, once the file was shortened.
    package func forgetMemory() {
        unsafe mmap(
            memory, VhostGuest.memoryLength, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0)
    }

    package func store(_ value: UInt16, at offset: Int) {
        unsafe memory.storeBytes(of: value, toByteOffset: offset, as: UInt16.self)
    }
    package func load(at offset: Int) -> UInt16 { unsafe memory.load(fromByteOffset: offset, as: UInt16.self) }
    package func load32(at offset: Int) -> UInt32 { unsafe memory.load(fromByteOffset: offset, as: UInt32.self) }

    package func write(_ bytes: [UInt8], at offset: Int) {
        for (index, byte) in bytes.enumerated() {
            unsafe memory.storeBytes(of: byte, toByteOffset: offset + index, as: UInt8.self)
        }
    }

    package func read(_ count: Int, at offset: Int) -> [UInt8] {
        (0..<count).map { unsafe memory.load(fromByteOffset: offset + $0, as: UInt8.self) }
    }

    /// All of the memory.
    package var contents: [UInt8] {
        unsafe Array(UnsafeRawBufferPointer(start: memory, count: VhostGuest.memoryLength))
    }

    /// The pages of 4096 bytes that have changed since, by their place in the memory.
    package func changedPages(since contents: [UInt8]) -> [Int] {
        unsafe contents.withUnsafeBytes { before in
            (0..<VhostGuest.memoryLength / 4096).filter {
                unsafe memcmp(memory + $0 * 4096, before.baseAddress! + $0 * 4096, 4096) != 0
            }
        }
    }

    /// Writes a descriptor of a table that begins at `table`.
    package func describe(
        _ index: Int, table: Int, address: UInt64, length: Int, flags: UInt16 = 0, next: UInt16 = 0
    ) {
        let place = table + 16 * index
        unsafe memory.storeBytes(of: address, toByteOffset: place, as: UInt64.self)
        unsafe memory.storeBytes(of: UInt32(length), toByteOffset: place + 8, as: UInt32.self)
        store(flags, at: place + 12)
        store(next, at: place + 14)
    }

    /// Makes the chain of a split ring available that begins at a descriptor.
    package func offer(_ head: UInt16, ring: Int) {
        store(head, at: Place.available[ring] + 4 + 2 * (Int(available[ring]) % VhostGuest.entries))
        available[ring] &+= 1
        store(available[ring], at: Place.available[ring] + 2)
    }

    /// Makes buffers available as one chain: places in the memory, and lengths. Of a split ring, the descriptors from
    /// `identifier` on are used.
    package func offer(_ pieces: [(place: Int, length: Int)], identifier: Int, isWritable: Bool, ring: Int) {
        guard !isPacked else { return offerPacked(pieces, identifier: identifier, isWritable: isWritable, ring: ring) }
        for (offset, piece) in pieces.enumerated() {
            let isLast = offset == pieces.count - 1
            describe(
                identifier + offset, table: Place.descriptors[ring],
                address: VhostGuest.guestBase + UInt64(piece.place), length: piece.length,
                flags: (isWritable ? 2 : 0) | (isLast ? 0 : 1), next: UInt16(identifier + offset + 1))
        }
        offer(UInt16(identifier), ring: ring)
    }

    /// The next chain that the device has returned; nil if there is none.
    package func takeUsed(ring: Int) -> (head: UInt32, length: Int)? {
        if isPacked { return takeUsedPacked(ring: ring) }
        guard load(at: Place.used[ring] + 2) != taken[ring] else { return nil }
        let place = Place.used[ring] + 4 + 8 * (Int(taken[ring]) % VhostGuest.entries)
        taken[ring] &+= 1
        return (load32(at: place), Int(load32(at: place + 4)))
    }

    // MARK: Frames

    private func offerReceiveBuffer(_ index: Int, pair: Int) {
        let place = Place.receiveBuffers[pair] + index * VhostGuest.bufferLength
        offer([(place, VhostGuest.bufferLength)], identifier: index, isWritable: true, ring: 2 * pair)
    }

    /// Offers all receive buffers of a pair.
    package func fillReceiveRing(pair: Int = 0) {
        for index in 0..<VhostGuest.entries { offerReceiveBuffer(index, pair: pair) }
    }

    /// The next received frame after its header, from all its buffers, which are offered again.
    package func receive(pair: Int = 0) -> [UInt8]? {
        let ring = 2 * pair
        guard let first = takeUsed(ring: ring) else { return nil }
        var bytes: [UInt8] = []
        var buffer = first, rest = 1
        while true {
            let offset = Place.receiveBuffers[pair] + Int(buffer.head) * VhostGuest.bufferLength
            let part = read(buffer.length, at: offset)
            if bytes.isEmpty { rest = Int(part[10]) | Int(part[11]) << 8 }
            bytes += part
            offerReceiveBuffer(Int(buffer.head), pair: pair)
            rest -= 1
            guard rest > 0, let next = takeUsed(ring: ring) else { return bytes }
            buffer = next
        }
    }

    /// Offers a frame to be sent, after its header: one descriptor for the header, and one for each piece.
    package func send(
        _ frame: [UInt8], header: [UInt8] = [UInt8](repeating: 0, count: 12), pieces: Int = 1, pair: Int = 0
    ) {
        let ring = 2 * pair + 1, slot = Int(available[ring]) % 8
        let start = Place.transmitBuffers[pair] + slot * Place.transmitRoom
        write(header + frame, at: start)
        var chain = [(place: start, length: header.count)]
        let part = (frame.count + pieces - 1) / pieces
        for piece in 0..<pieces {
            let from = piece * part
            chain.append((start + header.count + from, min(part, frame.count - from)))
        }
        offer(chain, identifier: slot * 8, isWritable: false, ring: ring)
    }

    // MARK: Messages

    /// Connects to a listener.
    package func connect(to path: String) throws {
        socket = Box(try Socket.unixStream())
        try socket!.value.connect(to: UnixPath(path))
    }

    /// Uses a connected socket.
    package func adopt(_ connected: consuming Descriptor) { socket = Box(connected) }

    package func disconnect() { socket = nil }

    /// The listener has closed the connection.
    package func isDisconnected(within seconds: Double = 5) -> Bool {
        let deadline = BootClock.now + .milliseconds(Int64(seconds * 1000))
        while BootClock.now < deadline {
            guard let bytes = try? socket!.value.receive(limit: 64) else {
                _ = socket!.value.wait(for: .readable, until: deadline)
                continue
            }
            if bytes.isEmpty { return true }
        }
        return false
    }

    package static func words(_ values: UInt64...) -> [UInt8] {
        values.flatMap { value in (0..<8).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) } }
    }

    package static func words32(_ values: UInt32...) -> [UInt8] {
        values.flatMap { value in (0..<4).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) } }
    }

    /// Sends bytes with descriptors (SCM_RIGHTS).
    package func send(raw bytes: [UInt8], descriptors: [Int32] = []) throws {
        var bytes = bytes
        // struct cmsghdr: length, level, type; then the descriptors.
        let length = 16 + 4 * descriptors.count
        var control = VhostGuest.words(UInt64(length)) + VhostGuest.words32(UInt32(SOL_SOCKET), 1)
        for descriptor in descriptors { control += VhostGuest.words32(UInt32(bitPattern: descriptor)) }
        while control.count % 8 != 0 { control.append(0) }
        let sent = unsafe bytes.withUnsafeMutableBytes { buffer in
            unsafe control.withUnsafeMutableBytes { room in
                var piece = unsafe iovec(iov_base: buffer.baseAddress, iov_len: buffer.count)
                return unsafe withUnsafeMutablePointer(to: &piece) { pieces in
                    var message = unsafe msghdr()
                    unsafe message.msg_iov = pieces
                    unsafe message.msg_iovlen = 1
                    if !descriptors.isEmpty {
                        unsafe message.msg_control = room.baseAddress
                        unsafe message.msg_controllen = .init(room.count)
                    }
                    return unsafe sendmsg(socket!.value.raw, &message, Int32(MSG_NOSIGNAL))
                }
            }
        }
        guard sent == bytes.count else { throw CommandFailed(description: "sendmsg: errno \(Errno.last)") }
    }

    /// Sends a request.
    package func request(
        _ number: UInt32, _ payload: [UInt8] = [], flags: UInt32 = 1, descriptors: [Int32] = []
    ) throws {
        try send(
            raw: VhostGuest.words32(number, flags, UInt32(payload.count)) + payload, descriptors: descriptors)
    }

    /// Receives a reply with a payload of 8 bytes.
    package func reply(within seconds: Double = 5) throws -> (number: UInt32, value: UInt64) {
        let deadline = BootClock.now + .milliseconds(Int64(seconds * 1000))
        var bytes: [UInt8] = []
        while bytes.count < 20 {
            guard BootClock.now < deadline else { throw CommandFailed(description: "no reply from the device") }
            _ = socket!.value.wait(for: .readable, until: deadline)
            guard let part = try? socket!.value.receive(limit: 20 - bytes.count) else { continue }
            if part.isEmpty { throw CommandFailed(description: "the device has closed the connection") }
            bytes += part
        }
        let value = bytes[12...].reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        return (UInt32(bytes[0]), value)
    }

    /// The memory table with one region.
    package static var memoryTable: [UInt8] {
        words32(1, 0) + words(guestBase, UInt64(memoryLength), userBase, 0)
    }

    /// Negotiates, and starts the rings at these indices, as QEMU does.
    /// - Parameters:
    ///   - features: what the driver uses.
    ///   - bases: one for each ring; by default those of the first pair.
    package func start(features: UInt64, bases: [UInt32] = [0, 0]) throws {
        try request(1)
        _ = try reply()
        try request(15)
        try request(16, VhostGuest.words(try reply().value))
        try request(3)
        try request(2, VhostGuest.words(features | 1 << 30))
        try request(5, VhostGuest.memoryTable, flags: 9, descriptors: [file.raw])
        guard try reply().value == 0 else { throw CommandFailed(description: "the memory was refused") }
        for ring in bases.indices {
            try request(8, VhostGuest.words32(UInt32(ring), UInt32(VhostGuest.entries)))
            try request(10, VhostGuest.words32(UInt32(ring), bases[ring]))
            try request(
                9,
                VhostGuest.words32(UInt32(ring), 0)
                    + VhostGuest.words(
                        VhostGuest.userBase + UInt64(Place.descriptors[ring]),
                        VhostGuest.userBase + UInt64(Place.used[ring]),
                        VhostGuest.userBase + UInt64(Place.available[ring]), 0))
            try request(12, VhostGuest.words(UInt64(ring)), descriptors: [kicks[ring].value.signalDescriptor])
            try request(13, VhostGuest.words(UInt64(ring)), descriptors: [calls[ring].value.signalDescriptor])
            try request(18, VhostGuest.words32(UInt32(ring), 1))
        }
        // Frames that come before the rings are enabled are discarded. With this reply, they are.
        try request(1)
        _ = try reply()
    }

    /// Announces entries of a ring.
    package func kick(_ ring: Int) { kicks[ring].value.signal() }
}
