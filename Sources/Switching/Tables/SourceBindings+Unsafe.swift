// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing
import Wire

/// Which guest uses an IPv6 address: first come, first served (FCFS SAVI, RFC 6620).
///
/// The first guest that uses an address holds it, until its port is detached, until it has used so many others that the
/// port's share is full, or until it does not answer for it: a claim of another guest is refused, and the holder is
/// sent neighbour solicitations (RFC 4861 section 7.3.3), at most one in `solicitationInterval`, and only in reply to
/// claims. A holder that has not used the address within `answerTimeout` seconds and `maximumSolicitations`
/// solicitations loses it to the next claim. Time alone ends no binding, because an idle guest would lose its address
/// to any other that waits.
///
/// A guest with a full share gets a further address when one of its addresses was not used for `leastUse` seconds. So
/// it cannot fill the host's table of neighbours, which all guests share, with ever new addresses. Behind a shared
/// port, this holds for each hardware address, and `freshReplacements` bounds all of them, because hardware addresses
/// can be forged there.
///
/// IPv4 addresses that are bound to no lease count in the same share, if the host keeps them as neighbours. They are no
/// guest's alone, so that other guests are not refused.
///
/// A port's bindings lie side by side in its own block, so that a guest takes nothing of the others' shares
/// however many addresses it uses, and a new guest always has room. The binding of an address is found by open
/// addressing. All memory is allocated at the start. Times are in seconds of the clock.
@safe
struct SourceBindings: ~Copyable {
    /// A solicitation to be sent to the holder of an address.
    struct Solicitation: Equatable, BitwiseCopyable, Sendable {
        let address: IPv6Address
        let holder: Station
    }

    struct Refusal: Equatable, BitwiseCopyable, Sendable {
        /// The port of the guest that holds the address; nil if no guest does.
        let holder: PortNumber?
        /// The address is reserved for another guest. If it is not, and no guest holds it, the claimant's share is full
        /// of addresses that it has just used.
        var isReserved = false
        /// The holder has just begun to use the address, and may still be looking for duplicates itself.
        let isNew: Bool
        /// Nil if one was sent just now.
        let solicitation: Solicitation?
    }

    struct Binding: BitwiseCopyable {
        var address: IPv6Address
        var station: Station
        /// Since when the guest has the address.
        let since: CoarseInstant
        var lastUsed: CoarseInstant
        /// When the holder last looked for duplicates.
        var detected: CoarseInstant
        /// Solicitations that the holder has not answered, the first and the last of them.
        var solicitations: UInt8 = 0
        var firstSolicitation = CoarseInstant.distantPast
        var lastSolicitation = CoarseInstant.distantPast
    }

    struct Share: BitwiseCopyable {
        var first: Int32
        var capacity: Int32
        var count: Int32 = 0
        /// Equal for members of one port group.
        var group: UInt32
        /// Several guests are behind the port, so that the hardware address counts, too.
        var isShared = false
        /// The region for shared ports that it has; -1 for none.
        var region: Int8 = -1
        /// Bindings in use that were replaced in the second `replacedIn`.
        var replaced: UInt8 = 0
        var replacedIn = CoarseInstant.distantPast
    }

    /// Addresses of one guest's port. Privacy addresses (RFC 8981) make about eight for each prefix.
    static let guestShare = 32
    /// Addresses of a port behind which there are several guests.
    static let sharedShare = 512
    /// Ports that have such a share at most; further ones have a guest's.
    static let sharedPorts = 64
    /// The time from its last use on for which an address in a full share of a guest is not replaced. Linux keeps a
    /// neighbour for as long, however full its table is (`neigh_forced_gc`).
    static let leastUse = TimeAmount.seconds(5)
    /// Bindings in use that a shared port with a full share may replace within a second, by those of further guests. In
    /// `leastUse` seconds, such a port uses fewer addresses than Linux keeps as neighbours (1,024; arp(7), gc_thresh3).
    static let freshReplacements: UInt8 = 32
    /// The time between two solicitations for one address.
    static let solicitationInterval = TimeAmount.seconds(2)
    /// Solicitations that a holder leaves unanswered before it loses an address.
    static let maximumSolicitations: UInt8 = 6
    /// The time without an answer before that.
    static let answerTimeout = GuestRules.addressAnswerTimeout
    /// The time after which an unanswered solicitation no longer counts, because no claim has followed it.
    static let solicitationLifetime = TimeAmount.seconds(60)
    /// The time for which a guest looks for duplicates (RFC 4862 section 5.4: 1 s, with as much delay before it).
    static let detection = TimeAmount.seconds(2)

