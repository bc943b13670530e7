// SPDX-License-Identifier: Apache-2.0
import Platform
import Wire

/// Where a guest is.
struct Station: Equatable, BitwiseCopyable, Sendable {
    let port: PortNumber
    let hardware: MACAddress
}

/// Which guest uses an IPv6 address: first come, first served (FCFS SAVI, RFC 6620).
///
/// The first guest that uses an address holds it. It holds it until its port is detached, until it has used so many
/// others that the port's share is full, or until it does not answer for it: a claim of another guest is refused, and
/// the holder is sent neighbour solicitations (RFC 4861 section 7.3.3), at most one in `questionPause` and only in
/// reply to claims. A holder that has used the address neither in `silence` seconds nor after `questions` of them loses
/// it to the next claim. Time alone ends nothing, for an idle guest would lose its address to any other that waits.
///
/// A port's bindings lie side by side in a place of its own, so that a guest takes nothing from the others' shares
/// however many addresses it uses, and a new guest always has room. Which of them an address has is found by open
/// addressing. All memory is allocated at the start.
@safe
struct SourceBindings: ~Copyable {
    /// A solicitation to be sent to the holder of an address.
    struct Question: Equatable, BitwiseCopyable, Sendable {
        let address: IPv6Address
        let holder: Station
    }

    struct Refusal: Equatable, BitwiseCopyable, Sendable {
        /// The port of the guest that holds the address.
        let holder: PortNumber
        /// The holder has just begun to use the address, and may still be looking for duplicates itself.
        let isNew: Bool
        /// Nil where one was sent just now.
        let question: Question?
    }

    private struct Binding: BitwiseCopyable {
        var address: IPv6Address
        var station: Station
        /// Seconds, as all that follow.
        var lastUsed: UInt32
        /// When the holder last looked for duplicates.
        var detected: UInt32
        /// Solicitations that the holder has not answered, the first and the last of them.
        var questions: UInt8 = 0
        var firstQuestion: UInt32 = 0
        var lastQuestion: UInt32 = 0
    }

    private struct Share: BitwiseCopyable {
        var first: Int32
        var capacity: Int32
        var count: Int32 = 0
        /// Ports with the same one are ends of one port.
        var side: UInt32
        /// Several guests are behind the port, so that the hardware address counts, too.
        var isShared = false
        /// Which of the places for shared ports it has, -1 for none.
        var region: Int8 = -1
    }

    /// Addresses of one guest's port. Privacy addresses (RFC 8981) make about eight for each prefix.
    static let guestShare = 32
    /// Addresses of a port behind which there are several guests.
    static let sharedShare = 512
    /// Ports that have such a share at most; further ones have a guest's.
    static let sharedPorts = 64
    /// Seconds between two solicitations for one address.
    static let questionPause: UInt32 = 2
    /// Solicitations that a holder leaves unanswered before it loses an address.
    static let questions: UInt8 = 6
    /// Seconds for which it is silent before that.
    static let silence = GuestRules.addressSilence
    /// Seconds after which an unanswered solicitation counts no more, because no claim has followed it.
    static let questionAge: UInt32 = 60
    /// Seconds for which a guest looks for duplicates (RFC 4862 section 5.4: one, with as much delay before it).
    static let detection: UInt32 = 2

    private let bindings: UnsafeMutablePointer<Binding>
    private let shares: UnsafeMutablePointer<Share>
    private let ports: Int
    /// Numbers of bindings by address; 0, which is the service's port's, stands for none.
    private let index: UnsafeMutablePointer<UInt16>
    /// A power of two, at least twice the number of bindings.
    private let indexCapacity: Int
    private var freeRegions = UInt64.max
    private let seed: (UInt64, UInt64) = (Random.value(), Random.value())

