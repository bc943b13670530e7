// SPDX-License-Identifier: Apache-2.0
import Listeners
import Platform

/// The listeners of the daemon besides VDE.
package struct ListenerConfiguration: Equatable, Sendable {
    /// Where stream sockets are made.
    package var streams: [String] = []
    /// Where datagram sockets are made.
    package var datagrams: [String] = []
    package var access = ListenerAccess()

    /// What the service manager has made.
    package var activated: [ActivatedSocket] = []
    /// Ends the daemon when no machine has been there for so many seconds; nil: never.
    package var idleExit: Int?
    /// Inherited sockets with a machine behind each.
    package var descriptors: [InheritedDescriptor] = []
    /// A program that is started when the network is there, with a datagram socket to it as its descriptor 3; its end
    /// is the network's.
    package var program: [String] = []
    /// Who runs it; nil for ourselves.
    package var programUser: GuestProgram.User?

    package init() {}

    package var isEmpty: Bool {
        streams.isEmpty && datagrams.isEmpty && activated.isEmpty && descriptors.isEmpty && program.isEmpty
    }

    /// Nobody can come in but those who are there from the start.
    var isClosed: Bool {
        activated.isEmpty && streams.isEmpty && datagrams.isEmpty && program.isEmpty && !descriptors.isEmpty
    }
}
