// SPDX-License-Identifier: Apache-2.0
import Timing
import Wire

/// Decides when a router advertises itself (RFC 4861 section 6.2). It has no clock and no socket: the caller passes the
/// time and random numbers, and sends the frames.
///
///     event                        advertisement
///     start, change of contents    to all guests at once, and twice more with 16 s between (section 6.2.4)
///     time                         to all guests, 200 to 600 s after the last one
///     solicitation                 to the guest; its delay of 0 to 0.5 s is 0, because no other router of the link
///                                  could answer at the same moment
///     without an address, and      to all guests, 3 s after the last one at the earliest (section 6.2.6)
///     beyond the limit
///     end                          to all guests, with lifetimes of 0 (section 6.2.5)
///     another server's network     to all guests, once, with those of the prefix 0 as well
package struct RouterAdvertiser: Sendable {
    /// Defaults of RFC 4861 section 6.2.1, and constants of section 10.
    private static let minimumInterval = TimeAmount.seconds(200), maximumInterval = TimeAmount.seconds(600)
    private static let initialInterval = TimeAmount.seconds(16), initialCount = 3
    private static let minimumDelay = TimeAmount.seconds(3)
    /// Advertisements to single guests within a second.
    private static let solicitedLimit = 64

    /// A destination: the address, and the hardware address.
    package typealias Destination = (IPv6Address, MACAddress)

    /// The router's address on the link.
    private let address: IPv6Address
    /// What is advertised.
    package private(set) var contents: RouterAdvertisement
    /// When all guests get the next advertisement.
    package private(set) var nextDeadline: Instant
    private var lastMulticast = Instant.distantPast
    private var remainingInitial = RouterAdvertiser.initialCount
    /// The second to which `solicited` belongs.
    private var second = CoarseInstant.distantPast
    private var solicited = 0

    /// - Parameter address: of the link, from which the advertisements are sent.
    package init(_ contents: RouterAdvertisement, from address: IPv6Address, now: Instant) {
        self.contents = contents
        self.address = address
        nextDeadline = now
    }

    /// Changes what is advertised. All guests get it soon.
    package mutating func change(_ contents: RouterAdvertisement, now: Instant) {
        guard contents != self.contents else { return }
        self.contents = contents
        restart(now: now)
    }

    private func earliest(_ now: Instant) -> Instant { max(now, lastMulticast + RouterAdvertiser.minimumDelay) }

    /// Begins again, for guests that have had no advertisement.
    package mutating func restart(now: Instant) {
        remainingInitial = RouterAdvertiser.initialCount
        nextDeadline = earliest(now)
    }

    /// Handles a solicitation, which the caller has checked.
    /// - Parameter source: the sender; without an address, all guests get the advertisement.
    /// - Returns: the frame to send now; nil if `nextDeadline` is when it is sent.
    package mutating func solicit(from source: Destination, now: Instant) -> [UInt8]? {
        if second != now.coarse { (second, solicited) = (now.coarse, 0) }
        guard source.0 != .unspecified, solicited < RouterAdvertiser.solicitedLimit else {
            nextDeadline = min(nextDeadline, earliest(now))
            return nil
        }
        solicited += 1
        return contents.frame(from: address, to: source)
    }

    /// Returns the frame for all guests, if it is time.
    /// - Parameter random: any number.
    package mutating func tick(now: Instant, random: UInt32) -> [UInt8]? {
        guard now >= nextDeadline else { return nil }
        lastMulticast = now
        remainingInitial = max(0, remainingInitial - 1)
        let spread = RouterAdvertiser.maximumInterval - RouterAdvertiser.minimumInterval
        let interval =
            RouterAdvertiser.minimumInterval
            + .milliseconds(Int64(random % UInt32(spread.nanoseconds / 1_000_000)))
        nextDeadline = now + (remainingInitial > 0 ? min(RouterAdvertiser.initialInterval, interval) : interval)
        return frame(contents)
    }

    /// The last advertisement: the sender is no router and no name server any more, and leads to no NAT64.
    package var farewell: [UInt8] { frame(last) }

    private var last: RouterAdvertisement {
        var last = contents
        last.routerLifetime = 0
        last.namesLifetime = 0
        last.nat64Lifetime = 0
        return last
    }

    /// The last advertisement of a router whose network is served by another: guests do not use its prefix for new
    /// connections either (RFC 4862 section 5.5.4).
    package var resignation: [UInt8] {
        var last = last
        last.preferredLifetime = 0
        last.validLifetime = 0
        return frame(last)
    }

    private func frame(_ contents: RouterAdvertisement) -> [UInt8] {
        contents.frame(from: address, to: (.allNodes, MACAddress(ofGroup: .allNodes)))
    }
}