    let bindings: UnsafeMutablePointer<Binding>
    let shares: UnsafeMutablePointer<Share>
    let ports: Int
    /// Numbers of bindings by address; 0, which is the service's port's, stands for none.
    let index: UnsafeMutablePointer<UInt16>
    /// A power of two, at least twice the number of bindings.
    private let indexCapacity: Int
    private var freeRegions = UInt64.max
    private let seed: (UInt64, UInt64) = (Random.value(), Random.value())

    /// - Parameter ports: port numbers are below this; 0 is no guest's.
    init(ports: Int) {
        let capacity = ports * SourceBindings.guestShare + SourceBindings.sharedPorts * SourceBindings.sharedShare
        precondition(capacity <= Int(UInt16.max) + 1)
        var slots = 1
        while slots < capacity * 2 { slots *= 2 }
        self.ports = ports
        indexCapacity = slots
        unsafe bindings = .allocate(capacity: capacity)
        unsafe shares = .allocate(capacity: ports)
        unsafe index = .allocate(capacity: slots)
        unsafe index.initialize(repeating: 0, count: slots)
        for port in 0..<ports { unsafe (shares + port).initialize(to: SourceBindings.share(of: port)) }
    }

    deinit {
        unsafe bindings.deallocate()
        unsafe shares.deallocate()
        unsafe index.deallocate()
    }

    private static func share(of port: Int) -> Share {
        Share(first: Int32(port * guestShare), capacity: Int32(guestShare), group: UInt32(port))
    }

    // MARK: Ports

    /// Records what is behind a new port.
    /// - Parameter group: other than 0 for a member of a port group.
    mutating func attach(_ port: PortNumber, group: UInt16, isShared: Bool) {
        var share = SourceBindings.share(of: Int(port))
        if group != 0 { share.group = 1 << 16 | UInt32(group) }
        share.isShared = isShared
        if isShared && freeRegions != 0 {
            share.region = Int8(freeRegions.trailingZeroBitCount)
            freeRegions &= freeRegions - 1
            share.first = Int32(ports * SourceBindings.guestShare + Int(share.region) * SourceBindings.sharedShare)
            share.capacity = Int32(SourceBindings.sharedShare)
        }
        unsafe shares[Int(port)] = share
    }

    /// Removes the addresses of a port.
    mutating func forget(_ port: PortNumber) {
        while unsafe shares[Int(port)].count > 0 {
            unsafe remove(Int(shares[Int(port)].first + shares[Int(port)].count - 1))
        }
    }

    mutating func detach(_ port: PortNumber) {
        forget(port)
        let region = unsafe shares[Int(port)].region
        if region >= 0 { freeRegions |= 1 << UInt64(region) }
        unsafe shares[Int(port)] = SourceBindings.share(of: Int(port))
    }

    /// How many addresses the guests of a port hold.
    func count(at port: PortNumber) -> Int { unsafe Int(shares[Int(port)].count) }

    // MARK: Claims

    /// A guest uses an address. Returns nil if it may.
    /// - Parameters:
    ///   - isDetection: it looks for duplicates, because it is about to use the address (RFC 4862 section 5.4).
    ///   - maySolicit: a solicitation can be sent now.
    mutating func claim(
        _ address: IPv6Address, by station: Station, isDetection: Bool = false, maySolicit: Bool = true,
        now: CoarseInstant
    ) -> Refusal? {
        let number = unsafe Int(index[slot(of: address)])
        guard number != 0 else {
            return insert(address, station, isDetection, now)
                ? nil : Refusal(holder: nil, isNew: false, solicitation: nil)
        }
        guard isHolder(station, of: number) else { return contest(number, station, isDetection, maySolicit, now) }
        unsafe bindings[number].station = Station(port: bindings[number].station.port, hardware: station.hardware)
        unsafe bindings[number].lastUsed = now
        unsafe bindings[number].solicitations = 0
        if isDetection { unsafe bindings[number].detected = now }
        return nil
    }

