// SPDX-License-Identifier: Apache-2.0
import Wire

/// An event of a port, for the control thread.
package enum PortEvent: Equatable, Sendable {
    /// The peer does not take frames: a positive errno. Reported once until the port is attached again or `rearm`ed.
    case unreachable(PortNumber, Int32)
    /// The peer sent an empty datagram, as libvdeplug does when it disconnects; or a known peer of a datagram listener
    /// sent a datagram that is no frame, such as a program's hello. Reported once until the port is attached again or
    /// `rearm`ed.
    case goodbye(PortNumber)
    /// A datagram came to a listener from a sender without a port. At most 32 of a listener are pending; a `rearm` of
    /// the listener answers the oldest one.
    case unknownPeer(PortNumber, UnknownPeer)
    /// A stream has ended: its client has closed it, or has announced an impossible frame length.
    case ended(PortNumber, badLength: UInt32?)
    /// The first frame since the port was attached or rearmed.
    case firstFrame(PortNumber)
    /// The port was blocked: frames of the other port come in here, so the two are connected outside the switch.
    case loop(PortNumber, with: PortNumber)
    /// The loop has gone, the port is open again.
    case loopEnded(PortNumber)
    /// A guest has broken the rules. Each offence is reported once in ten seconds for a port.
    case offence(PortNumber, GuestOffence, MACAddress)

    /// The port that the event is about.
    package var port: PortNumber {
        switch self {
        case .unreachable(let port, _), .goodbye(let port), .ended(let port, _), .unknownPeer(let port, _),
            .firstFrame(let port), .loop(let port, _), .loopEnded(let port), .offence(let port, _, _):
            port
        }
    }
}

/// The sender of a datagram that has no port yet. The datagram waits for that port.
package struct UnknownPeer: Equatable, Sendable {
    /// The name that its socket has bound; empty for none.
    package let name: [UInt8]
    /// The user that owns its process; nil if the system does not report it.
    package let user: UInt32?
}
