// SPDX-License-Identifier: Apache-2.0
import Platform
import Switching
import Timing
import Wire

// The commands, in the order in which `help` lists them. Formats of the lines are vde_switch's, since scripts read
// them.

extension ManagementConsole {
    private static func menu(_ name: String, _ title: String) -> Command {
        Command(name: name, syntax: "============", help: title + " MENU", hasData: false) {
            (_, _) throws(ConsoleError) in throw .unknownCommand
        }
    }

    private static func silent(
        _ name: String, _ syntax: String, _ help: String,
        _ body: @escaping @Sendable (VirtualSwitch, Arguments) throws(ConsoleError) -> Void
    ) -> Command {
        Command(name: name, syntax: syntax, help: help, hasData: false) { (console, arguments) throws(ConsoleError) in
            try body(console.virtualSwitch, arguments)
            return []
        }
    }

    private static func printing(
        _ name: String, _ syntax: String, _ help: String,
        _ body: @escaping @Sendable (ManagementConsole, Arguments) throws(ConsoleError) -> [String]
    ) -> Command {
        Command(name: name, syntax: syntax, help: help, hasData: true, body: body)
    }

    static let commands: [Command] = general + ports + vlans + addresses

    private static let general: [Command] = [
        menu("ds", "DATA SOCKET"),
        printing("ds/showinfo", "", "show the switch's directory") { (console, _) throws(ConsoleError) in
            ["ctl dir \(console.context.directory)", "std mode 0\(String(console.context.mode, radix: 8))"]
        },
        printing("help", "[arg]", "list commands (those that begin with arg)") { (_, arguments) throws(ConsoleError) in
            help(arguments.words.first ?? "")
        },
        silent("logout", "", "leave this console") { (_, _) throws(ConsoleError) in },
        silent("shutdown", "", "end the switch") { (_, _) throws(ConsoleError) in },
        printing("showinfo", "", "show version and process") { (console, _) throws(ConsoleError) in
            var lines =
                console.banner + [
                    "pid \(CurrentProcess.identifier) MAC \(SwitchControl.ownAddress) uptime \(console.uptime)"
                ]
            if let path = console.context.path {
                lines.append("mgmt \(path) perm 0\(String(console.context.pathMode, radix: 8))")
            }
            return lines
        },
        silent("load", "path", "carry out the commands in a file") { (_, _) throws(ConsoleError) in },
    ]

    private static func help(_ prefix: String) -> [String] {
        let rows = commands.filter { $0.name.hasPrefix(prefix) }.map { ($0.name, $0.syntax, $0.help) }
        return ([("COMMAND PATH", "SYNTAX", "HELP"), ("------------", "--------------", "------------")] + rows).map {
            name, syntax, help in
            TextFormat.left(name, 18) + " " + TextFormat.left(syntax, 15) + " " + help
        }
    }

    // MARK: Ports

