// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

/// A network that a user without any privilege has made, with nothing but our program.
final class RootlessFixture {
    let network: TestNetwork
    let path: String
    let daemon: BackgroundProgram
    let ready: String

    /// - Parameters:
    ///   - wrapper: what is put before the daemon's command.
    ///   - prepare: settings of the host, before the daemon starts.
    init(
        _ options: [String] = [], internet: Bool = false, wrapper: [String] = [],
        prepare: (Namespace) throws -> Void = { _ in }
    ) throws {
        network = try TestNetwork()
        if internet { try network.startInternet() }
        try prepare(network.host)
        let directory = network.folder.file("user")
        try network.host.run(
            "sh", "-c", "mkdir \(directory) && chown nobody \(directory) && chmod 755 \(network.folder.path)")
        path = directory + "/vde"
        daemon = try network.host.start(
            wrapper + Namespace.running(as: "nobody") + [
                TestHost.product("vde_vmnet"), "--switch", "--state-dir", directory + "/state",
            ] + options + [path],
            environment: ["HOME": directory, "XDG_RUNTIME_DIR": directory])
        ready = try daemon.wait(for: "switch at \(path)\n", within: 20)
    }

    var host: Namespace { network.host }
    var folder: TemporaryFolder { network.folder }

    func guest(_ name: String = "guest", mac: String? = nil) throws -> PlugGuest {
        try PlugGuest(name, path: path, mac: mac, folder: folder)
    }

    func vm(_ name: String, _ number: Int) throws -> VirtualMachine {
        try VirtualMachine.qemu(
            name, netdev: "vde,id=net0,sock=\(path)", mac: "52:54:00:00:00:0\(number)", in: host, user: "nobody",
            folder: folder)
    }

    /// Waits until the user-mode NAT has dropped something for this reason.
    func waitUntilDropped(_ reason: String) throws {
        try eventually("frames dropped as \(reason)") {
            let before = daemon.output.count
            daemon.signal(Signal.user1)
            let start = try daemon.wait(for: "user-mode NAT: ", after: before, within: 5).count
            return try daemon.wait(for: "\n", after: before + start, within: 5).contains(reason)
        }
    }
}
