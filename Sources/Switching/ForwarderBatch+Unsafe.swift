// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import Wire

// A batch on its way: where each frame goes, and how it leaves.

extension Forwarder {
    /// A frame on its way through.
    struct Passage: BitwiseCopyable {
        let index: Int
        let ingress: Int
        let role: PortRole
        let isGroup: Bool
        /// Not for the uplink.
        var isWithheld = false
        var isTagged: Bool
        /// The VLAN that it is in; where VLANs are not looked at, what its tag says.
        var vlan: UInt16
    }

    /// Sends every frame of the batch, or some of them, where it belongs. Returns whether more of that port has to wait
    /// for a full receiver.
    @discardableResult
    mutating func forward(from ingress: Int, _ part: Range<Int>? = nil) -> Bool {
        origin = BatchOrigin(port: ingress)
        fabric.tables.lock()
        sort(from: ingress, part)
        fabric.tables.unlock()
        if unsafe !ports[ingress].ingress.hasReceived {
            unsafe ports[ingress].ingress.hasReceived = true
            if unsafe ports[ingress].role != .service { control.report(.firstFrame(PortNumber(ingress))) }
        }
        let obstacle = transmit()
        let isHeld = obstacle.map { hold(ingress, for: $0) } ?? false
        if part == nil { sendOwn() }
        return isHeld
    }

    /// Notes with every port which frames leave by it. With `tables`.
    private mutating func sort(from ingress: Int, _ part: Range<Int>?) {
        let role = unsafe ports[ingress].role
        let looksAtVLANs = state.isVLANAware && !state.isHub
        var frames = 0, bytes = 0
        // Frames of a burst mostly share both addresses: the last answer is tried first.
        var lastDestination: AddressTable.Key = 0, lastSource: AddressTable.Key = 0
        var lastEgress: PortNumber? = nil
        for index in part ?? 0..<batch.count {
            let frame = batch[index]
            guard frame.length >= 14 else {
                if frame.length > 0 { unsafe ports[ingress].counters.dropped(.runt) }
                continue
            }
            frames &+= 1
            bytes &+= Int(frame.length)
            let header = FrameHeader(batch.bytes(of: frame), role: role)
            if header.payload == .probe,
                let origin = tables.loopGuard.origin(of: batch.bytes(of: frame), at: header.payloadStart)
            {
                close(becauseOf: origin, at: ingress)
                continue
            }
            if unsafe ports[ingress].isClosed {
                unsafe ports[ingress].counters.dropped(.loop)
                continue
            }
            var passage = Passage(
                index: index, ingress: ingress, role: role, isGroup: header.destination.isGroup,
                isTagged: header.isTagged, vlan: header.vlan)
            if looksAtVLANs && !admit(&passage) {
                unsafe ports[ingress].counters.dropped(.vlan)
                continue
            }
            let sourceKey = AddressTable.key(header.source, vlan: passage.vlan)
            if role != .service && sourceKey != lastSource {
                guard !header.source.isGroup, header.source.value != 0 else {
                    unsafe ports[ingress].counters.dropped(.malformed)
                    continue
                }
                // It is tied to its port in the uplink's VLANs only; where VLANs are not kept apart, that is not all of
                // them.
                if role == .guest && header.source == state.rules.gatewayHardware && !looksAtVLANs {
                    unsafe ports[ingress].counters.dropped(.spoofed)
                    continue
                }
                switch tables.addresses.learn(sourceKey, at: PortNumber(ingress), now: now) {
                case .accepted: break
                case .moved: if tables.loopGuard.addressMoved(now: now) { wantsProbes = true }
                case .belongsElsewhere:
                    unsafe ports[ingress].counters.dropped(.spoofed)
                    continue
                }
                lastSource = sourceKey
                lastDestination = 0
            }
            if header.service != .none && header.service != .arp && take(header.service, passage) { continue }
            if role == .guest {
                passage.isWithheld = header.service == .dhcpRequest && state.policy.withholdsDHCP
                if state.isJudging && !isPlainlyHonest(batch.bytes(of: frame), header) {
                    guard let isForAll = admitGuest(passage, header) else { continue }
                    if !isForAll { passage.isWithheld = true }
                }
                // Behind the guard: what it drops is no sign of a conflict.
                if header.service == .arp { _ = take(.arp, passage) }
            } else if header.payload == .ipv6 && role == .uplink && state.rules.reach != .nothing
                && isInServiceVLAN(passage)
            {
                let hardware = state.rules.gatewayHardware
                tables.addressGuard.saw(
                    batch.bytes(of: frame).from(header.payloadStart), isGateways: header.source == hardware, now: now)
            }
            if role == .guest, let names = state.names, header.destination == names.hardware, takeName(passage, names) {
                continue
            }

            let destinationKey = AddressTable.key(header.destination, vlan: passage.vlan)
            if destinationKey != lastDestination {
                lastDestination = destinationKey
                lastEgress = passage.isGroup || state.isHub ? nil : tables.addresses.lookup(destinationKey, now: now)
            }
            if let egress = lastEgress {
                deliver(passage, to: egress)
            } else if role == .service && state.isIsolating,
                let egress = recipient(of: batch.bytes(of: frame), header, vlan: passage.vlan)
            {
                deliver(passage, to: egress)
            } else {
                flood(passage)
            }
        }
        unsafe ports[ingress].counters.received(frames: frames, bytes: bytes)
    }