    /// - Parameter ports: port numbers are below this; 0 is no guest's.
    init(ports: Int) {
        let capacity = ports * SourceBindings.guestShare + SourceBindings.sharedPorts * SourceBindings.sharedShare
        precondition(capacity <= Int(UInt16.max) + 1)
        var places = 1
        while places < capacity * 2 { places *= 2 }
        self.ports = ports
        indexCapacity = places
        unsafe bindings = .allocate(capacity: capacity)
        unsafe shares = .allocate(capacity: ports)
        unsafe index = .allocate(capacity: places)
        unsafe index.initialize(repeating: 0, count: places)
        for port in 0..<ports { unsafe (shares + port).initialize(to: SourceBindings.share(of: port)) }
    }

    deinit {
        unsafe bindings.deallocate()
        unsafe shares.deallocate()
        unsafe index.deallocate()
    }

    private static func share(of port: Int) -> Share {
        Share(first: Int32(port * guestShare), capacity: Int32(guestShare), side: UInt32(port))
    }

    // MARK: Ports

    /// Notes what is behind a new port.
    /// - Parameter bundle: other than 0 for one of several ends of a port.
    mutating func attach(_ port: PortNumber, bundle: UInt16, isShared: Bool) {
        var share = SourceBindings.share(of: Int(port))
        if bundle != 0 { share.side = 1 << 16 | UInt32(bundle) }
        share.isShared = isShared
        if isShared && freeRegions != 0 {
            share.region = Int8(freeRegions.trailingZeroBitCount)
            freeRegions &= freeRegions - 1
            share.first = Int32(ports * SourceBindings.guestShare + Int(share.region) * SourceBindings.sharedShare)
            share.capacity = Int32(SourceBindings.sharedShare)
        }
        unsafe shares[Int(port)] = share
    }

    /// Forgets the addresses of a port.
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

    /// The guest that holds an address.
    func holder(of address: IPv6Address) -> Station? {
        let number = unsafe Int(index[place(of: address)])
        return unsafe number == 0 ? nil : bindings[number].station
    }

    // MARK: Claims

    /// A guest uses an address. Returns nil where it may.
    /// - Parameters:
    ///   - isDetection: it looks for duplicates, for it is about to use the address (RFC 4862 section 5.4).
    ///   - mayAsk: a solicitation can be sent now.
    mutating func claim(
        _ address: IPv6Address, by station: Station, isDetection: Bool = false, mayAsk: Bool = true, now: UInt32
    ) -> Refusal? {
        let number = unsafe Int(index[place(of: address)])
        guard number != 0 else {
            insert(address, station, isDetection, now)
            return nil
        }
        guard isHolder(station, of: number) else { return contest(number, station, isDetection, mayAsk, now) }
        unsafe bindings[number].station = Station(port: bindings[number].station.port, hardware: station.hardware)
        unsafe bindings[number].lastUsed = now
        unsafe bindings[number].questions = 0
        if isDetection { unsafe bindings[number].detected = now }
        return nil
    }

    private func isHolder(_ station: Station, of number: Int) -> Bool {
        let holder = unsafe bindings[number].station
        guard unsafe shares[Int(holder.port)].side == shares[Int(station.port)].side else { return false }
        return unsafe !shares[Int(holder.port)].isShared || holder.hardware == station.hardware
    }

    /// Another guest than the holder claims an address.
    private mutating func contest(
        _ number: Int, _ station: Station, _ isDetection: Bool, _ mayAsk: Bool, _ now: UInt32
    ) -> Refusal? {
        var binding = unsafe bindings[number]
        let isNew = now &- binding.detected < SourceBindings.detection
        if now &- binding.lastQuestion > SourceBindings.questionAge { binding.questions = 0 }
        let isDue = binding.questions == 0 || now &- binding.lastQuestion >= SourceBindings.questionPause
        if isDue && binding.questions >= SourceBindings.questions
            && now &- binding.firstQuestion >= SourceBindings.silence
        {
            let address = binding.address
            remove(number)
            insert(address, station, isDetection, now)
            return nil
        }
        guard isDue && mayAsk else { return Refusal(holder: binding.station.port, isNew: isNew, question: nil) }
        if binding.questions == 0 { binding.firstQuestion = now }
        binding.lastQuestion = now
        if binding.questions < SourceBindings.questions { binding.questions += 1 }
        unsafe bindings[number] = binding
        return Refusal(
            holder: binding.station.port, isNew: isNew,
            question: Question(address: binding.address, holder: binding.station))
    }

