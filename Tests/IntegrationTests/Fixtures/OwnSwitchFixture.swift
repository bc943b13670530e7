// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

/// A host on which vde_vmnet is the switch.
final class OwnSwitchFixture {
    let network: TestNetwork
    let path: String
    let daemon: VMNetDaemon

    init(_ options: [String] = [], internet: Bool = false, environment: [String: String?] = [:]) throws {
        network = try TestNetwork()
        if internet { try network.startInternet() }
        path = network.folder.file("own")
        daemon = try VMNetDaemon(
            in: network.host, ["--switch"] + options + [path], folder: network.folder, environment: environment)
    }

    var host: Namespace { network.host }
    var folder: TemporaryFolder { network.folder }

    func guest(_ name: String = "guest", mac: String? = nil) throws -> PlugGuest {
        try PlugGuest(name, path: path, mac: mac, folder: folder)
    }

}