    func isMember(_ port: Int, _ vlan: UInt16) -> Bool {
        unsafe ports[port].untaggedVLAN == vlan || state.membership.contains(port, vlan)
    }

    func isAllowed(_ passage: Passage, to egress: PortNumber) -> Bool {
        let ingress = passage.role, egress = unsafe ports[Int(egress)].role
        // The service speaks to guests only; what guests say to it is noted by `take`.
        return egress != .service && (ingress != .service || egress == .guest)
            && !(state.isIsolating && ingress == .guest && egress == .guest)
            && !(passage.isWithheld && egress == .uplink)
    }

    /// Back to where it came from: the stations are on the same side and have heard each other.
    func isSameSide(_ ingress: Int, _ egress: Int) -> Bool {
        unsafe ingress == egress || (ports[ingress].bundle != 0 && ports[ingress].bundle == ports[egress].bundle)
    }

    private mutating func deliver(_ passage: Passage, to egress: PortNumber) {
        guard !isSameSide(passage.ingress, Int(egress)) else { return }
        guard isAllowed(passage, to: egress) else {
            if passage.role == .guest { unsafe ports[passage.ingress].counters.dropped(.isolated) }
            return
        }
        var end = egress
        repeat {
            send(passage, to: end)
            // Where it was not sent after all, there is nothing to mark.
            if unsafe pendingCounts[Int(end)] != 0 { unsafe pendingCounts[Int(end)] |= Self.isWanted }
            end = unsafe ports[Int(end)].sibling
        } while end != egress
    }

    mutating func flood(_ passage: Passage) {
        origin.flooded |= 1 << UInt64(passage.index)
        for place in 0..<state.activeCount {
            let egress = unsafe active[place]
            if unsafe (passage.isGroup || state.isHub || ports[Int(egress)].configuration.receivesUnknown)
                && !isSameSide(passage.ingress, Int(egress)) && isAllowed(passage, to: egress)
            {
                send(passage, to: egress)
            }
        }
    }

    mutating func send(_ passage: Passage, to egress: PortNumber) {
        if unsafe ports[Int(egress)].isClosed { return }
        guard state.isVLANAware && !state.isHub else { return note(passage.index, .keep, for: egress) }
        guard isMember(Int(egress), passage.vlan) else { return }
        let wantsTag = unsafe ports[Int(egress)].untaggedVLAN != passage.vlan
        note(passage.index, wantsTag == passage.isTagged ? .keep : wantsTag ? .insert : .strip, for: egress)
    }

    mutating func note(_ index: Int, _ edit: TagEdit, for egress: PortNumber) {
        let count = unsafe Int(pendingCounts[Int(egress)] & ~Self.isWanted)
        if count == 0 {
            unsafe touched[touchedCount] = egress
            touchedCount += 1
        }
        unsafe pending[Int(egress) * Forwarder.batchCapacity + count] = Departure(index, edit)
        unsafe pendingCounts[Int(egress)] = unsafe pendingCounts[Int(egress)] & Self.isWanted | UInt16(count + 1)
    }

    /// Whether the frame that was looked at last goes to that port already.
    func isPending(_ index: Int, at egress: PortNumber) -> Bool {
        let count = unsafe Int(pendingCounts[Int(egress)] & ~Self.isWanted)
        return unsafe count > 0 && pending[Int(egress) * Forwarder.batchCapacity + count - 1].index == index
    }

    /// In a port's count of pending frames: some of them are more than copies.
    private static var isWanted: UInt16 { 1 << 15 }

    /// Sends what is pending. Returns a full receiver of more than copies.
    @discardableResult
    mutating func transmit() -> PortNumber? {
        var obstacle: PortNumber? = nil
        for place in 0..<touchedCount {
            let egress = unsafe Int(touched[place])
            let count = unsafe pendingCounts[egress]
            var departures = unsafe UnsafeBufferPointer(
                start: pending + egress * Forwarder.batchCapacity, count: Int(count & ~Self.isWanted))
            unsafe pendingCounts[egress] = 0
            if unsafe ports[egress].kind == .service {
                unsafe deliverToService(departures)
                continue
            }
            while true {
                let (refused, isBlocked) = unsafe transmit(departures, by: egress)
                if isBlocked && count & Self.isWanted != 0 { obstacle = PortNumber(egress) }
                if refused < 0 { break }
                unsafe departures = handleOversize(refused, departures, egress)
            }
        }
        touchedCount = 0
        return obstacle
    }

    private mutating func transmit(
        _ departures: UnsafeBufferPointer<Departure>, by egress: Int
    ) -> (refused: Int, isBlocked: Bool) {
        if unsafe ports[egress].kind == .tap {
            let outcome = unsafe ports[egress].egress.transmitInRuns(departures, of: &batch, with: &sender)
            if outcome.error != 0 { report(egress, outcome.error) }
            return (outcome.refused, false)
        }
        if unsafe ports[egress].takesTurns { noteTurn(egress, isReadable: false) }
        unsafe ports[egress].sending.lock()
        let outcome = unsafe ports[egress].egress.transmit(departures, of: &batch, with: &sender)
        settle(egress, outcome.error)
        let isBlocked = unsafe ports[egress].egress.isBlocked
        unsafe ports[egress].sending.unlock()
        return (outcome.refused, isBlocked)
    }
}
