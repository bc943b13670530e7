// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing

/// One port of the switch.
///
/// | part              | used by                                  | under                                |
/// |-------------------|------------------------------------------|--------------------------------------|
/// | `endpoint`        | everyone                                 | nothing: it never changes            |
/// | `ingress`         | the worker that the port belongs to      | the topology lock, shared            |
/// | `egress`          | any worker that sends                    | `egressLock`                         |
/// | marked "tables"   | any worker                               | `Fabric.tablesLock`                  |
/// | the rest          | the worker that changes the topology     | the topology lock, exclusive         |
///
/// A TAP takes frames from several workers at once and keeps nothing back, so `egressLock` is not taken for it.
struct Port: ~Copyable {
    /// How often a full receiver that does not report room is tried again.
    static let retryInterval = TimeAmount.milliseconds(1)

    let number: PortNumber
    let endpoint: PortEndpoint
    /// The next member of the port's group, a ring; the port itself outside a group.
    var nextInGroup: PortNumber
    /// The VLAN of frames without a tag (802.1Q: PVID).
    var pvid: UInt16
    /// The worker that reads the port.
    var worker = 0
    /// Its guests reach no other guests.
    private(set) var isIsolated: Bool
    /// What it is for frames that other ports received.
    private(set) var classes: PortClasses
    /// The limit of its rate; nil for none. The buckets let everything pass then.
    private(set) var limit: RateLimit?
    /// The captures that record its frames, a bit for each slot.
    private(set) var captures: UInt8 = 0
    /// It has a limit or a capture: its batches take the way of `Dispatcher+Detour`.
    private(set) var hasDetour = false
    /// Of received frames: used by the port's worker.
    var ingressBucket = TokenBucket()
    /// Of sent frames: used under `egressLock`.
    var egressBucket = TokenBucket()

    var ingress = PortIngress()
    let egressLock = Lock()
    var egress: PortEgress

    // MARK: tables

    /// Loop detection discards what comes in or would go out, until `blockedUntil` (seconds of the clock).
    var isLoopBlocked = false
    var blockedUntil = CoarseInstant.distantPast
    /// A probe was sent to find out whether the loop is still there.
    var isProbing = false
    /// The receiver is full, and the poller or a worker waits for room. Follows `egress.isCongested`;
    /// changed under both locks, because a worker that updates the poller's interest has only `tablesLock`.
    var needsWritable = false
    /// The port is not read for now: a receiver of its frames is full.
    var isPaused = false
    /// The port is not in the poller while it is paused.
    var isMasked = false
    /// The port was full for longer than the pause limit. No sender is paused for it until its queue was empty once.
    var isSlowReceiver = false
    /// Until when senders are paused for this port; `distantPast` while none is.
    var pauseDeadline = Instant.distantPast
    /// The error of an `unreachable` event that was reported and not yet answered; 0 for none.
    var reportedError: Int32 = 0
    /// Offences of its guests that were reported, a bit each, and since when (seconds).
    var reportedOffences: UInt16 = 0
    var offencesSince = CoarseInstant.distantPast
    /// From when on a DHCP request of its guests is shown to the other guests again (seconds).
    var nextShownRequest = CoarseInstant.distantPast

    init(_ number: PortNumber, _ configuration: PortConfiguration, _ counters: PortCounters) {
        self.number = number
        endpoint = PortEndpoint(configuration, counters)
        nextInGroup = number
        pvid = configuration.pvid
        isIsolated = configuration.isIsolated
        classes = PortClasses(configuration.role, isIsolated: configuration.isIsolated)
        egress = PortEgress(configuration)
        setLimit(configuration.limit)
    }

    /// Keeps its guests from all others, or no longer.
    mutating func setIsolated(_ isIsolated: Bool) {
        self.isIsolated = isIsolated
        classes = PortClasses(role, isIsolated: isIsolated)
    }

    /// Sets the limit of its rate, each way.
    mutating func setLimit(_ limit: RateLimit?) {
        self.limit = limit
        hasDetour = limit != nil || captures != 0
        let now = BootClock.now
        ingressBucket = limit.map { TokenBucket($0, now: now) } ?? TokenBucket()
        egressBucket = ingressBucket
    }

    /// Sets the captures that record its frames.
    mutating func setCaptures(_ captures: UInt8) {
        self.captures = captures
        hasDetour = limit != nil || captures != 0
    }

    var kind: PortKind { @inline(__always) get { endpoint.kind } }
    var role: PortRole { @inline(__always) get { endpoint.role } }
    var counters: PortCounters { @inline(__always) get { endpoint.counters } }

    /// What the port's worker waits for. With `tablesLock`.
    var interest: Readiness {
        var interest: Readiness = isPaused ? [] : .readable
        if needsWritable && endpoint.reportsWritability { interest.insert(.writable) }
        return interest
    }

    /// Whether the port is in its worker's poller. With `tablesLock`.
    var isPolledForEvents: Bool { !egress.hasEnded && !isMasked && endpoint.raw >= 0 }
}