    /// Binds an address that is free, in place of the port's oldest where its share is full.
    private mutating func insert(_ address: IPv6Address, _ station: Station, _ isDetection: Bool, _ now: UInt32) {
        let port = Int(station.port)
        if unsafe shares[port].count == shares[port].capacity { remove(oldest(at: port, now)) }
        let number = unsafe Int(shares[port].first + shares[port].count)
        unsafe shares[port].count += 1
        // Not new for those that have used it without looking for duplicates first.
        let detected = isDetection ? now : now &- SourceBindings.detection
        unsafe (bindings + number).initialize(
            to: Binding(address: address, station: station, lastUsed: now, detected: detected))
        unsafe index[place(of: address)] = UInt16(number)
    }

    private func oldest(at port: Int, _ now: UInt32) -> Int {
        let first = unsafe Int(shares[port].first)
        var oldest = first
        for number in first..<first + (unsafe Int(shares[port].count))
        where unsafe now &- bindings[number].lastUsed > now &- bindings[oldest].lastUsed { oldest = number }
        return oldest
    }

    /// A question as a frame, of the switch's own. It comes from an address, for without one it would look for
    /// duplicates: a holder that is still doing so itself would give its address up.
    static func solicitation(_ question: Question) -> [UInt8] {
        let own = LoopGuard.source
        let header = IPv6Header(
            source: IPv6Address(linkLocalFrom: own), destination: question.address, nextHeader: IPProtocol.icmpv6,
            hopLimit: 255)
        let body = [0, 0, 0, 0] + question.address.bytes + [1, 1] + own.bytes
        return NeighborDiscovery.frame(
            header, from: own, to: question.holder.hardware, type: NeighborDiscovery.neighborSolicitation, body: body)
    }

    // MARK: The index

    private func first(_ address: IPv6Address) -> Int {
        let product = (address.high ^ seed.0).multipliedFullWidth(by: address.low ^ seed.1)
        return Int(truncatingIfNeeded: (product.high ^ product.low) &* 0x9e37_79b9_7f4a_7c15 >> 40)
            & (indexCapacity - 1)
    }

    /// Where the number of an address's binding is, or would be. There is always a free place.
    private func place(of address: IPv6Address) -> Int {
        var place = first(address)
        while unsafe index[place] != 0 && bindings[Int(index[place])].address != address {
            place = (place + 1) & (indexCapacity - 1)
        }
        return place
    }

    /// Removes a binding, and puts the port's last one into its place.
    private mutating func remove(_ number: Int) {
        let port = unsafe Int(bindings[number].station.port)
        unsafe clear(place(of: bindings[number].address))
        let last = unsafe Int(shares[port].first + shares[port].count - 1)
        unsafe shares[port].count -= 1
        guard last != number else { return }
        unsafe index[place(of: bindings[last].address)] = UInt16(number)
        unsafe bindings[number] = bindings[last]
    }

    /// Frees a place, and moves those behind it up that would not be found any more.
    private func clear(_ place: Int) {
        var free = place, next = place
        while true {
            next = (next + 1) & (indexCapacity - 1)
            let number = unsafe Int(index[next])
            if number == 0 { break }
            let wanted = unsafe first(bindings[number].address)
            guard (next - wanted) & (indexCapacity - 1) >= (next - free) & (indexCapacity - 1) else { continue }
            unsafe index[free] = UInt16(number)
            free = next
        }
        unsafe index[free] = 0
    }
}
