// SPDX-License-Identifier: Apache-2.0
import DHCPService
import EventLoop
import Lifecycle
import Logging
import NetworkModel
import Platform
import Switching
import Timing
import Wire

// Theory of operation: uplinks
// ============================
//
// An uplink is the port of the switch that connects guests to the host and the outside. There is one at most, which
// may be made of two (TapWithNAT):
//
//     class             guests' network           port                          ends unexpectedly
//     TapUplink         made here, behind a TAP   TAP with NAT by nftables      the daemon ends
//     TapWithNAT        the same                TAP, and user-mode NAT        the daemon ends
//     BridgedUplink     the host's                TAP on a bridge               the daemon ends
//     PacketUplink      the host's                packet socket on a NIC        the daemon ends
//     VmnetUplink       made by vmnet.framework   frame device                  it is started again
//     UserUplink        made here                 frame device: user-mode NAT   never
//
// The daemon calls the methods in this order, all on the control thread:
//
//     init       reserves resources that another instance must not use
//     open       makes the uplink and its port. Nothing is forwarded yet
//     begin      the forwarder's workers run now
//     handle, note, publish, report      any number of times
//     stop       closes the guests' network, and takes the port away from the switch
//     undo       after the workers have ended: undoes all changes of the host
//
// `stop` and `undo` have no effect if `open` was not called or failed.

/// The connection of the guests to the host and the outside.
package protocol Uplink: AnyObject {
    /// The port of the switch; nil while there is none.
    var port: PortNumber? { get }
    /// The tables of nftables that the uplink changes while the network runs.
    var firewallTables: [String] { get }
    /// Frames of guests can leave by the port: it exists, and its interface is up.
    var isConnected: Bool { get }
    /// The host's place on the guests' network; nil if the uplink is bridged, or the addresses are unknown.
    var hostAddressing: HostAddressing? { get }
    /// Guests are part of a network that other hosts serve and protect.
    var isBridged: Bool { get }
    /// For the ready line, such as `192.168.105.0/24 on vmnet0, gateway 192.168.105.1`.
    var summary: String { get }
    /// Whether guests' IPv6 packets can leave the host now. `UplinkContext.onChange` is called when it changes.
    var hasEgressIPv6: Bool { get }
    /// The properties that the uplink's provider has chosen; nil if this program chooses them.
    var parameters: UplinkParameters? { get }
    /// Guests' TCP connections end in the uplink, including those to the name service.
    var terminatesTCP: Bool { get }
    /// Counters for the log.
    var report: String? { get }
    /// What the control socket shows.
    var details: UplinkDetails { get }

    /// Makes the uplink, and attaches its port to the switch.
    /// - Returns: false if the event loop was stopped meanwhile.
    /// - Throws: `noPermission` if another kind of uplink might still work.
    func open() throws(ExitError) -> Bool
    /// Called once when the forwarder has started. From then on its workers may use the port.
    func begin() throws(ExitError)
    /// Handles an event of the switch, if it is about this uplink's port.
    func handle(_ event: PortEvent)
    /// Learns of leases that were given or have changed.
    func note(_ leases: [Lease])
    /// Takes over published ports whose guests have other addresses now.
    func publish(_ published: [PublishedPort])
    /// The TCP connections and UDP flows of guests with the outside, `limit` at most; nil if the kernel has them.
    func flows(limit: Int) -> [UplinkDetails.Flow]?
    /// Has refused frames noted for `takeRefusals`, or no longer: on a TAP, by a rule of the host's firewall. A failure
    /// changes nothing.
    func change(notesRefusals: Bool) throws(ChangeRefusal)
    /// The refused frames since the last call, as far as the uplink sees them, and the number of those that had no
    /// room.
    func takeRefusals() -> (refusals: [EgressRefusal], further: [MACAddress?: Int])
    /// Packets that the egress policy has refused; nil if the uplink does not count them.
    var refusedPackets: Int? { get }
    /// Replaces the published ports while the network runs. A failure changes nothing.
    func change(published: [PublishedPort]) throws(ChangeRefusal)
    /// Whether the uplink can restrict where guests go.
    var hasEgressPolicy: Bool { get }
    /// Replaces the egress policy while the network runs. A failure changes nothing.
    func change(egress: EgressPolicy) throws(ChangeRefusal)
    /// Lets one guest connect to addresses of an allowed name until `expires`. A failure changes nothing.
    func pin(_ pins: [EgressPin], of name: DNSName, until expires: Instant) throws(ChangeRefusal)
    /// Pins that have not been removed.
    var pinCount: Int { get }
    /// Keeps guests from each other, or no longer, as far as their packets pass the host. A failure changes nothing.
    func change(isolating: Bool) throws(ChangeRefusal)
    /// Whether the host has a resolver that `resolve` can set.
    var hasHostResolver: Bool { get }
    /// Has the host's resolver send queries below some domains to a DNS server on the host, until the network ends.
    func resolve(_ domains: [String], at server: SocketAddress)
    /// Closes the guests' network, and takes the port away from the switch.
    func stop()
    /// Undoes all changes of the host.
    func undo()
}

