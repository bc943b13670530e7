// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import Wire

// Which ports a frame leaves by, and how they send it.

extension Dispatcher {
    // MARK: Choosing ports, with `tablesLock`

    // Mutating, all of them, so that the dispatcher is passed by its address: Swift copies a borrowed struct of this
    // size for each call.

    mutating func isMember(_ port: Int, ofVLAN vlan: UInt16) -> Bool {
        ports[port].pvid == vlan || settings.membership.contains(port, vlan)
    }

    @inline(__always)
    mutating func isAllowed(_ context: FrameContext, to egress: PortNumber) -> Bool {
        !context.reach.isDisjoint(with: ports[egress].classes)
    }

    /// Whether two ports are one, or members of one group: stations there have received the frame already.
    @inline(__always)
    mutating func isSameGroup(_ ingress: Int, _ egress: Int) -> Bool {
        ingress == egress
            || (ports[ingress].endpoint.group != 0 && ports[ingress].endpoint.group == ports[egress].endpoint.group)
    }

    /// To the port at which the destination was learned, and the other members of its group.
    @inline(__always)
    mutating func forwardUnicast(_ context: FrameContext, to egress: PortNumber, _ batch: borrowing FrameBatch) {
        guard !isSameGroup(context.ingress, Int(egress)) else { return }
        guard isAllowed(context, to: egress) else {
            if context.role == .guest { ports[context.ingress].counters.dropped(.isolated) }
            return
        }
        enqueueUnicast(context, to: egress, batch)
        let next = ports[egress].nextInGroup
        if next != egress { forwardToGroup(context, next, until: egress, batch) }
    }

    @inline(never)
    private mutating func forwardToGroup(
        _ context: FrameContext, _ first: PortNumber, until last: PortNumber, _ batch: borrowing FrameBatch
    ) {
        var member = first
        while member != last {
            enqueueUnicast(context, to: member, batch)
            member = ports[member].nextInGroup
        }
    }

    @inline(__always)
    private mutating func enqueueUnicast(
        _ context: FrameContext, to egress: PortNumber, _ batch: borrowing FrameBatch
    ) {
        enqueueTagged(context, to: egress, batch)
        lists.markUnicast(egress)
    }

    /// To every port that receives group frames, or frames to unknown addresses.
    @inline(never)
    mutating func flood(_ context: FrameContext, _ batch: borrowing FrameBatch) {
        ingressInfo.flooded |= 1 << UInt64(context.index)
        for index in 0..<ports.count {
            let egress = ports.number(at: index)
            if (context.isGroup || settings.isHub || ports[egress].endpoint.receivesUnknown)
                && !isSameGroup(context.ingress, Int(egress)) && isAllowed(context, to: egress)
            {
                enqueueTagged(context, to: egress, batch)
            }
        }
    }

    /// A copy to one port, unless the frame goes there already.
    mutating func copy(_ context: FrameContext, to egress: PortNumber, _ batch: borrowing FrameBatch) {
        if lists.isLast(context.index, at: egress) { return }
        guard !isSameGroup(context.ingress, Int(egress)), isAllowed(context, to: egress) else { return }
        enqueueTagged(context, to: egress, batch)
    }

    /// What happens to a frame's tag at a port (802.1Q clause 8.8.2); nil if the frame does not leave there.
    @inline(__always)
    mutating func egressEdit(_ context: FrameContext, at egress: PortNumber) -> TagEdit? {
        if ports[egress].isLoopBlocked { return nil }
        guard separatesVLANs else { return .keep }
        guard isMember(Int(egress), ofVLAN: context.vlan) else { return nil }
        let needsTag = ports[egress].pvid != context.vlan
        return needsTag == context.isTagged ? .keep : needsTag ? .insert : .strip
    }

    @inline(__always)
    private mutating func enqueueTagged(
        _ context: FrameContext, to egress: PortNumber, _ batch: borrowing FrameBatch
    ) {
        guard let edit = egressEdit(context, at: egress) else { return }
        enqueue(context.index, edit, for: egress, batch)
    }

    /// Appends a frame to a port's list. Whether it is too long for that port is decided here.
    @inline(__always)
    mutating func enqueue(_ index: Int, _ edit: TagEdit, for egress: PortNumber, _ batch: borrowing FrameBatch) {
        let frame = batch[index]
        // The endpoint's field alone, so that the endpoint is not retained for a call.
        let fits =
            frame.offload.segmentation == .none
            ? Int(frame.length) &+ edit.lengthDelta <= ports[egress].endpoint.maximumFrame
            : ports[egress].endpoint.fits(frame, edit, in: batch)
        lists.append(EgressEntry(index, edit, isOversize: !fits), to: egress)
    }

    // MARK: Sending

