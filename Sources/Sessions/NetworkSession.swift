// SPDX-License-Identifier: Apache-2.0
import Lifecycle
import Switching

// Theory of operation: sessions
// =============================
//
// A session is the guests' side of the daemon, opposite the uplink. There is one of three kinds:
//
//     class                  guests are on                         a lost network
//     SwitchSession          the switch that this process is       cannot happen
//     PlugSession            a VDE switch of another process       is joined again, with growing pauses
//     PointToPointSession    the other end of a cable              is opened again
//
// Beside it, `ListenerSession` accepts clients on sockets that are not VDE's. Each of them gets a port of the session's
// switch, or, beside a switch of another process, a port of the forwarder.
//
// All methods run on the control thread. `join` may wait for up to a second at the start; afterwards nothing blocks.

/// The network of the guests, which is kept up while the daemon runs.
package protocol NetworkSession: AnyObject {
    /// The network for the ready line, such as `switch at /tmp/vde`; nil if it has no name.
    var description: String? { get }
    /// The control side of the switch's forwarder.
    var control: SwitchControl { get }
    /// Called whenever the network was joined again after a loss.
    var onRejoin: () -> Void { get set }
    /// Called when a command of the console ends the switch.
    var onShutdown: () -> Void { get set }
    /// Called when the number of clients has changed.
    var onChange: () -> Void { get set }
    /// Called when a command of the console ends a client of another listener.
    var onDisconnect: (PortNumber) -> Void { get set }

    /// The switch is this process, so each guest has a port that is known by its number.
    var ownsSwitch: Bool { get }
    /// The network may have a DHCP server of another program.
    var mayHaveOtherServers: Bool { get }
    /// Clients can connect by a directory of the switch.
    var hasDirectory: Bool { get }
    /// The directory of the switch, without symbolic links.
    var directoryPath: String? { get }
    /// The directory of the switch of another process, without symbolic links; nil for any other network.
    var joinedDirectory: String? { get }
    /// A client is connected by VDE.
    var hasClients: Bool { get }

    /// Joins or makes the network.
    func join() throws(ExitError)
    /// Runs the commands that need the uplink's port.
    func configure() throws(ExitError)
    /// Leaves the network, and removes the files that `join` has made.
    func leave()
    /// Handles an event of the switch, if it is about a port of this session.
    func handle(_ event: PortEvent)

    /// Attaches a device of the host, and takes over its descriptor; nil if no port is left.
    func attachDevice(_ port: PortConfiguration) -> PortNumber?
    /// Detaches a device, which may be attached again.
    func detachDevice(_ port: PortNumber)
    /// Attaches a client of another listener, and takes over its descriptor; nil if no port is left.
    func attachClient(_ port: PortConfiguration, _ client: ListenerClient) -> PortNumber?
    /// Detaches a client of another listener.
    func detachClient(_ port: PortNumber)
    /// The number and description of a port for messages; nil if the session does not have it.
    func name(of port: PortNumber) -> String?
    /// The console's number of a port; nil if it has none.
    func number(of port: PortNumber) -> Int?
    /// What the session stores about the client at a port; nil for a port of another listener or of the host.
    func client(of port: PortNumber) -> PortClient?
    /// Disconnects the clients at a numbered port.
    /// - Throws: why that is impossible.
    func disconnect(port number: Int) throws(PortRefusal)
    /// Sets the VLAN of the untagged frames of a numbered port, which is made if it does not exist.
    func setVLAN(_ vlan: Int, of number: Int) throws(PortRefusal)
    /// Keeps the guests of a numbered port from all others, or no longer.
    func setIsolated(_ isIsolated: Bool, port number: Int) throws(PortRefusal)
    /// Limits the rate of a numbered port, each way; nil for no limit.
    func setLimit(_ limit: RateLimit?, port number: Int) throws(PortRefusal)
    /// The settings of a numbered port; nil if there is no such port.
    func settings(of number: Int) -> PortSettings?
    /// Some port is isolated.
    var hasIsolatedPorts: Bool { get }
}

/// The settings of a numbered port.
package struct PortSettings: Equatable, Sendable {
    /// Of its untagged frames.
    package var vlan: Int
    /// Its guests reach no other guests.
    package var isIsolated: Bool
    /// Of its rate, each way; nil for none.
    package var limit: RateLimit?
    /// Clients are connected, and none of them is this host.
    package var hasGuests: Bool
}

/// A client of the switch, as the session stores it.
package struct PortClient: Equatable, Sendable {
    /// The console's number of the port.
    package let number: Int?
    /// The console's name for the kind of port: `unix prog`, `stream`, `dgram`, `tuntap`.
    package let module: String
    /// The client's description of itself, which may contain anything.
    package let description: String
    /// The user of the client; nil if the system does not report it.
    package let user: UInt32?
    /// The process of the client; nil if the system does not report it.
    package let process: Int32?

    package init(number: Int?, module: String, description: String, user: UInt32?, process: Int32?) {
        self.number = number
        self.module = module
        self.description = description
        self.user = user
        self.process = process
    }
}

/// Why a port cannot be changed.
package struct PortRefusal: Error, Equatable, Sendable, CustomStringConvertible {
    /// The kinds of reasons.
    package enum Cause: Sendable { case noPort, unsupported, invalid }

    /// For programs.
    package let cause: Cause
    package let description: String

    package init(_ cause: Cause, _ description: String) {
        self.cause = cause
        self.description = description
    }

    /// Another process runs the switch.
    static let otherSwitch = PortRefusal(
        .unsupported, "another process runs the switch, and its ports are changed on that switch's console")
}

// A network of another process: ports have no numbers, and clients are not visible.
extension NetworkSession {
    package var ownsSwitch: Bool { false }
    package var mayHaveOtherServers: Bool { false }
    package var hasDirectory: Bool { false }
    package var directoryPath: String? { nil }
    package var joinedDirectory: String? { nil }
    package var hasClients: Bool { false }
    package var onShutdown: () -> Void {
        get { {} }
        set {}
    }
    package var onChange: () -> Void {
        get { {} }
        set {}
    }
    package var onDisconnect: (PortNumber) -> Void {
        get { { _ in } }
        set {}
    }
    package func configure() throws(ExitError) {}
    package func handle(_ event: PortEvent) {}
    package func attachDevice(_ port: PortConfiguration) -> PortNumber? { control.attach(port) }
    package func detachDevice(_ port: PortNumber) { control.detach(port) }
    package func attachClient(_ port: PortConfiguration, _ client: ListenerClient) -> PortNumber? {
        control.attach(port)
    }
    package func detachClient(_ port: PortNumber) { control.detach(port) }
    package func name(of port: PortNumber) -> String? { nil }
    package func number(of port: PortNumber) -> Int? { nil }
    package func client(of port: PortNumber) -> PortClient? { nil }
    package func disconnect(port number: Int) throws(PortRefusal) { throw .otherSwitch }
    package func setVLAN(_ vlan: Int, of number: Int) throws(PortRefusal) { throw .otherSwitch }
    package func setIsolated(_ isIsolated: Bool, port number: Int) throws(PortRefusal) { throw .otherSwitch }
    package func setLimit(_ limit: RateLimit?, port number: Int) throws(PortRefusal) { throw .otherSwitch }
    package func settings(of number: Int) -> PortSettings? { nil }
    package var hasIsolatedPorts: Bool { false }
}