extension Uplink {
    package var firewallTables: [String] { [] }
    package var isConnected: Bool { port != nil }
    package var isBridged: Bool { false }
    package var hasEgressPolicy: Bool { false }
    package var hasEgressIPv6: Bool { false }
    package var parameters: UplinkParameters? { nil }
    package var terminatesTCP: Bool { false }
    package var report: String? { nil }
    package var details: UplinkDetails { UplinkDetails() }
    package func begin() throws(ExitError) {}
    package func note(_ leases: [Lease]) {}
    package var hasHostResolver: Bool { false }
    package func resolve(_ domains: [String], at server: SocketAddress) {}
    package func publish(_ published: [PublishedPort]) {}
    package func flows(limit: Int) -> [UplinkDetails.Flow]? { nil }
    package func takeRefusals() -> (refusals: [EgressRefusal], further: [MACAddress?: Int]) { ([], [:]) }
    package var refusedPackets: Int? { nil }
    package func change(published: [PublishedPort]) throws(ChangeRefusal) {
        throw ChangeRefusal(.unsupported, "this uplink publishes no ports while it runs; give --publish at the start")
    }
    package func change(egress: EgressPolicy) throws(ChangeRefusal) {
        throw ChangeRefusal(.unsupported, "this uplink has no egress policy; use --uplink tap or user")
    }
    package func change(notesRefusals: Bool) throws(ChangeRefusal) {
        throw ChangeRefusal(.unsupported, "this uplink has no egress policy; use --uplink tap or user")
    }
    package func pin(_ pins: [EgressPin], of name: DNSName, until expires: Instant) throws(ChangeRefusal) {
        throw ChangeRefusal(.unsupported, "this uplink has no egress policy; use --uplink tap or user")
    }
    package var pinCount: Int { 0 }
    package func change(isolating: Bool) throws(ChangeRefusal) {
        throw ChangeRefusal(
            .unsupported, "this uplink isolates guests from its start on, or never; give --vmnet-isolation at the start"
        )
    }
    package func undo() {}
}

/// The parts of the daemon that an uplink uses.
package struct UplinkContext {
    /// Timers and descriptors of the control thread, on which the daemon calls the uplink's methods.
    package let loop: ControlLoop
    /// The control plane of the switch that the uplink is a port of.
    package let control: SwitchControl
    /// The daemon's logger.
    package let logger: Logger
    /// Attaches a port to the switch, and takes over its descriptor; nil if no port is left, and the descriptor is
    /// still the caller's.
    package let attach: (PortConfiguration) -> PortNumber?
    /// Takes a port away from the switch.
    package let detach: (PortNumber) -> Void
    /// Called after a change of `Uplink.hasEgressIPv6`.
    package let onChange: () -> Void
    /// Called when the uplink cannot go on. The daemon ends.
    package let onFailure: (ExitError) -> Void

    package init(
        loop: ControlLoop, control: SwitchControl, logger: Logger,
        attach: @escaping (PortConfiguration) -> PortNumber?, detach: @escaping (PortNumber) -> Void,
        onChange: @escaping () -> Void,
        onFailure: @escaping (ExitError) -> Void
    ) {
        self.loop = loop
        self.control = control
        self.logger = logger
        self.attach = attach
        self.detach = detach
        self.onChange = onChange
        self.onFailure = onFailure
    }
}
