// SPDX-License-Identifier: Apache-2.0

/// Where the driver of a packed ring goes on.
struct PackedDriver {
    /// The next entry to make available, and the next one to take back, each with its wrap counter.
    var next = 0
    var nextWrap = true
    var taken = 0
    var takenWrap = true
    /// By identifier: the entries of the chain.
    var lengths: [UInt16: Int] = [:]
}

// The driver of packed rings (virtio 1.2 section 2.8).
extension VhostGuest {
    private static let available: UInt16 = 1 << 7, used: UInt16 = 1 << 15

    /// Makes all entries of a ring those of a later round, as if the driver and the device had gone on to `index`.
    package func setPackedRing(to index: Int, wrap: Bool, ring: Int) {
        packed[ring].next = index
        packed[ring].taken = index
        packed[ring].nextWrap = wrap
        packed[ring].takenWrap = wrap
        for entry in 0..<VhostGuest.entries {
            let isThisRound = entry < index
            let marks = isThisRound == wrap ? VhostGuest.available | VhostGuest.used : 0
            store(marks, at: Place.descriptors[ring] + 16 * entry + 14)
        }
    }

    func offerPacked(_ pieces: [(place: Int, length: Int)], identifier: Int, isWritable: Bool, ring: Int) {
        var flags: [(place: Int, value: UInt16)] = []
        for (offset, piece) in pieces.enumerated() {
            let entry = packed[ring].next
            let place = Place.descriptors[ring] + 16 * entry
            let marks = packed[ring].nextWrap ? VhostGuest.available : VhostGuest.used
            flags.append(
                (place + 14, marks | (isWritable ? 2 : 0) | (offset < pieces.count - 1 ? 1 : 0)))
            // The flags show the entry to the device, so they keep their value for now.
            describe(
                entry, table: Place.descriptors[ring], address: VhostGuest.guestBase + UInt64(piece.place),
                length: piece.length, flags: UInt16(identifier), next: load(at: place + 14))
            packed[ring].next += 1
            if packed[ring].next == VhostGuest.entries {
                packed[ring].next = 0
                packed[ring].nextWrap.toggle()
            }
        }
        packed[ring].lengths[UInt16(identifier)] = pieces.count
        for flag in flags.reversed() { store(flag.value, at: flag.place) }
        available[ring] &+= 1
    }

    func takeUsedPacked(ring: Int) -> (head: UInt32, length: Int)? {
        let place = Place.descriptors[ring] + 16 * packed[ring].taken
        let marks = load(at: place + 14) & (VhostGuest.available | VhostGuest.used)
        guard marks == (packed[ring].takenWrap ? VhostGuest.available | VhostGuest.used : 0) else { return nil }
        let identifier = load(at: place + 12)
        packed[ring].taken += packed[ring].lengths[identifier] ?? 1
        if packed[ring].taken >= VhostGuest.entries {
            packed[ring].taken -= VhostGuest.entries
            packed[ring].takenWrap.toggle()
        }
        taken[ring] &+= 1
        return (UInt32(identifier), Int(load32(at: place + 8)))
    }
}
