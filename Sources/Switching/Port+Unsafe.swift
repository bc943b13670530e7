// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import Wire

/// A frame that leaves through a port: its index in the batch, and what happens to its VLAN tag there.
@usableFromInline
struct Departure: BitwiseCopyable {
    private let raw: UInt16

    init(_ index: Int, _ edit: TagEdit) { raw = UInt16(truncatingIfNeeded: index) | UInt16(edit.rawValue) << 14 }

    var index: Int { Int(raw & 0x3fff) }
    var edit: TagEdit { TagEdit(rawValue: UInt8(raw >> 14)) ?? .keep }
}

/// One port of the switch.
///
/// Receiving is for the worker that the port belongs to, `ingress` is its own. Any worker may send: who has `sending`
/// has `egress`. A TAP takes frames from several at once and keeps nothing back, so that nobody waits there. What says
/// `tables` is guarded by the lock of that name (`Fabric`); the rest changes only while all workers pause.
@usableFromInline
struct Port: ~Copyable {
    let number: PortNumber
    let configuration: PortConfiguration
    let descriptor: Descriptor?
    let raw: Int32
    @usableFromInline let kind: PortKind
    @usableFromInline let role: PortRole
    @usableFromInline let maximumFrame: Int
    /// Other than 0: one of several ends of a port.
    let bundle: UInt16
    let mayServe: Bool
    let counters: PortCounters
    let pin: Descriptor?
    /// Whether the poller tells when a full receiver has room again. Of a device it knows nothing, nor of a receiver
    /// that the socket is not connected to.
    let tellsOfRoom: Bool
    /// Receiving takes `sending`, too.
    let takesOneCallAtATime: Bool
    /// A device that is given turns instead of being read.
    let takesTurns: Bool
    /// The next in the ring of a bundle's ends; the port itself where it is alone.
    var sibling: PortNumber
    /// The VLAN of frames without a tag.
    var untaggedVLAN: UInt16
    /// The worker that reads it.
    var worker = 0

    var ingress: PortIngress
    let sending = Lock()
    var egress: PortEgress

    // What `tables` guards.

    /// Nothing goes in or out, because of a loop, until `closedUntil` (seconds).
    var isClosed = false
    var closedUntil: UInt32 = 0
    /// A probe was sent to find out whether the loop is still there.
    var isOnTrial = false
    /// The receiver is full, and the poller was told so, or where it cannot tell of room, a worker. Changed by who has
    /// `sending`, too.
    var isWatchingForRoom = false
    /// Not read for a moment, because a receiver of what it sends is full.
    var isHeld = false
    /// Not in the poller while it is held.
    var isSilenced = false
    /// Full for so long that nobody is held for it any more, until its queue has been empty.
    var isSlow = false
    /// Until when others are held for this port; 0 while nobody is.
    var patienceEnds: UInt64 = 0
    /// A stream is over, and not watched any more.
    var hasEnded = false
    /// An `unreachable` event was sent and not yet answered.
    var isReported = false
    /// What its guests have done against the rules and was reported, a bit each, since when (seconds).
    var reportedOffences: UInt16 = 0
    var offencesSince: UInt32 = 0
    /// From when on a DHCP request of its guests is shown to the other guests again.
    var nextShownRequest: UInt32 = 0

    init(_ number: PortNumber, _ configuration: PortConfiguration, _ counters: PortCounters) {
        self.number = number
        self.configuration = configuration
        self.counters = counters
        raw = configuration.descriptor
        descriptor = configuration.descriptor >= 0 ? Descriptor(adopting: configuration.descriptor) : nil
        kind = configuration.kind
        role = configuration.role
        maximumFrame = configuration.maximumFrame
        bundle = configuration.bundle
        mayServe = configuration.mayServe
        sibling = number
        untaggedVLAN = configuration.untaggedVLAN
        pin = configuration.pin >= 0 ? Descriptor(adopting: configuration.pin) : nil
        // Not by ||: a closure that looks at a half-made value which cannot be copied makes Swift 6.3 free what was
        // never made.
        tellsOfRoom =
            switch configuration.kind {
            case .stream: true
            case .device, .datagramClient: false
            default: Poller.tellsOfRoom
            }
        takesOneCallAtATime = configuration.device?.takesOneCallAtATime ?? false
        takesTurns = configuration.device?.takesTurns ?? false
        ingress = PortIngress(configuration, counters)
        egress = PortEgress(configuration, counters)
    }

    /// Bytes by which a frame grows.
    static func growth(by edit: TagEdit) -> Int {
        switch edit {
        case .keep: 0
        case .insert: VLANTag.length
        case .strip: -VLANTag.length
        }
    }

    /// Nanoseconds between attempts to send to a full receiver that does not tell of room.
    static let retryPause = MonotonicClock.millisecond
}
