// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

/// A host with a daemon of ours that machines enter by several doors.
final class DoorScene {
    let network: TestNetwork
    var daemon: VMNetDaemon
    let vde: String
    let stream: String

    /// - Parameter options: what is asked for besides the way in.
    init(vde hasVDE: Bool = false, _ options: [String] = [], internet: Bool = false) throws {
        network = try TestNetwork()
        if internet { try network.startInternet() }
        vde = network.folder.file("vde")
        stream = network.folder.file("stream")
        daemon = try VMNetDaemon(in: network.host, (hasVDE ? ["--switch", vde] : []) + ["--stream", stream] + options, folder: network.folder)
    }

    var host: Namespace { network.host }
    var folder: TemporaryFolder { network.folder }

    var streamNetdev: String { "stream,id=net0,server=off,addr.type=unix,addr.path=\(stream)" }

    func machine(_ name: String, _ netdev: String, _ number: Int) throws -> GuestMachine {
        try GuestMachine.qemu(name, netdev: netdev, mac: "52:54:00:00:00:0\(number)", in: host, folder: folder)
    }
}

extension IntegrationTests {
    /// Ways in besides VDE.
    @Suite struct Doors {
        @Test(.enabled(if: GuestMachine.canRunQEMU, "\(GuestMachine.qemuReason)"))
        func aMachineComesInByAStreamWithoutAnyVDE() throws {
            let scene = try DoorScene(internet: true)
            #expect(scene.daemon.readyLine.hasSuffix("gateway 192.168.105.1, stream at \(scene.stream)"))
            let guest = try scene.machine("guest", scene.streamNetdev, 1)
            try guest.waitUntilBooted()
            #expect(GuestMachine.address(in: try guest.lease()) == "192.168.105.2")
            #expect(try guest.run("wget -q -O - http://\(TestNetwork.internetName)/").output == "Hello from the Internet")
            #expect(try scene.host.pings("192.168.105.2"))
            #expect(try scene.daemon.stop() == .exited(0))
            #expect(!Files.exists(scene.stream))
        }

        @Test(.enabled(if: GuestMachine.canRunQEMU, "\(GuestMachine.qemuReason)"))
        func machinesOfTwoDoorsReachEachOther() throws {
            let scene = try DoorScene(vde: true)
            let one = try scene.machine("stream", scene.streamNetdev, 1), two = try scene.machine("vde", "vde,id=net0,sock=\(scene.vde)", 2)
            var addresses: [String] = []
            for guest in [one, two] {
                try guest.waitUntilBooted()
                addresses.append(GuestMachine.address(in: try guest.lease()))
            }
            #expect(addresses == ["192.168.105.2", "192.168.105.3"])
            #expect(try one.run("ping -c 1 -W 5 \(addresses[1])").status == 0)
            #expect(try two.run("ping -c 1 -W 5 \(addresses[0])").status == 0)
            one.kill()
            try scene.daemon.program.wait(for: "has gone")
            let again = try scene.machine("again", scene.streamNetdev, 1)
            try again.waitUntilBooted()
            #expect(GuestMachine.address(in: try again.lease()) == addresses[0], "a machine that was restarted has its address")
            #expect(try two.run("ping -c 1 -W 5 \(addresses[0])").status == 0)
            #expect(try scene.daemon.stop() == .exited(0))
        }
    }
}
