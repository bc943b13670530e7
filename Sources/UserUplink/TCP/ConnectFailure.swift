// SPDX-License-Identifier: Apache-2.0
import Platform
import Wire

/// What a guest is sent when this host cannot connect: what a router in the host's place would have sent, or the remote
/// host itself.
enum ConnectFailure: Equatable, Sendable {
    /// ICMP "network unreachable", or "no route to destination".
    case network
    /// ICMP "host unreachable", or "address unreachable".
    case host
    /// ICMP "communication administratively prohibited".
    case prohibited
    /// RST: the remote host has refused, or something behind the router.
    case refused
    /// Nothing. The guest sends its SYN again, until its own time-out.
    case silence

    /// - Parameter error: the positive errno of socket(2) or connect(2), or the socket's pending error.
    init(_ error: Int32) {
        switch error {
        // No route, or no IPv6 at all; ICMP of a router on the way.
        case Errno.networkUnreachable, Errno.networkDown, Errno.familyNotSupported: self = .network
        // The interface that the socket is bound to is gone.
        case Errno.noDevice, Errno.noSuchDeviceOrAddress: self = .network
        // A route of type `unreachable`, a neighbor that does not answer; ICMP of a router on the way.
        case Errno.hostUnreachable, Errno.hostDown: self = .host
        // A route of type `prohibit`, a filter of the host; ICMPv6 of a router on the way.
        case Errno.accessDenied, Errno.notPermitted: self = .prohibited
        // The remote host does not answer: a router does not notice. Linux reports a route of type `blackhole`, which
        // discards silently, as "invalid argument".
        case Errno.timedOut, Errno.invalid: self = .silence
        // Like a lost SYN.
        case _ where ConnectFailure.isShortage(error): self = .silence
        default: self = .refused
        }
    }

    /// The code of "destination unreachable" (RFC 792, RFC 1812 section 5.2.7.1).
    var icmpCode: UInt8 {
        switch self {
        case .network: ICMPUnreachableCode.network
        case .prohibited: ICMPUnreachableCode.administrativelyProhibited
        case .host, .refused, .silence: ICMPUnreachableCode.host
        }
    }

    /// The same over IPv6 (RFC 4443 section 3.1).
    var icmpv6Code: UInt8 {
        switch self {
        case .network: ICMPv6UnreachableCode.noRoute
        case .prohibited: ICMPv6UnreachableCode.administrativelyProhibited
        case .host, .refused, .silence: ICMPv6UnreachableCode.address
        }
    }

    /// This host lacks descriptors, memory or ports.
    static func isShortage(_ error: Int32) -> Bool {
        [
            Errno.tooManyFiles, Errno.tableFull, Errno.noBuffers, Errno.noMemory, Errno.addressNotAvailable,
        ].contains(error)
    }
}
