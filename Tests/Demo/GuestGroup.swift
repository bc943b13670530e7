// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Timing

/// The guests of a demo: two of QEMU and a user-mode Linux on one switch.
struct GuestGroup {
    let guests: [VirtualMachine]
    private(set) var addresses: [String] = []
    private let show: Show

    /// Starts them, and waits until they have booted.
    /// - Parameters:
    ///   - path: the switch's directory.
    ///   - host: the namespace that they run in; nil for the demo's own.
    ///   - user: the user that runs them; nil for the demo's own.
    ///   - directory: for the files of user-mode Linux.
    ///   - wrapper: what is put before their commands.
    init(
        on path: String, in host: Namespace? = nil, as user: String? = nil, directory: String? = nil,
        folder: TemporaryFolder, wrapper: [String] = [], show: Show
    ) throws {
        self.show = show
        show.heading(
            "Three virtual machines\(user.map { ", as \($0)" } ?? ""): two of QEMU (software emulation, Debian's "
                + "kernel), one user-mode Linux")
        show.command(
            "qemu-system-x86_64 -device virtio-net-pci,netdev=net0 -netdev vde,id=net0,sock=\(path) ...     (twice)")
        show.command("linux.uml eth0=vde,\(path) ...")
        let booting = BootClock.now
        let qemus = try ["qemu-a": "52:54:00:12:34:56", "qemu-b": "52:54:00:12:34:57"].sorted { $0.key < $1.key }.map {
            try VirtualMachine.qemu(
                $0.key, netdev: "vde,id=net0,sock=\(path)", mac: $0.value, in: host, user: user, folder: folder,
                wrapper: wrapper)
        }
        let uml = try VirtualMachine.uml(
            "uml", network: "vde,\(path)", mac: "52:54:00:12:34:58", in: host, user: user, directory: directory,
            folder: folder, wrapper: wrapper)
        guests = qemus + [uml]
        for guest in guests { try guest.waitUntilBooted() }
        show.say("booted in \(show.milliseconds(since: booting)) ms")
    }

    /// Each gets a lease.
    mutating func getLeases() throws {
        show.heading("What they can do")
        for guest in guests {
            show.check("\(guest.name): lease by DHCP") {
                addresses.append(VirtualMachine.address(in: try guest.lease()))
                return addresses.last!
            }
        }
        guard addresses.count == guests.count else {
            throw CommandFailed(description: "without addresses there is nothing more to show")
        }
    }

    /// Guest `number` pings the gateway and the next guest.
    func ping(from number: Int, gateway: String, called name: String) {
        let guest = guests[number], next = (number + 1) % guests.count
        show.check("\(guest.name): ping \(name)") {
            try guest.succeed("ping -c 1 -W 5 \(gateway)", showing: "time=")
        }
        show.check("\(guest.name): ping \(guests[next].name)") {
            try guest.succeed("ping -c 1 -W 5 \(addresses[next])", showing: "time=")
        }
    }
}

extension Show {
    /// What vde_vmnet's own check reports of the network at `path`.
    func ownCheck(of path: String, _ run: ([String]) throws -> ChildProcess.Output) {
        command("vde_vmnet check \(path)")
        check("vde_vmnet check") {
            let result = try run([TestHost.product("vde_vmnet"), "check", path])
            output(result.output)
            guard result.succeeded else { throw CommandFailed(description: result.error) }
            return ""
        }
    }

    /// Ends the guests and the daemon, which removes its switch.
    func end(_ guests: [VirtualMachine], _ daemon: BackgroundProgram, path: String) {
        heading("The end")
        for guest in guests { guest.kill() }
        let stopping = BootClock.now
        check("vde_vmnet ends cleanly, and takes its switch away") {
            guard try daemon.stop() == .exited(0), !Files.exists(path) else {
                throw CommandFailed(description: daemon.output)
            }
            return "in \(milliseconds(since: stopping)) ms"
        }
    }
}

extension VirtualMachine {
    /// Runs a command that must succeed and print `pattern`; returns the line with it.
    func succeed(_ command: String, showing pattern: String) throws -> String {
        let result = try run(command)
        guard result.status == 0, let line = result.output.split(separator: "\n").first(where: { $0.contains(pattern) })
        else {
            throw CommandFailed(description: "\(command): status \(result.status)\n\(result.output)")
        }
        return String(line).trimmed
    }
}
