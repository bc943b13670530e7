// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import Timing
import Wire

/// Dispatches a batch of frames that came in by one port: classifies each frame, learns its source, appends it to the
/// lists of the ports that it leaves by, and sends these lists.
///
/// A `ForwardingWorker` has a dispatcher for the ports that it reads, an `InjectionPort` has one for the frames that a
/// device injects. Used by one thread at a time, which holds `Fabric.topologyLock`, shared or exclusive.
struct Dispatcher: ~Copyable {
    let fabric: Fabric
    let ports: PortSlab
    let control: SwitchControl
    private let settingsCell: SharedCell<SwitchSettings>
    private let tablesCell: SharedCell<ForwardingTables>
    /// The worker that this dispatcher belongs to; the number of workers for an `InjectionPort`'s.
    let worker: Int

    /// The second at the start of this run.
    var now = CoarseInstant.distantPast
    let lists = EgressLists()
    var sender = SendVector()
    /// Frames that are made here: pieces of longer ones, probes, notices.
    var scratch = FrameBatch(capacity: 16)
    var ingressInfo = IngressInfo(port: 0)

    // MARK: Work that a batch leaves for its owner

    /// Full receivers that do not report room.
    var retrying: [PortNumber] = []
    /// Some ports may be paused by this worker.
    var hasPausedIngress = false
    /// Addresses move between ports: every port is to be probed for a loop.
    var needsLoopProbes = false
    /// A neighbour solicitation to be sent after the batch.
    var solicitation: SourceBindings.Solicitation?
    var deviceSchedule = DeviceSchedule()

    init(_ fabric: Fabric, worker: Int) {
        self.fabric = fabric
        self.worker = worker
        ports = fabric.ports
        control = fabric.control
        settingsCell = fabric.settingsCell
        tablesCell = fabric.tablesCell
        retrying.reserveCapacity(PortSlab.capacity)
    }

    deinit { lists.deallocate() }

    /// Changes under `topologyLock` exclusively only.
    var settings: SwitchSettings {
        @inline(__always) _read { yield settingsCell.value }
    }

    /// Frames are classified by VLAN. Not a property of the settings, which would be copied to call it.
    var separatesVLANs: Bool { @inline(__always) get { settings.isVLANAware && !settings.isHub } }

    /// - Precondition: `Fabric.tablesLock` is locked, or `topologyLock` exclusively.
    var tables: ForwardingTables {
        @inline(__always) _read { yield tablesCell.value }
        @inline(__always) nonmutating _modify { yield &tablesCell.value }
    }

    /// Dispatches every frame of `batch`, or those in `range`. Frames may be changed in place.
    /// - Returns: whether the ingress port is paused now, because a receiver of its frames is full.
    @discardableResult
    mutating func dispatch(_ batch: inout FrameBatch, from ingress: Int, _ range: Range<Int>? = nil) -> Bool {
        ingressInfo = IngressInfo(port: ingress)
        let frames = range ?? 0..<batch.count
        if ports[ingress].hasDetour {
            classifyByDetour(&batch, from: ingress, frames)
        } else {
            fabric.tablesLock.lock()
            classify(&batch, from: ingress, frames)
            fabric.tablesLock.unlock()
        }
        if !ports[ingress].ingress.hasReceived {
            ports[ingress].ingress.hasReceived = true
            if ports[ingress].role != .service { control.report(.firstFrame(PortNumber(ingress))) }
        }
        let isPaused = flush(&batch).map { pauseIngress(ingress, for: $0) } ?? false
        if range == nil { sendDeferred() }
        return isPaused
    }

    /// Sends the frames that a batch has led to.
    mutating func sendDeferred() {
        if needsLoopProbes { sendLoopProbes() }
        if solicitation != nil { sendSolicitation() }
    }

    // MARK: Classification, with `tablesLock`

