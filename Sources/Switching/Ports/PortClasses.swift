// SPDX-License-Identifier: Apache-2.0

/// Kinds of ports between which frames pass or not: each port is of one kind, or of none, and each frame has the set of
/// those by which it may leave.
///
/// One comparison of two sets decides for each frame and port, however many rules there are.
struct PortClasses: OptionSet, BitwiseCopyable {
    let rawValue: UInt8

    static let guests = PortClasses(rawValue: 1 << 0)
    /// Guests that are kept from all others.
    static let isolatedGuests = PortClasses(rawValue: 1 << 1)
    static let uplinks = PortClasses(rawValue: 1 << 2)

    init(rawValue: UInt8) { self.rawValue = rawValue }

    /// The class of a port. A service has none: guests' frames for it are appended by `Dispatcher.offer`.
    init(_ role: PortRole, isIsolated: Bool) {
        switch role {
        case .guest: self = isIsolated ? .isolatedGuests : .guests
        case .uplink: self = .uplinks
        case .service: self = []
        }
    }

    /// The classes of ports by which frames leave that came in by a port.
    /// - Parameter isolatesGuests: all guests are kept from each other.
    init(reachedFrom role: PortRole, isIsolated: Bool, isolatesGuests: Bool) {
        switch role {
        case .guest: self = isIsolated || isolatesGuests ? .uplinks : [.guests, .uplinks]
        // The host's own frames are for guests, not for the NAT beside its TAP.
        case .uplink, .service: self = [.guests, .isolatedGuests]
        }
    }
}
