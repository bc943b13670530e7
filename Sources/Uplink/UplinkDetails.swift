// SPDX-License-Identifier: Apache-2.0
/// What an uplink reports about itself for the control socket.
package struct UplinkDetails: Sendable {
    /// A connection or datagram flow between a guest and the outside.
    package struct Flow: Equatable, Sendable {
        /// `tcp` or `udp`.
        package var transport: String
        /// Address and port of the guest.
        package var guest: SocketEnd
        /// Address and port of the other side.
        package var remote: SocketEnd

        package init(transport: String, guest: SocketEnd, remote: SocketEnd) {
            self.transport = transport
            self.guest = guest
            self.remote = remote
        }
    }

    /// An address, as text, and a port.
    package struct SocketEnd: Equatable, Sendable {
        /// Of either version.
        package var address: String
        /// Of TCP or UDP.
        package var port: UInt16

        package init(address: String, port: UInt16) {
            self.address = address
            self.port = port
        }
    }

    /// How guests' IPv6 packets leave the host.
    package enum Way6: String, Sendable {
        /// The kernel forwards them.
        case kernel
        /// The user-mode NAT carries them.
        case user
    }

    /// `tap`, `bridged`, `packet`, `user`, `vmnet`.
    package var kind = ""
    /// The interface of the host; nil if there is none.
    package var interface: String?
    /// Interfaces through which guests' packets leave the host.
    package var egressInterfaces: [String] = []
    /// How guests' IPv6 packets leave the host; nil if guests have no IPv6 of this program, or do not leave.
    package var way6: Way6?
    /// What the uplink has changed on the host, and undoes at its end.
    package var hostChanges: [String] = []
    /// Counters of the uplink by name, such as TCP connections.
    package var counters: [(name: String, value: Int)] = []
    /// Dropped frames by reason, besides those of the switch.
    package var drops: [(reason: String, count: Int)] = []

    package init() {}
}

/// Why a change is impossible while the network runs.
package struct ChangeRefusal: Error, Equatable, Sendable, CustomStringConvertible {
    /// The kinds of reasons.
    package enum Cause: Sendable {
        /// The uplink lacks the function.
        case unsupported
        /// Another program or entry has the resource.
        case conflict
        /// The user's privileges do not suffice.
        case denied
        /// The host has refused a step.
        case failed
    }

    /// For programs.
    package let cause: Cause
    package let description: String

    /// - Parameter description: the thing, the cause, the next step.
    package init(_ cause: Cause, _ description: String) {
        self.cause = cause
        self.description = description
    }
}
