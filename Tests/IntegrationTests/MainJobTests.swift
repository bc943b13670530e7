// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

/// Everything that runs the built command in network namespaces, one test at a time.
@Suite(.serialized, .enabled(if: Machine.isRoot, "\(Machine.rootReason)"))
struct IntegrationTests {}

extension IntegrationTests {
    @Suite struct MainJob {
        @Test(.enabled(if: GuestMachine.canRunQEMU, "\(GuestMachine.qemuReason)"))
        func qemuGuestReachesHostAndOutside() throws {
            let network = try TestNetwork()
            let vde = try VDESwitch(in: network.host, at: network.folder.file("vde"))
            let daemon = try VMNetDaemon(in: network.host, [vde.path], folder: network.folder)
            let guest = try GuestMachine.qemu(
                "guest", netdev: "vde,id=net0,sock=\(vde.path)", mac: "52:54:00:00:00:01", in: network.host, folder: network.folder)
            try guest.waitUntilBooted()
            let lease = try guest.lease()
            #expect(GuestMachine.address(in: lease) == "192.168.105.2")
            #expect(try guest.run("ping -c 2 192.168.105.1").status == 0)
            #expect(try guest.run("ping -c 2 \(TestNetwork.internetAddress)").status == 0)
            #expect(try daemon.stop() == .exited(0))
        }
    }
}
