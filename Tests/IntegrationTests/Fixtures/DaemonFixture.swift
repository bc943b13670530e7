// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport

/// A host with a vde_switch and our daemon on it.
final class DaemonFixture {
    let network: TestNetwork
    let vde: VDESwitch
    let daemon: VMNetDaemon

    /// - Parameters:
    ///   - options: of the daemon. Without them it serves addresses at once instead of looking for other servers first.
    ///   - internet: whether the outside has servers.
    init(_ options: [String] = ["--dhcp", "builtin"], internet: Bool = false) throws {
        network = try TestNetwork()
        if internet { try network.startInternet() }
        vde = try VDESwitch(in: network.host, at: network.folder.file("vde"))
        daemon = try VMNetDaemon(in: network.host, options + [vde.path], folder: network.folder)
    }

    var host: Namespace { network.host }
    var folder: TemporaryFolder { network.folder }

    func guest(_ name: String = "guest", mac: String? = nil) throws -> PlugGuest {
        try PlugGuest(name, path: vde.path, mac: mac, folder: folder)
    }

    func check(_ arguments: String...) throws -> ChildProcess.Output {
        try host.attempt([TestHost.product("vde_vmnet"), "check", vde.path] + arguments)
    }
}

extension Namespace {
    /// True if `address` answers a ping from here.
    func pings(_ address: String, seconds: Int = 5) throws -> Bool {
        try attempt(["ping", "-c", "1", "-W", "\(seconds)", address]).succeeded
    }
}
