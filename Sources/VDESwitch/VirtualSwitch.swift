// SPDX-License-Identifier: Apache-2.0
import Platform
import Switching
import Wire

/// The switch as its clients and its console know it: numbered ports with one or more ends, who may use them, and
/// VLANs. It tells the forwarder what follows from them. Belongs to the control thread.
package final class VirtualSwitch {
    /// One connection to a port: a client's socket, or a TAP.
    package struct End: Sendable {
        /// Shown by the console; unique.
        package let identifier: Int32
        /// What it is in the forwarder.
        package let attachment: PortNumber
        /// `unix prog` for clients, `tuntap` for a TAP.
        package let module: String
        package let description: String
        let counters: PortCounters
    }

    package struct Traffic: Equatable, Sendable {
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

    package struct SwitchPort: Sendable {
        package internal(set) var ends: [End] = []
        /// Whether it is given to clients that do not ask for a number.
        package internal(set) var isAllocatable = true
        /// Who uses it at the moment; nil for nobody, or a TAP.
        package internal(set) var user: UInt32?
        /// Who may use it, besides root; nil for everybody.
        package internal(set) var allowedUser: UInt32?
        package internal(set) var allowedGroup: UInt32?
        /// The VLAN of frames without a tag.
        package internal(set) var untaggedVLAN: UInt16 = 0
        /// What passed through ends that are gone, less what was reset.
        var past = Traffic()

        package var isActive: Bool { !ends.isEmpty }

        package var traffic: Traffic {
            var sum = past
            for end in ends { sum.add(end.counters) }
            return sum
        }

        func admits(_ user: UInt32) -> Bool {
            if allowedUser == nil && allowedGroup == nil || user == 0 || allowedUser == user { return true }
            return allowedGroup.map { Accounts.isMember(user, of: $0) } ?? false
        }
    }

    /// Why a client does not get a port.
    package struct Refusal: Error, Equatable, Sendable, CustomStringConvertible {
        package let description: String
    }

    /// Stands for no particular port.
    package static let anyPort = 0
    /// The highest port that can be asked for: the forwarder has ends for so many, less the address service.
    package static let maximumPorts = SwitchControl.portCapacity - 1
    /// VLANs that can be made, as in vde_switch.
    package static let vlans: ClosedRange<UInt16> = 1...4093

    package let control: SwitchControl
    /// The highest port number.
    package private(set) var limit: Int
    package private(set) var ports: [Int: SwitchPort] = [:]
    /// VLANs with the ports that are in them with a tag. VLAN 0 is always there.
    package private(set) var taggedPorts: [UInt16: Set<Int>] = [0: []]
    package private(set) var isHub = false
    /// Seconds after which an address is forgotten.
    package private(set) var ageing = 300
    private var isVLANAware = false
    /// Ports whose guests may be routers and DHCP servers.
    package var servingPorts: Set<Int> = []

    package init(control: SwitchControl, limit: Int) {
        self.control = control
        self.limit = min(max(limit, 1), VirtualSwitch.maximumPorts)
    }

    // MARK: Ends

    /// The port for a client that asks for `wanted`, made if need be.
    package func allocate(_ wanted: VDERequest.Kind, user: UInt32) throws(Refusal) -> Int {
        switch wanted {
        case .newPort0:
            return try claim(0, user)
        case .newControl(port: VirtualSwitch.anyPort):
            // A port that this user may not have is passed over.
            let free = (1...limit).first { number in
                guard let port = ports[number] else { return true }
                return port.isAllocatable && !port.isActive && port.admits(user)
            }
            guard let free else {
                throw Refusal(description: "all \(limit) ports are in use; more with port/setnumports on the console")
            }
            return try claim(free, user)
        case .newControl(let number):
            guard number <= limit else {
                throw Refusal(description: "there is no port \(number): the last one is \(limit)")
            }
            return try claim(number, user)
        }
    }

    private func claim(_ number: Int, _ user: UInt32) throws(Refusal) -> Int {
        let port = ports[number] ?? SwitchPort()
        guard port.admits(user) else {
            throw Refusal(description: "port \(number) is reserved for somebody else (port/setuser, port/setgroup)")
        }
        if port.isActive && port.user != user {
            let holder = port.user.map { Accounts.userName($0) } ?? port.ends[0].description
            throw Refusal(description: "port \(number) is in use by \(holder)")
        }
        ports[number] = port
        return number
    }

    /// Connects an end to a port that `allocate` has given, and takes over the descriptor in `configuration`.
    /// - Returns: its number in the forwarder; nil if that has no room, in which case the descriptor is still the
    ///   caller's.
    package func attach(
        _ configuration: PortConfiguration, to number: Int, identifier: Int32, module: String, description: String,
        user: UInt32?
    ) -> PortNumber? {
        var configuration = configuration
        var port = ports[number] ?? SwitchPort()
        // Port 0 needs a number here, because 0 means no group.
        configuration.group = UInt16(number == 0 ? VirtualSwitch.maximumPorts + 1 : number)
        configuration.mayServe = servingPorts.contains(number)
        configuration.pvid = port.untaggedVLAN
        configuration.taggedVLANs = taggedVLANs(of: number)
        guard let attachment = control.attach(configuration), let counters = control.counters(of: attachment) else {
            return nil
        }
        // The newest first, as vde_switch lists them.
        port.ends.insert(
            End(
                identifier: identifier, attachment: attachment, module: module, description: description,
                counters: counters), at: 0)
        port.user = user
        ports[number] = port
        return attachment
    }

    /// The port of a device: `wanted` if that is free, else the first that is.
    package func allocateForDevice(preferring wanted: Int? = nil) -> Int? {
        if let wanted, let port = ports[wanted], !port.isActive {
            ports[wanted]!.isAllocatable = true
            return wanted
        }
        guard let number = (1...limit).first(where: { !(ports[$0]?.isActive ?? false) }) else { return nil }
        ports[number] = ports[number] ?? SwitchPort()
        return number
    }

    /// Disconnects an end and closes its descriptor.
    package func detach(_ identifier: Int32, from number: Int) {
        guard var port = ports[number], let index = port.ends.firstIndex(where: { $0.identifier == identifier }) else {
            return
        }
        let end = port.ends.remove(at: index)
        control.detach(end.attachment)
        port.past.add(end.counters)
        if port.ends.isEmpty { port.user = nil }
        ports[number] = port
    }

    /// The port that is `attachment` in the forwarder.
    package func number(of attachment: PortNumber) -> Int? {
        ports.first { $0.value.ends.contains { $0.attachment == attachment } }?.key
    }

    // MARK: Settings. Errors are those of vde_switch.

    package func setLimit(_ count: Int) throws(ConsoleError) {
        guard (1...VirtualSwitch.maximumPorts).contains(count) else { throw .invalid }
        guard !ports.keys.contains(where: { $0 > count }) else { throw .inUse }
        limit = count
    }

    package func setHub(_ isOn: Bool) {
        isHub = isOn
        control.setHub(isOn)
    }

    package func setAgeing(_ seconds: Int) {
        ageing = seconds
        control.setAgeing(UInt32(seconds))
    }

    /// Makes a port that is not given to clients that ask for none in particular; 0: the first free number.
    package func create(_ wanted: Int) throws(ConsoleError) -> Int {
        guard (0...limit).contains(wanted) else { throw .invalid }
        guard let number = wanted != 0 ? wanted : (1...limit).first(where: { ports[$0] == nil }) else { throw .noSpace }
        guard ports[number] == nil else { throw .exists }
        var port = SwitchPort()
        port.isAllocatable = false
        ports[number] = port
        return number
    }

    package func remove(_ number: Int) throws(ConsoleError) {
        guard (0...limit).contains(number) else { throw .invalid }
        guard let port = ports[number] else { throw .noSuch }
        guard !port.isActive else { throw .inUse }
        ports[number] = nil
        for vlan in taggedPorts.keys { taggedPorts[vlan]!.remove(number) }
        updateAwareness()
    }

    /// Changes what a port is.
    func change(_ number: Int, _ body: (inout SwitchPort) throws(ConsoleError) -> Void) throws(ConsoleError) {
        guard (0...limit).contains(number) else { throw .invalid }
        guard var port = ports[number] else { throw .noSuch }
        try body(&port)
        ports[number] = port
    }

    package func setAllocatable(_ number: Int, _ isAllocatable: Bool) throws(ConsoleError) {
        try change(number) { $0.isAllocatable = isAllocatable }
    }

    package func setUser(_ number: Int, _ user: UInt32?) throws(ConsoleError) {
        try change(number) { $0.allowedUser = user }
    }

    package func setGroup(_ number: Int, _ group: UInt32?) throws(ConsoleError) {
        try change(number) { $0.allowedGroup = group }
    }

    package func resetCounters(_ number: Int) throws(ConsoleError) {
        try change(number) { port in
            var base = Traffic()
            for end in port.ends { base.add(end.counters) }
            port.past = Traffic()
            port.past.subtract(base)
        }
    }

    // MARK: VLANs

    private func taggedVLANs(of number: Int) -> [UInt16] {
        taggedPorts.filter { $0.value.contains(number) }.map(\.key).sorted()
    }

    /// Tells the forwarder which VLANs a port is in.
    private func apply(_ number: Int) {
        guard let port = ports[number] else { return }
        for end in port.ends {
            control.setVLANs(of: end.attachment, untagged: port.untaggedVLAN, tagged: taggedVLANs(of: number))
        }
    }

    /// As long as there is VLAN 0 only, tags are the guests' business; from the first other VLAN on, the switch keeps
    /// them apart.
    private func updateAwareness() {
        let needed = taggedPorts.count > 1 || ports.values.contains { $0.untaggedVLAN != 0 } || !taggedPorts[0]!.isEmpty
        guard needed != isVLANAware else { return }
        isVLANAware = needed
        control.setVLANAware(needed)
    }

    package func createVLAN(_ vlan: Int) throws(ConsoleError) {
        guard let vlan = UInt16(exactly: vlan), VirtualSwitch.vlans.contains(vlan) else { throw .invalid }
        guard taggedPorts[vlan] == nil else { throw .exists }
        taggedPorts[vlan] = []
        updateAwareness()
    }

    package func removeVLAN(_ vlan: Int) throws(ConsoleError) {
        guard let vlan = UInt16(exactly: vlan), vlan <= VirtualSwitch.vlans.upperBound else { throw .invalid }
        guard let tagged = taggedPorts[vlan] else { throw .noSuch }
        guard vlan != 0, tagged.isEmpty, !ports.values.contains(where: { $0.untaggedVLAN == vlan }) else {
            throw .inUse
        }
        taggedPorts[vlan] = nil
        updateAwareness()
    }

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

    package func setTagged(_ vlan: Int, _ number: Int, _ isMember: Bool) throws(ConsoleError) {
        guard let vlan = UInt16(exactly: vlan), vlan <= VirtualSwitch.vlans.upperBound, (0...limit).contains(number)
        else { throw .invalid }
        guard taggedPorts[vlan] != nil, ports[number] != nil else { throw .noSuch }
        if isMember { taggedPorts[vlan]!.insert(number) } else { taggedPorts[vlan]!.remove(number) }
        updateAwareness()
        apply(number)
    }

    /// The ports that are in a VLAN, and whether with a tag.
    package func members(of vlan: UInt16) -> [(number: Int, isTagged: Bool)] {
        let tagged = taggedPorts[vlan] ?? []
        return ports.keys.sorted().compactMap { number in
            if ports[number]!.untaggedVLAN == vlan { return (number, false) }
            return tagged.contains(number) ? (number, true) : nil
        }
    }
}
