// SPDX-License-Identifier: Apache-2.0
import Platform
import Switching
import Timing
import Wire

// Theory of operation: the control plane of a VDE switch.
//
// A switch has numbered ports, as vde_switch does; clients and scripts use only those. A port has one or more
// connections: several clients may join one port, and share it like the stations behind one cable. In the data plane
// (Switching) each connection is a separate port, with a `PortNumber`; the connections of one port form a port group,
// within which frames are not forwarded.
//
//   free        no entry in `ports`; a client that requests this number creates it
//   created     `create`, `allocate` or `allocateForDevice`: an entry without connections. It keeps its settings.
//   active      `attach`: at least one connection. `user` owns it: another user's client is refused.
//   created     `detach` of the last connection; the counters of past connections stay.
//   free        `remove`
//
// Users of a port: root always; otherwise every user, unless `allowedUser` or `allowedGroup` is set (port/setuser,
// port/setgroup). A client that requests any port gets the first inactive one that is allocatable and that its user may
// use.
//
// VLANs: a port has one VLAN for untagged frames, and is a member of others with tags. While only VLAN 0 exists, the
// data plane forwards tags unchanged; from the first other VLAN on it separates them (`updateAwareness`).
//
// This class holds the configuration and pushes each change to the data plane through `SwitchControl`, which keeps its
// own copy in the form that forwarding needs. Nothing flows back but counters, addresses and port events. All of it
// runs on the control thread; no function blocks, except while a command waits for the workers.

