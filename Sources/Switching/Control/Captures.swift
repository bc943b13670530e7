// SPDX-License-Identifier: Apache-2.0
import Platform

/// The captures of a switch at one time, in slots.
struct Captures {
    /// Captures at once.
    static let capacity = 4

    private var taps: [CaptureTap?] = Array(repeating: nil, count: capacity)
    private var selections: [CaptureSelection] = Array(repeating: .none, count: capacity)

    /// The capture in a slot; nil if the slot is free.
    subscript(slot: Int) -> CaptureTap? { taps[slot] }

    /// Fills a slot, or frees it (nil).
    mutating func set(_ slot: Int, _ tap: CaptureTap?, _ selection: CaptureSelection) {
        taps[slot] = tap
        selections[slot] = tap == nil ? .none : selection
    }

    /// The slots that record a port's frames, a bit each.
    func mask(of port: PortNumber, _ endpoint: PortEndpoint) -> UInt8 {
        guard endpoint.role != .service, endpoint.kind != .datagramListener else { return 0 }
        var mask: UInt8 = 0
        for slot in 0..<Captures.capacity where selections[slot].contains(port, endpoint.role, group: endpoint.group) {
            mask |= 1 << UInt8(slot)
        }
        return mask
    }
}

extension Fabric {
    /// Starts or ends a capture. Under the exclusive lock.
    func setCapture(_ slot: Int, _ tap: CaptureTap?, _ selection: CaptureSelection) {
        settings.captures.set(slot, tap, selection)
        for index in 0..<ports.count { updateCaptures(of: ports.number(at: index)) }
    }

    /// Notes which captures record a port's frames. Under the exclusive lock.
    func updateCaptures(of number: PortNumber) {
        ports[number].setCaptures(settings.captures.mask(of: number, ports[number].endpoint))
    }
}