    /// Appends each frame to the lists of the ports that it leaves by.
    ///
    /// The steps that most frames of a burst do not need, `learn` and `admit`, are not inlined: the optimizer inlines
    /// nothing more, `@inline(__always)` or not, once a function has too many basic blocks, and then the steps that
    /// every frame needs become calls. That costs a fifth more instructions a frame (`vde_vmnet_bench costs`).
    @inline(never)
    mutating func classify(_ batch: inout FrameBatch, from ingress: Int, _ range: Range<Int>) {
        let role = ports[ingress].role
        let reach = PortClasses(
            reachedFrom: role, isIsolated: ports[ingress].isIsolated, isolatesGuests: settings.isolatesGuests)
        let separatesVLANs = separatesVLANs, needsAdmission = needsAdmission(role)
        var frames = 0, bytes = 0
        // Frames of a burst mostly share both addresses: the last answer is tried first.
        var lastDestination: AddressTable.Key = 0, lastSource: AddressTable.Key = 0
        var lastEgress: PortNumber? = nil
        for index in range {
            let frame = batch[index]
            guard frame.length >= EthernetHeader.length else {
                if frame.length > 0 { ports[ingress].counters.dropped(.runt) }
                continue
            }
            frames &+= 1
            bytes &+= Int(frame.length)
            let header = FrameHeader(batch.bytes(of: frame), role: role)
            if header.payload == .loopProbe,
                let origin = tables.loopDetector.origin(of: batch.bytes(of: frame), at: header.payloadStart)
            {
                handleLoop(from: origin, to: ingress)
                continue
            }
            if ports[ingress].isLoopBlocked {
                ports[ingress].counters.dropped(.loop)
                continue
            }
            var context = FrameContext(
                index: index, ingress: ingress, role: role, isGroup: header.destination.isGroup, reach: reach,
                isTagged: header.isTagged, vlan: header.vlan)
            if separatesVLANs && !classifyVLAN(&context, &batch) {
                ports[ingress].counters.dropped(.vlan)
                continue
            }
            let sourceKey = AddressTable.key(header.source, vlan: context.vlan)
            if role != .service && sourceKey != lastSource {
                guard learn(sourceKey, header, context, separatesVLANs) else { continue }
                lastSource = sourceKey
                lastDestination = 0
            }
            if (needsAdmission && !isAdmitted(batch.bytes(of: frame), header, role)) || header.service != .none {
                guard let reach = admit(context, header, &batch) else { continue }
                context.reach = reach
            }

            let destinationKey = AddressTable.key(header.destination, vlan: context.vlan)
            if destinationKey != lastDestination {
                lastDestination = destinationKey
                lastEgress = context.isGroup || settings.isHub ? nil : tables.addresses.lookup(destinationKey, now: now)
            }
            var egress = lastEgress
            if egress == nil && role == .service && settings.isolatesGuests {
                egress = dhcpRecipient(of: batch.bytes(of: frame), header, vlan: context.vlan)
            }
            if let egress { forwardUnicast(context, to: egress, batch) } else { flood(context, batch) }
        }
        ports[ingress].counters.received(frames: frames, bytes: bytes)
    }

    /// Learns a source address at its port. Returns false if the frame is dropped: no station sends from that address.
    @inline(never)
    private mutating func learn(
        _ key: AddressTable.Key, _ header: FrameHeader, _ context: FrameContext, _ separatesVLANs: Bool
    ) -> Bool {
        guard !header.source.isGroup, header.source.value != 0 else {
            ports[context.ingress].counters.dropped(.malformed)
            return false
        }
        // The gateway's address is static in the uplink's VLANs only; without VLAN awareness those are not all tags.
        if context.role == .guest && header.source == settings.rules.gatewayHardware && !separatesVLANs {
            ports[context.ingress].counters.dropped(.spoofed)
            return false
        }
        switch tables.addresses.learn(key, at: PortNumber(context.ingress), now: now) {
        case .accepted: break
        case .moved: if tables.loopDetector.addressMoved(now: now) { needsLoopProbes = true }
        case .staticElsewhere:
            ports[context.ingress].counters.dropped(.spoofed)
            return false
        }
        return true
    }

    /// Whether all frames from ports of a role go through `admit`; otherwise those for a service do.
    private func needsAdmission(_ role: PortRole) -> Bool {
        switch role {
        case .guest: settings.checksGuests || settings.names != nil || settings.boot != nil || settings.hasRouter
        case .uplink: settings.rules.reach != .nothing || settings.hasRouter
        case .service: false
        }
    }

    /// Whether `admit` need not examine a frame: it is from the source that was permitted last, and for no service.
    @inline(__always)
    private func isAdmitted(_ frame: RawSpan, _ header: FrameHeader, _ role: PortRole) -> Bool {
        role == .guest && isFromLastSource(frame, header) && header.destination != settings.names?.hardware
    }

    /// Diverts a frame to the services, and applies the rules for guests. Returns the kinds of ports that it may leave
    /// by; nil if it goes no further.
    @inline(never)
    private mutating func admit(
        _ context: FrameContext, _ header: FrameHeader, _ batch: inout FrameBatch
    ) -> PortClasses? {
        let frame = batch[context.index]
        var reach = context.reach
        if header.service != .none && header.service != .arp && offer(context, as: header.service, batch) {
            return nil
        }
        if context.role == .guest {
            if header.service == .dhcpRequest && settings.policy.withholdsDHCP { reach.remove(.uplinks) }
            if settings.checksGuests && !isFromLastSource(batch.bytes(of: frame), header) {
                guard let isForUplink = checkGuest(context, header, batch) else { return nil }
                if !isForUplink { reach.remove(.uplinks) }
            }
            // After the source guard: what it drops is no sign of an address conflict.
            if header.service == .arp { _ = offer(context, as: .arp, batch) }
            if header.payload == .ipv6 && settings.hasRouter { copyToRouterService(context, header, batch) }
            if let names = settings.names, header.destination == names.hardware,
                divertToNameService(context, names, batch)
            {
                return nil
            }
            if let boot = settings.boot, header.payload == .ipv4, divertToBootService(context, boot, batch) {
                return nil
            }
        } else if header.payload == .ipv6 && context.role == .uplink && isInServiceVLAN(context) {
            markRouter(context, header, &batch)
            if settings.rules.reach != .nothing {
                tables.sourceGuard.learnGateway(
                    from: batch.bytes(of: frame).from(header.payloadStart),
                    isFromGateway: header.source == settings.rules.gatewayHardware, now: now)
            }
        }
        return reach
    }
}