    /// A guest uses an IPv4 address that is bound to no lease. Returns whether its share has room for it.
    mutating func claim(_ address: IPv4Address, by station: Station, now: CoarseInstant) -> Bool {
        // An address of a group, which no guest has; of the port and guest, so that others may use it as well.
        let guest = unsafe shares[Int(station.port)].isShared ? station.hardware.value : 0
        let key = IPv6Address(0xffff << 48 | guest, UInt64(station.port) << 32 | UInt64(address.value))
        return claim(key, by: station, now: now) == nil
    }

    /// Takes an address from its holder.
    mutating func release(_ address: IPv6Address) {
        let number = unsafe Int(index[slot(of: address)])
        if number != 0 { remove(number) }
    }

    private func isHolder(_ station: Station, of number: Int) -> Bool {
        let holder = unsafe bindings[number].station
        guard unsafe shares[Int(holder.port)].group == shares[Int(station.port)].group else { return false }
        return unsafe !shares[Int(holder.port)].isShared || holder.hardware == station.hardware
    }

    /// Another guest than the holder claims an address.
    private mutating func contest(
        _ number: Int, _ station: Station, _ isDetection: Bool, _ maySolicit: Bool, _ now: CoarseInstant
    ) -> Refusal? {
        var binding = unsafe bindings[number]
        let isNew = now - binding.detected < SourceBindings.detection
        if now - binding.lastSolicitation > SourceBindings.solicitationLifetime { binding.solicitations = 0 }
        let isDue = binding.solicitations == 0 || now - binding.lastSolicitation >= SourceBindings.solicitationInterval
        if isDue && binding.solicitations >= SourceBindings.maximumSolicitations
            && now - binding.firstSolicitation >= SourceBindings.answerTimeout
            && room(for: station, now).exists
        {
            let address = binding.address
            remove(number)
            _ = insert(address, station, isDetection, now)
            return nil
        }
        guard isDue && maySolicit else { return Refusal(holder: binding.station.port, isNew: isNew, solicitation: nil) }
        if binding.solicitations == 0 { binding.firstSolicitation = now }
        binding.lastSolicitation = now
        if binding.solicitations < SourceBindings.maximumSolicitations { binding.solicitations += 1 }
        unsafe bindings[number] = binding
        return Refusal(
            holder: binding.station.port, isNew: isNew,
            solicitation: Solicitation(address: binding.address, holder: binding.station))
    }

    /// Where one more address of a guest may go.
    private enum Room {
        case free
        /// In place of the binding with this number.
        case instead(of: Int)
        case none

        var exists: Bool { if case .none = self { false } else { true } }
    }

    private func room(for station: Station, _ now: CoarseInstant) -> Room {
        let share = unsafe shares[Int(station.port)], guestShare = SourceBindings.guestShare
        if share.isShared && share.count >= guestShare {
            let own = oldest(at: station, now)
            if own.count >= guestShare { return isUnused(own.number, now) ? .instead(of: own.number) : .none }
        }
        if share.count < share.capacity { return .free }
        let oldest = oldest(in: share, now)
        if isUnused(oldest, now) { return .instead(of: oldest) }
        // The address may be that of a further guest.
        let hasRest = share.replacedIn != now || share.replaced < SourceBindings.freshReplacements
        return share.isShared && hasRest ? .instead(of: oldest) : .none
    }

    private func isUnused(_ number: Int, _ now: CoarseInstant) -> Bool {
        unsafe now - bindings[number].lastUsed >= SourceBindings.leastUse
    }

