// SPDX-License-Identifier: Apache-2.0
import Listeners
import Platform

/// The listeners of the daemon besides VDE.
package struct ListenerConfiguration: Equatable, Sendable {
    /// Paths of stream sockets to make.
    package var streams: [String] = []
    /// Paths of datagram sockets to make.
    package var datagrams: [String] = []
    /// Paths of sockets of sequenced packets to make (Linux).
    package var sequencedPackets: [String] = []
    /// Paths of sockets to make for vhost-user front ends.
    package var vhostUsers: [String] = []
    /// Paths of sockets that vhost-user front ends listen on.
    package var vhostUserServers: [String] = []
    /// Those of the paths whose clients send and receive frames up to 64 KiB without a virtio header.
    package var offloadedPaths: Set<String> = []
    /// Owner and mode of the sockets to make.
    package var access = ListenerAccess()

    /// The longest packet of the network in bytes; nil if it is not known.
    package var mtu: Int?
    /// Sockets that the service manager has made.
    package var activated: [ActivatedSocket] = []
    /// The seconds without a guest after which the daemon ends; nil: it does not end.
    package var idleExit: Int?
    /// Inherited sockets, with one guest behind each.
    package var descriptors: [InheritedDescriptor] = []
    /// Inherited sockets, with a vhost-user front end behind each.
    package var vhostUserDescriptors: [InheritedDescriptor] = []
    /// Guests that are network namespaces.
    package var namespaces: [GuestNamespace] = []
    /// A program that is started when the network is ready, with a datagram socket to the network as its descriptor 3.
    /// The daemon ends with it.
    package var program: [String] = []
    /// The user that the program runs as; nil for the daemon's.
    package var programUser: GuestProgram.User?

    /// No listeners.
    package init() {}

    /// Paths of all sockets to make.
    package var paths: [String] { streams + datagrams + sequencedPackets + vhostUsers }

    /// There is no listener, no descriptor and no program.
    package var isEmpty: Bool {
        paths.isEmpty && vhostUserServers.isEmpty && activated.isEmpty && descriptors.isEmpty
            && vhostUserDescriptors.isEmpty && namespaces.isEmpty && program.isEmpty
    }

    /// No client can connect except those that exist from the start.
    var isClosed: Bool {
        activated.isEmpty && paths.isEmpty && vhostUserServers.isEmpty && program.isEmpty
            && !(descriptors.isEmpty && vhostUserDescriptors.isEmpty && namespaces.isEmpty)
    }
}