    private static let ports: [Command] = [
        menu("port", "PORT"),
        printing("port/showinfo", "", "show the number of ports and the mode") { (console, _) throws(ConsoleError) in
            ["Numports=\(console.virtualSwitch.limit)", "HUB=\(console.virtualSwitch.isHub)", "counters=true"]
        },
        silent("port/setnumports", "N", "change the number of ports") { (it, arguments) throws(ConsoleError) in
            try it.setLimit(arguments.number(0))
        },
        silent("port/sethub", "0/1", "1: a hub, 0: a switch") { (it, arguments) throws(ConsoleError) in
            it.setHub(try arguments.flag(0))
        },
        silent("port/setvlan", "N VLAN", "set port N's VLAN for frames without a tag (4095: none)") {
            (it, arguments) throws(ConsoleError) in
            try it.setUntaggedVLAN(arguments.number(0), arguments.number(1))
        },
        printing("port/createauto", "", "make a port with the first free number, for clients that request its number") {
            (console, _) throws(ConsoleError) in
            ["Port " + TextFormat.zeros(try console.virtualSwitch.create(VirtualSwitch.anyPort), 4)]
        },
        silent("port/create", "N", "make port N, for clients that request its number") {
            (it, arguments) throws(ConsoleError) in
            _ = try it.create(arguments.optional(0) ?? VirtualSwitch.anyPort)
        },
        silent("port/remove", "N", "remove port N") { (it, arguments) throws(ConsoleError) in
            try it.remove(arguments.optional(0) ?? 0)
        },
        silent("port/allocatable", "N 0/1", "give port N to clients that request any port: 1 yes, 0 no") {
            (it, arguments) throws(ConsoleError) in
            try it.setAllocatable(arguments.number(0), arguments.flag(1))
        },
        silent("port/setuser", "N user", "reserve port N for a user (NONE: for no particular one)") {
            (it, arguments) throws(ConsoleError) in
            let number = try arguments.number(0)
            try it.setUser(number, account(arguments, UserDatabase.user(named:)))
        },
        silent("port/setgroup", "N group", "reserve port N for a group (NONE: for none)") {
            (it, arguments) throws(ConsoleError) in
            let number = try arguments.number(0)
            try it.setGroup(number, account(arguments, UserDatabase.group(named:)))
        },
        Command(name: "port/epclose", syntax: "N ID", help: "disconnect end ID of port N", hasData: false) {
            (console, arguments) throws(ConsoleError) in
            let number = try arguments.number(0), identifier = try arguments.number(1)
            guard let port = console.virtualSwitch.ports[number],
                let end = port.connections.first(where: { $0.identifier == identifier })
            else { throw .noSuch }
            console.context.disconnect(number, end.identifier)
            return []
        },
        silent("port/resetcounter", "[N]", "count from 0 again (port N only)") { (it, arguments) throws(ConsoleError) in
            for number in try arguments.optional(0).map({ [$0] }) ?? it.ports.keys.sorted() {
                try it.resetCounters(number)
            }
        },
        printing("port/print", "[N]", "list ports in use") { (console, arguments) throws(ConsoleError) in
            try console.listPorts(arguments, all: false)
        },
        printing("port/allprint", "[N]", "list ports") { (console, arguments) throws(ConsoleError) in
            try console.listPorts(arguments, all: true)
        },
    ]

    private static func account(_ arguments: Arguments, _ lookup: (String) -> UInt32?) throws(ConsoleError) -> UInt32? {
        guard arguments.words.count > 1 else { throw .invalid }
        if arguments.words[1] == "NONE" { return nil }
        guard let found = lookup(arguments.words[1]) else { throw .invalid }
        return found
    }

    private func listPorts(_ arguments: Arguments, all: Bool) throws(ConsoleError) -> [String] {
        let ports = virtualSwitch.ports
        guard let number = try arguments.optional(0) else {
            return ports.keys.sorted().filter { all || ports[$0]!.isActive }.flatMap {
                ManagementConsole.describe($0, ports[$0]!)
            }
        }
        guard let port = ports[number], all || port.isActive else { throw .noSuch }
        return ManagementConsole.describe(number, port)
    }

    private static func describe(_ number: Int, _ port: VirtualSwitch.SwitchPort) -> [String] {
        let traffic = port.traffic
        let user = port.user.map { UserDatabase.userName($0) } ?? "NONE"
        let allowedUser = port.allowedUser.map { UserDatabase.userName($0) } ?? "NONE",
            allowedGroup = port.allowedGroup.map { UserDatabase.groupName($0) } ?? "NONE"
        let state =
            (port.isActive ? "ACTIVE" : "INACTIVE") + " - " + (port.isAllocatable ? "" : "NOT ") + "Unnamed Allocatable"
        return [
            "Port \(TextFormat.zeros(number, 4)) untagged_vlan=\(TextFormat.zeros(Int(port.untaggedVLAN), 4)) \(state)",
            " Current User: \(user) Access Control: (User: \(allowedUser) - Group: \(allowedGroup))",
            " IN:  pkts \(TextFormat.right(traffic.framesIn, 10))          "
                + "bytes \(TextFormat.right(traffic.bytesIn, 20))",
            " OUT: pkts \(TextFormat.right(traffic.framesOut, 10))          "
                + "bytes \(TextFormat.right(traffic.bytesOut, 20))",
        ]
            + port.connections.map {
                "  -- endpoint ID \(TextFormat.zeros(Int($0.identifier), 4)) "
                    + "module \(TextFormat.left($0.module, 12)): \($0.description)"
            }
    }