    /// Binds an address that is free, if there is room for it.
    private mutating func insert(
        _ address: IPv6Address, _ station: Station, _ isDetection: Bool, _ now: CoarseInstant
    ) -> Bool {
        let port = Int(station.port)
        switch room(for: station, now) {
        case .none: return false
        case .free: break
        case .instead(let number):
            if !isUnused(number, now) {
                if unsafe shares[port].replacedIn != now { unsafe shares[port].replaced = 0 }
                unsafe shares[port].replacedIn = now
                unsafe shares[port].replaced += 1
            }
            remove(number)
        }
        let number = unsafe Int(shares[port].first + shares[port].count)
        unsafe shares[port].count += 1
        // Not new if the guest uses it without looking for duplicates first.
        let detected = isDetection ? now : now - SourceBindings.detection
        unsafe (bindings + number).initialize(
            to: Binding(address: address, station: station, since: now, lastUsed: now, detected: detected))
        unsafe index[slot(of: address)] = UInt16(number)
        return true
    }

    /// The binding of a share that was unused for longest.
    private func oldest(in share: Share, _ now: CoarseInstant) -> Int {
        let first = Int(share.first)
        var oldest = first
        for number in first..<first + Int(share.count)
        where unsafe now - bindings[number].lastUsed > now - bindings[oldest].lastUsed { oldest = number }
        return oldest
    }

    /// The same among those of one guest behind a shared port, and how many that guest has.
    private func oldest(at station: Station, _ now: CoarseInstant) -> (number: Int, count: Int) {
        let share = unsafe shares[Int(station.port)], first = Int(share.first)
        var found = (number: first, count: 0)
        for number in first..<first + Int(share.count) {
            let one = unsafe bindings[number]
            guard one.station.hardware == station.hardware else { continue }
            if unsafe found.count == 0 || now - one.lastUsed > now - bindings[found.number].lastUsed {
                found.number = number
            }
            found.count += 1
        }
        return found
    }

    /// A solicitation as a frame of the switch. It has a source address, because one without looks for duplicates: a
    /// holder that is still looking for duplicates itself would give its address up.
    static func frame(of solicitation: Solicitation) -> [UInt8] {
        let own = LoopDetector.source
        let header = IPv6Header(
            source: IPv6Address(linkLocalFrom: own), destination: solicitation.address, nextHeader: IPProtocol.icmpv6,
            hopLimit: 255)
        let body = [0, 0, 0, 0] + solicitation.address.bytes + [1, 1] + own.bytes
        return NeighborDiscovery.frame(
            header, from: own, to: solicitation.holder.hardware, type: ICMPv6Type.neighborSolicitation,
            body: body)
    }

    // MARK: The index

    private func first(_ address: IPv6Address) -> Int {
        let product = (address.high ^ seed.0).multipliedFullWidth(by: address.low ^ seed.1)
        return Int(truncatingIfNeeded: (product.high ^ product.low) &* 0x9e37_79b9_7f4a_7c15 >> 40)
            & (indexCapacity - 1)
    }

    /// The slot that has, or would have, the number of an address's binding. There is always a free one.
    func slot(of address: IPv6Address) -> Int {
        var slot = first(address)
        while unsafe index[slot] != 0 && bindings[Int(index[slot])].address != address {
            slot = (slot + 1) & (indexCapacity - 1)
        }
        return slot
    }

    /// Removes a binding, and moves the port's last one there.
    private mutating func remove(_ number: Int) {
        let port = unsafe Int(bindings[number].station.port)
        unsafe clear(slot(of: bindings[number].address))
        let last = unsafe Int(shares[port].first + shares[port].count - 1)
        unsafe shares[port].count -= 1
        guard last != number else { return }
        unsafe index[slot(of: bindings[last].address)] = UInt16(number)
        unsafe bindings[number] = bindings[last]
    }

    /// Frees a slot, and moves the entries after it that would no longer be found.
    private func clear(_ slot: Int) {
        var free = slot, next = slot
        while true {
            next = (next + 1) & (indexCapacity - 1)
            let number = unsafe Int(index[next])
            if number == 0 { break }
            let home = unsafe first(bindings[number].address)
            guard (next - home) & (indexCapacity - 1) >= (next - free) & (indexCapacity - 1) else { continue }
            unsafe index[free] = UInt16(number)
            free = next
        }
        unsafe index[free] = 0
    }
}