    /// Sends all lists. Returns the number of a full receiver that was sent more than copies.
    mutating func flush(_ batch: inout FrameBatch) -> PortNumber? {
        var congested: PortNumber? = nil
        let lists = lists
        for index in 0..<lists.count {
            let egress = lists.port(at: index)
            let summary = lists.take(egress)
            let entries = lists.entries(of: egress, summary)
            if ports[egress].kind == .service {
                deliverToServices(entries, &batch)
            } else if summary.hasOversize {
                if transmitMixed(entries, by: egress, &batch) && summary.hasUnicast { congested = egress }
            } else if transmitBatch(entries, by: egress, &batch) && summary.hasUnicast {
                congested = egress
            }
        }
        lists.removeAll()
        return congested
    }

    /// Sends a list in which frames are too long: these are split or answered in their place between the others, so
    /// that one sender's frames keep their order.
    @inline(never)
    private mutating func transmitMixed(
        _ entries: Span<EgressEntry>, by egress: PortNumber, _ batch: inout FrameBatch
    ) -> Bool {
        var first = 0
        for position in 0..<entries.count where entries[position].isOversize {
            if first < position { _ = transmitBatch(entries.extracting(first..<position), by: egress, &batch) }
            let before = ports[egress].captures == 0 ? nil : DropSnapshot(ports[egress].counters)
            handleOversize(entries[position], at: egress, &batch)
            if let before, before.reasonOfEgress(ports[egress].counters).drops > 0 {
                let one = entries.extracting(position..<position + 1)
                recordSent(one, by: egress, before, time: WallClock.nanoseconds, &batch)
            }
            first = position + 1
        }
        return transmitBatch(entries.extracting(first..<entries.count), by: egress, &batch)
    }

    /// Sends frames that fit the port. Returns whether its receiver is full.
    private mutating func transmitBatch(
        _ entries: Span<EgressEntry>, by egress: PortNumber, _ batch: inout FrameBatch
    ) -> Bool {
        ports[egress].hasDetour
            ? transmitByDetour(entries, by: egress, &batch) : transmitAll(entries, by: egress, &batch)
    }

    mutating func transmitAll(
        _ entries: Span<EgressEntry>, by egress: PortNumber, _ batch: inout FrameBatch
    ) -> Bool {
        if ports[egress].kind == .tap {
            let error = PortEgress.transmitCoalesced(
                entries, of: &batch, to: ports[egress].endpoint, with: &sender)
            if error != 0 { reportUnreachable(egress, error) }
            return false
        }
        if ports[egress].endpoint.isPolled { scheduleDevice(egress, isReadable: false) }
        ports[egress].egressLock.lock()
        let error = ports[egress].egress.transmit(entries, of: &batch, to: ports[egress].endpoint, with: &sender)
        updateBackpressure(egress, error)
        let isCongested = ports[egress].egress.isCongested
        ports[egress].egressLock.unlock()
        return isCongested
    }

    /// Sends what is in `scratch`, which fits the port, out of it.
    mutating func transmitScratch(by egress: PortNumber, _ edit: TagEdit = .keep) {
        guard scratch.count > 0 else { return }
        if ports[egress].endpoint.isPolled { scheduleDevice(egress, isReadable: false) }
        let lists = lists
        ports[egress].egressLock.lock()
        let error = ports[egress].egress.transmit(
            lists.sequence(of: scratch.count, edit), of: &scratch, to: ports[egress].endpoint, with: &sender)
        updateBackpressure(egress, error)
        ports[egress].egressLock.unlock()
        if ports[egress].captures != 0 { recordScratch(by: egress, edit) }
    }

    /// Sends one frame of the switch itself out of a port, if it is not too long.
    mutating func transmitOwn(_ frame: [UInt8], by egress: PortNumber, _ edit: TagEdit = .keep, vlan: UInt16 = 0) {
        scratch.removeAll()
        scratch.append(copying: frame.rawSpan)
        scratch[0].vlan = vlan
        guard ports[egress].endpoint.fits(scratch[0], edit, in: scratch) else {
            return ports[egress].counters.dropped(.oversize)
        }
        transmitScratch(by: egress, edit)
    }

    /// Reports once that a port's receiver is not there. Without `tablesLock`.
    func reportUnreachable(_ number: PortNumber, _ error: Int32) {
        fabric.tablesLock.lock()
        // The end of a connection is reported after the last frame that came by it.
        let isExpected =
            ports[number].kind.hasEnd && !ports[number].egress.hasEnded
            && (error == Errno.brokenPipe || error == Errno.reset)
        let before = ports[number].reportedError
        // A TAP, or the NIC of a packet socket, is down. It may be removed then.
        let wasDown = before == Errno.ioError || before == Errno.networkDown
        let isNews = (before == 0 || wasDown && error != before) && !isExpected
        if isNews { ports[number].reportedError = error }
        fabric.tablesLock.unlock()
        if isNews { control.report(.unreachable(number, error)) }
    }
}