    // MARK: VLANs

    private static let vlans: [Command] = [
        menu("vlan", "VLAN"),
        silent("vlan/create", "N", "make VLAN N") { (it, arguments) throws(ConsoleError) in
            try it.createVLAN(arguments.number(0))
        },
        silent("vlan/remove", "N", "remove VLAN N") { (it, arguments) throws(ConsoleError) in
            try it.removeVLAN(arguments.number(0))
        },
        silent("vlan/addport", "N PORT", "let the port take part in VLAN N with tags") {
            (it, arguments) throws(ConsoleError) in
            try it.setTagged(arguments.number(0), arguments.number(1), true)
        },
        silent("vlan/delport", "N PORT", "end that") { (it, arguments) throws(ConsoleError) in
            try it.setTagged(arguments.number(0), arguments.number(1), false)
        },
        printing("vlan/print", "[N]", "list VLANs and their ports in use") {
            (console, arguments) throws(ConsoleError) in try console.listVLANs(arguments, all: false)
        },
        printing("vlan/allprint", "[N]", "list VLANs and their ports") { (console, arguments) throws(ConsoleError) in
            try console.listVLANs(arguments, all: true)
        },
    ]

    private func listVLANs(_ arguments: Arguments, all: Bool) throws(ConsoleError) -> [String] {
        var vlans = virtualSwitch.taggedPorts.keys.sorted()
        if let number = try arguments.optional(0) {
            vlans = vlans.filter { Int($0) == number }
            guard !vlans.isEmpty else { throw .noSuch }
        }
        return vlans.flatMap { vlan in
            ["VLAN \(TextFormat.zeros(Int(vlan), 4))"]
                + virtualSwitch.members(of: vlan).compactMap { number, isTagged in
                    let isActive = virtualSwitch.ports[number]!.isActive
                    guard all || isActive else { return nil }
                    return
                        " -- Port \(TextFormat.zeros(number, 4)) tagged=\(isTagged ? 1 : 0) "
                        + "active=\(isActive ? 1 : 0) status=\(isActive ? "Forwarding" : "Learning")"
                }
        }
    }

    // MARK: Addresses

    private static let addresses: [Command] = [
        menu("hash", "ADDRESS TABLE"),
        printing("hash/showinfo", "", "show the table's size and ageing") { (console, _) throws(ConsoleError) in
            [
                "Hash size \(AddressTable.capacity)", "GC interval 0 secs",
                "GC expire \(console.virtualSwitch.ageing) secs", "Min persistence 0 secs",
            ]
        },
        silent("hash/setexpire", "N", "remove an address that was not seen for N seconds") {
            (it, arguments) throws(ConsoleError) in
            let seconds = try arguments.number(0)
            guard (1...1_000_000).contains(seconds) else { throw .invalid }
            it.setAgeing(seconds)
        },
        printing("hash/print", "", "list the addresses") { (console, _) throws(ConsoleError) in
            try console.listAddresses { _ in true }
        },
        printing("hash/find", "MAC [VLAN]", "print the port of an address") {
            (console, arguments) throws(ConsoleError) in
            guard let address = arguments.words.first.flatMap({ MACAddress($0) }) else { throw .invalid }
            let vlan = try arguments.optional(1) ?? 0
            let found = try console.listAddresses { $0.address == address && Int($0.vlan) == vlan }
            guard !found.isEmpty else { throw .notFound }
            return found
        },
    ]

    private func listAddresses(where matches: (KnownAddress) -> Bool) throws(ConsoleError) -> [String] {
        guard let all = virtualSwitch.control.addresses() else { throw ConsoleError(code: Errno.again) }
        return all.filter(matches).sorted { ($0.bucket, $0.address.value) < ($1.bucket, $1.address.value) }.compactMap {
            entry in
            guard let number = virtualSwitch.number(of: entry.port) else { return nil }
            return
                "Hash: \(TextFormat.zeros(entry.bucket, 4)) Addr: \(entry.address) "
                + "VLAN \(TextFormat.zeros(Int(entry.vlan), 4)) "
                + "to port: \(TextFormat.zeros(number, 3))  age \(entry.age?.seconds ?? 0) secs"
        }
    }
}