/// The control plane of a switch: its ports, their connections and owners, and its VLANs. For the control thread only.
package final class VirtualSwitch {
    /// One connection to a port: a client's socket, or a TAP.
    package struct Connection: Sendable {
        /// Unique number, shown by the console.
        package let identifier: Int32
        /// The connection's port in the data plane.
        package let attachment: PortNumber
        /// `unix prog` for clients, `tuntap` for a TAP.
        package let module: String
        package let description: String
        let counters: PortCounters
    }

    /// Totals of a port. In: from its clients; out: to them.
    package struct Traffic: Equatable, Sendable {
        /// Bytes are those of Ethernet frames, without preamble and checksum.
        package var framesIn: UInt64 = 0, bytesIn: UInt64 = 0, framesOut: UInt64 = 0, bytesOut: UInt64 = 0

        package init() {}

        mutating func add(_ counters: PortCounters) {
            framesIn &+= counters.framesIn
            bytesIn &+= counters.bytesIn
            framesOut &+= counters.framesOut
            bytesOut &+= counters.bytesOut
        }

        mutating func subtract(_ other: Traffic) {
            framesIn &-= other.framesIn
            bytesIn &-= other.bytesIn
            framesOut &-= other.framesOut
            bytesOut &-= other.bytesOut
        }
    }

    /// A numbered port: its settings, its owner and its connections.
    package struct SwitchPort: Sendable {
        /// The newest first. They form one port group in the data plane.
        package internal(set) var connections: [Connection] = []
        /// Whether clients that request any port may get it.
        package internal(set) var isAllocatable = true
        /// The user whose clients are connected; nil if there are none, and for a TAP.
        package internal(set) var user: UInt32?
        /// The user that may use it, besides root; nil with `allowedGroup` nil: all users.
        package internal(set) var allowedUser: UInt32?
        /// The group whose members may use it, besides root; see `allowedUser`.
        package internal(set) var allowedGroup: UInt32?
        /// The VLAN of untagged frames.
        package internal(set) var untaggedVLAN: UInt16 = 0
        /// Its clients reach no other guests.
        package internal(set) var isIsolated = false
        /// The limit of the rate of each of its connections, each way; nil for none.
        package internal(set) var limit: RateLimit?
        /// Traffic of former connections, minus the counters at the last reset.
        var past = Traffic()

        /// Whether it has connections. Only an inactive port can be removed.
        package var isActive: Bool { !connections.isEmpty }

        /// Of all connections, former ones included, since the last reset.
        package var traffic: Traffic {
            var sum = past
            for connection in connections { sum.add(connection.counters) }
            return sum
        }

        func admits(_ user: UInt32) -> Bool {
            if allowedUser == nil && allowedGroup == nil || user == 0 || allowedUser == user { return true }
            return allowedGroup.map { UserDatabase.isMember(user, of: $0) } ?? false
        }
    }

    /// In a request: any port.
    package static let anyPort = 0
    /// The highest port number: the data plane's capacity, less the services' port.
    package static let maximumPorts = SwitchControl.portCapacity - 1
    /// The VLANs that can be created, as in vde_switch.
    package static let vlans: ClosedRange<UInt16> = 1...4093

    /// The data plane, which receives every change.
    package let control: SwitchControl
    /// The highest port number.
    package private(set) var limit: Int
    /// By port number, from 1 on. A number without an entry is free.
    package private(set) var ports: [Int: SwitchPort] = [:]
    /// The VLANs, each with its tagged member ports. VLAN 0 always exists.
    package private(set) var taggedPorts: [UInt16: Set<Int>] = [0: []]
    /// Whether the data plane floods every frame, and ignores VLANs.
    package private(set) var isHub = false
    /// Seconds after which an unused address is removed from the address table.
    package private(set) var ageing = 300
    private var isVLANAware = false
    /// The limit of the rate of guests' ports that are made from now on; nil for none.
    package var standardLimit: RateLimit?
    /// Ports whose guests may be routers and DHCP servers.
    package var servingPorts: Set<Int> = []

    package init(control: SwitchControl, limit: Int) {
        self.control = control
        self.limit = min(max(limit, 1), VirtualSwitch.maximumPorts)
    }

    // MARK: Connections

    /// The port for a client that requests `requested`, created if it does not exist.
    /// - Throws: why the client is refused a port.
    package func allocate(_ requested: VDERequest.Kind, user: UInt32) throws(UnclassifiedError) -> Int {
        switch requested {
        case .newPort0:
            return try claim(0, user)
        case .newControl(port: VirtualSwitch.anyPort):
            // Skips ports that this user may not use.
            let free = (1...limit).first { number in
                guard let port = ports[number] else { return true }
                return port.isAllocatable && !port.isActive && port.admits(user)
            }
            guard let free else {
                throw UnclassifiedError(
                    "all \(limit) ports are in use; raise the number with port/setnumports on the console")
            }
            return try claim(free, user)
        case .newControl(let number):
            guard number <= limit else {
                throw UnclassifiedError("there is no port \(number): the last one is \(limit)")
            }
            return try claim(number, user)
        }
    }

    private func claim(_ number: Int, _ user: UInt32) throws(UnclassifiedError) -> Int {
        let port = ports[number] ?? SwitchPort()
        guard port.admits(user) else {
            throw UnclassifiedError(
                "port \(number) is reserved for another user or group (port/setuser, port/setgroup)")
        }
        if port.isActive && port.user != user {
            let holder = port.user.map { UserDatabase.userName($0) } ?? port.connections[0].description
            throw UnclassifiedError("port \(number) is in use by \(holder)")
        }
        ports[number] = port
        return number
    }

    /// The group of the connections to a numbered port (`PortConfiguration.group`).
    package static func group(ofPort number: Int) -> UInt16 {
        // Port 0 needs another number here, because 0 means no group.
        UInt16(number == 0 ? maximumPorts + 1 : number)
    }

    /// The number of the port that has a group of connections; nil for no group.
    package static func port(ofGroup group: UInt16) -> Int? {
        group == 0 ? nil : group == UInt16(maximumPorts + 1) ? 0 : Int(group)
    }

    /// Adds a connection to a port that `allocate` returned, and takes over the descriptor in `configuration`.
    /// - Returns: its port in the data plane; nil if that is full: the descriptor then stays the caller's.
    package func attach(
        _ configuration: PortConfiguration, to number: Int, identifier: Int32, module: String, description: String,
        user: UInt32?
    ) -> PortNumber? {
        var configuration = configuration
        var port = ports[number] ?? SwitchPort()
        configuration.group = VirtualSwitch.group(ofPort: number)
        configuration.mayServe = servingPorts.contains(number)
        configuration.pvid = port.untaggedVLAN
        configuration.taggedVLANs = taggedVLANs(of: number)
        if configuration.role == .guest {
            configuration.isIsolated = port.isIsolated
            configuration.limit = port.limit ?? standardLimit
        }
        guard let attachment = control.attach(configuration), let counters = control.counters(of: attachment) else {
            return nil
        }
        // The newest connection first, in the order of vde_switch.
        port.connections.insert(
            Connection(
                identifier: identifier, attachment: attachment, module: module, description: description,
                counters: counters), at: 0)
        port.user = user
        ports[number] = port
        return attachment
    }

    /// The port for a device: `requested` if it is inactive, else the first inactive one; nil if all are active.
    package func allocateForDevice(preferring requested: Int? = nil) -> Int? {
        if let requested, let port = ports[requested], !port.isActive {
            ports[requested]!.isAllocatable = true
            return requested
        }
        guard let number = (1...limit).first(where: { !(ports[$0]?.isActive ?? false) }) else { return nil }
        ports[number] = ports[number] ?? SwitchPort()
        return number
    }

    /// Removes a connection and closes its descriptor.
    package func detach(_ identifier: Int32, from number: Int) {
        guard var port = ports[number], let index = port.connections.firstIndex(where: { $0.identifier == identifier })
        else {
            return
        }
        let end = port.connections.remove(at: index)
        control.detach(end.attachment)
        port.past.add(end.counters)
        if port.connections.isEmpty { port.user = nil }
        ports[number] = port
    }

    /// The port that has the connection `attachment` of the data plane.
    package func number(of attachment: PortNumber) -> Int? {
        ports.first { $0.value.connections.contains { $0.attachment == attachment } }?.key
    }

    // MARK: Settings. Errors are those of vde_switch.

    /// Changes the number of ports.
    package func setLimit(_ count: Int) throws(ConsoleError) {
        guard (1...VirtualSwitch.maximumPorts).contains(count) else { throw .invalid }
        guard !ports.keys.contains(where: { $0 > count }) else { throw .inUse }
        limit = count
    }

    /// Makes the switch forward each frame to all ports, or not.
    package func setHub(_ isOn: Bool) {
        isHub = isOn
        control.setHub(isOn)
    }

    /// Sets `ageing`.
    package func setAgeing(_ seconds: Int) {
        ageing = seconds
        control.setAgeing(.seconds(Int64(seconds)))
    }

    /// Creates a port for clients that request its number; 0: with the first free number.
    package func create(_ requested: Int) throws(ConsoleError) -> Int {
        guard (0...limit).contains(requested) else { throw .invalid }
        guard let number = requested != 0 ? requested : (1...limit).first(where: { ports[$0] == nil }) else {
            throw .noSpace
        }
        guard ports[number] == nil else { throw .exists }
        var port = SwitchPort()
        port.isAllocatable = false
        ports[number] = port
        return number
    }

    /// Removes a port, which must be inactive.
    package func remove(_ number: Int) throws(ConsoleError) {
        guard (0...limit).contains(number) else { throw .invalid }
        guard let port = ports[number] else { throw .noSuch }
        guard !port.isActive else { throw .inUse }
        ports[number] = nil
        for vlan in taggedPorts.keys { taggedPorts[vlan]!.remove(number) }
        updateAwareness()
    }

    /// Changes the settings of a port.
    func change(_ number: Int, _ body: (inout SwitchPort) throws(ConsoleError) -> Void) throws(ConsoleError) {
        guard (0...limit).contains(number) else { throw .invalid }
        guard var port = ports[number] else { throw .noSuch }
        try body(&port)
        ports[number] = port
    }

    /// Sets whether clients that request any port may get this one.
    package func setAllocatable(_ number: Int, _ isAllocatable: Bool) throws(ConsoleError) {
        try change(number) { $0.isAllocatable = isAllocatable }
    }

    /// Reserves a port for a user; nil: for no particular one.
    package func setUser(_ number: Int, _ user: UInt32?) throws(ConsoleError) {
        try change(number) { $0.allowedUser = user }
    }

    /// Reserves a port for a group; nil: for no particular one.
    package func setGroup(_ number: Int, _ group: UInt32?) throws(ConsoleError) {
        try change(number) { $0.allowedGroup = group }
    }

    /// Resets the counters of a port.
    package func resetCounters(_ number: Int) throws(ConsoleError) {
        try change(number) { port in
            var base = Traffic()
            for end in port.connections { base.add(end.counters) }
            port.past = Traffic()
            port.past.subtract(base)
        }
    }

    // MARK: VLANs

    private func taggedVLANs(of number: Int) -> [UInt16] {
        taggedPorts.filter { $0.value.contains(number) }.map(\.key).sorted()
    }

    /// Pushes the VLANs of a port to the data plane.
    private func apply(_ number: Int) {
        guard let port = ports[number] else { return }
        for end in port.connections {
            control.setVLANs(of: end.attachment, untagged: port.untaggedVLAN, tagged: taggedVLANs(of: number))
        }
    }

    /// Makes the data plane separate VLANs if there are others than VLAN 0, and forward tags unchanged if not.
    private func updateAwareness() {
        let needed = taggedPorts.count > 1 || ports.values.contains { $0.untaggedVLAN != 0 } || !taggedPorts[0]!.isEmpty
        guard needed != isVLANAware else { return }
        isVLANAware = needed
        control.setVLANAware(needed)
    }

    /// Creates a VLAN.
    package func createVLAN(_ vlan: Int) throws(ConsoleError) {
        guard let vlan = UInt16(exactly: vlan), VirtualSwitch.vlans.contains(vlan) else { throw .invalid }
        guard taggedPorts[vlan] == nil else { throw .exists }
        taggedPorts[vlan] = []
        updateAwareness()
    }

    /// Removes a VLAN, which must have no members.
    package func removeVLAN(_ vlan: Int) throws(ConsoleError) {
        guard let vlan = UInt16(exactly: vlan), vlan <= VirtualSwitch.vlans.upperBound else { throw .invalid }
        guard let tagged = taggedPorts[vlan] else { throw .noSuch }
        guard vlan != 0, tagged.isEmpty, !ports.values.contains(where: { $0.untaggedVLAN == vlan }) else {
            throw .inUse
        }
        taggedPorts[vlan] = nil
        updateAwareness()
    }

    /// Sets the VLAN of a port's untagged frames; `PortConfiguration.noVLAN`: drop them.
    package func setUntaggedVLAN(_ number: Int, _ vlan: Int) throws(ConsoleError) {
        guard (0...limit).contains(number) else { throw .invalid }
        guard let vlan = UInt16(exactly: vlan),
            vlan <= VirtualSwitch.vlans.upperBound || vlan == PortConfiguration.noVLAN
        else { throw .invalid }
        guard vlan == PortConfiguration.noVLAN || taggedPorts[vlan] != nil else { throw .noSuch }
        try change(number) { $0.untaggedVLAN = vlan }
        updateAwareness()
        apply(number)
    }

    /// Adds a port to a VLAN as a tagged member, or removes it.
    package func setTagged(_ vlan: Int, _ number: Int, _ isMember: Bool) throws(ConsoleError) {
        guard let vlan = UInt16(exactly: vlan), vlan <= VirtualSwitch.vlans.upperBound, (0...limit).contains(number)
        else { throw .invalid }
        guard taggedPorts[vlan] != nil, ports[number] != nil else { throw .noSuch }
        if isMember { taggedPorts[vlan]!.insert(number) } else { taggedPorts[vlan]!.remove(number) }
        updateAwareness()
        apply(number)
    }

    /// The member ports of a VLAN, each with whether it is tagged.
    package func members(of vlan: UInt16) -> [(number: Int, isTagged: Bool)] {
        let tagged = taggedPorts[vlan] ?? []
        return ports.keys.sorted().compactMap { number in
            if ports[number]!.untaggedVLAN == vlan { return (number, false) }
            return tagged.contains(number) ? (number, true) : nil
        }
    }
}
