// SPDX-License-Identifier: Apache-2.0
import FrameIO
import Platform
import Wire

/// What never changes while a port is attached: its configuration and counters, and the descriptors, which are closed
/// with the last reference. Shared by the parts of a `Port`, each of which has its own lock.
final class PortEndpoint: Sendable {
    let kind: PortKind
    let role: PortRole
    /// The descriptor that carries frames, or wakes a worker for a device; -1 if there is none.
    let raw: Int32
    /// Bytes of the longest frame without segmentation metadata that may be sent here.
    let maximumFrame: Int
    /// The same for GSO frames that the port takes in one piece; 0 if they are segmented here.
    let maximumGSOFrame: Int
    /// The MTU by which offload is inferred for frames without a virtio header (`PortConfiguration.offloadMTU`).
    let offloadMTU: Int
    let device: FrameDevice?
    let counters: PortCounters
    /// Other than 0: one of several connections to one port.
    let group: UInt16
    let mayServe: Bool
    let receivesUnknown: Bool
    let reach: PortReach
    let listener: PortNumber?
    let injector: InjectionPort?

    /// Whether the poller reports when a full receiver has room again. It does not for a device, nor for a receiver
    /// that the socket is not connected to.
    let reportsWritability: Bool
    /// Receiving takes the lock for sending, too.
    let serializesCalls: Bool
    /// A device that is polled instead of being read.
    let isPolled: Bool

    private let descriptor: Descriptor?
    private let peerHandle: Descriptor?
    private let owner: (any AnyObject & Sendable)?

    init(_ configuration: PortConfiguration, _ counters: PortCounters) {
        kind = configuration.kind
        role = configuration.role
        raw = configuration.descriptor
        device = configuration.device
        offloadMTU = configuration.offloadMTU
        owner = configuration.owner
        self.counters = counters
        group = configuration.group
        mayServe = configuration.mayServe
        receivesUnknown = configuration.receivesUnknown
        reach = configuration.reach
        listener = configuration.listener
        injector = configuration.injector
        descriptor = configuration.descriptor >= 0 ? Descriptor(adopting: configuration.descriptor) : nil
        peerHandle = configuration.peerHandle >= 0 ? Descriptor(adopting: configuration.peerHandle) : nil
        reportsWritability =
            switch configuration.kind {
            case .stream, .sequencedPacket: true
            case .device, .datagramClient: false
            default: Poller.reportsWritability
            }
        serializesCalls = configuration.device?.serializesCalls ?? false
        isPolled = configuration.device?.isPolled ?? false
        switch configuration.kind {
        case .datagram, .stream, .sequencedPacket, .datagramClient:
            maximumFrame = configuration.maximumFrame
            // What libkrun's buffers hold, too.
            maximumGSOFrame = configuration.offloadMTU > 0 ? min(configuration.maximumFrame, FrameLimits.stream) : 0
        case .tap, .packet:
            maximumFrame = configuration.maximumFrame
            maximumGSOFrame = max(configuration.maximumFrame, FrameBatch.maximumFrameLength)
        case .device:
            maximumFrame = configuration.maximumFrame
            maximumGSOFrame = max(configuration.maximumFrame, configuration.device?.maximumGSOFrame ?? 0)
        case .service, .datagramListener:
            // What does not fit the ring is refused there.
            (maximumFrame, maximumGSOFrame) = (.max, .max)
        }
    }

    /// Bytes of the virtio header before each frame that a device takes in one piece; 0 for none.
    var headerLength: Int { kind == .packet ? VirtioNetHeader.shortLength : device?.headerLength ?? 0 }

    /// Whether the port is a socket, whose frames have no virtio header.
    private var isSocket: Bool {
        switch kind {
        case .datagram, .stream, .sequencedPacket, .datagramClient: true
        default: false
        }
    }

    /// Whether a frame is segmented when it is sent here: a GSO frame to a socket, unless the guest takes it whole.
    func segments(_ frame: FrameDescriptor, _ edit: TagEdit) -> Bool {
        guard frame.offload.segmentation != .none, isSocket else { return false }
        return frame.offload.segmentation == .udp || Int(frame.length) + edit.lengthDelta > maximumGSOFrame
    }

    /// Whether frames are sent without a virtio header, so that their checksums must be complete.
    var needsCompleteChecksums: Bool { isSocket || (kind == .device && headerLength == 0) }

    /// Whether a device without virtio headers takes GSO frames: it recognizes them by their length.
    var acceptsGSO: Bool { headerLength > 0 || (device?.maximumGSOFrame ?? 0) > 0 }

    /// Whether a frame may be sent here once `edit` has been applied to its tag.
    @inline(never)
    func fits(_ frame: FrameDescriptor, _ edit: TagEdit, in batch: borrowing FrameBatch) -> Bool {
        let length = Int(frame.length) + edit.lengthDelta
        if frame.offload.segmentation == .none { return length <= maximumFrame }
        // A device that takes no GSO frames gets the segments as frames that are too long are split.
        guard segments(frame, edit) else { return length <= maximumGSOFrame && (kind != .device || acceptsGSO) }
        // Mostly the longest headers would fit.
        let largest = Int(frame.offload.segmentSize) + Segmenter.maximumHeaderLength + edit.lengthDelta
        if largest <= maximumFrame { return true }
        // One that cannot be segmented is dropped as malformed when it is sent.
        guard let segmenter = Segmenter(batch.bytes(of: frame), frame.offload) else { return true }
        return segmenter.longestFrame + edit.lengthDelta <= maximumFrame
    }
}

extension TagEdit {
    /// Bytes by which a frame grows.
    @inline(__always)
    var lengthDelta: Int {
        switch self {
        case .keep: 0
        case .insert: VLANTag.length
        case .strip: -VLANTag.length
        }
    }
}
