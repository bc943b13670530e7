// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

/// What is not known of macOS, both ways: the table in docs/macos.md.
extension IntegrationTests.SimulatedMac {
    /// A network that the host is part of gets a probe whether it is still there.
    @Test(arguments: ["tap=bridge100,silent_after=40", "tap=bridge100", "silent_after=40", ""])
    func sharedInterfaceIsReplacedOnlyIfSleepKilledIt(settings: String) throws {
        let network = try TestNetwork()
        let path = network.folder.file("own"), slept = network.folder.file("slept")
        try Files.replace(slept, Array("0".utf8))
        let daemon = try VMNetDaemon(
            in: network.host, ["--switch", path], folder: network.folder,
            environment: ["VMNET_SIMULATOR": settings, "VMNET_SIMULATOR_SLEEP": slept], level: "info",
            product: Self.product)
        let guest = try PlugGuest("guest", path: path, folder: network.folder)
        try guest.lease()
        #expect(try guest.namespace.pings("192.168.64.1"))
        let isSilent = settings.contains("silent")
        if isSilent {
            _ = try guest.namespace.attempt(["ping", "-c", "60", "-i", "0.01", "-W", "1", "192.168.64.1"])
            #expect(
                try !guest.namespace.attempt(["ping", "-c", "3", "-i", "0.2", "-W", "1", "192.168.64.1"]).succeeded,
                "it is silent")
        }
        try Files.replace(slept, Array("100".utf8))
        if isSilent {
            try daemon.program.wait(
                for: "the vmnet interface does not respond since this Mac has slept; starting another", within: 30)
            try daemon.program.wait(for: "the vmnet interface works again", within: 20)
            try guest.namespace.ip("neigh", "flush", "all")
        } else {
            try daemon.program.wait(for: "the vmnet interface has survived this Mac's sleep", within: 30)
            #expect(!daemon.program.output.contains("starting another"))
        }
        #expect(try guest.namespace.pings("192.168.64.1"))
        #expect(try daemon.stop() == .exited(0))
    }

    @Test func returnedAdapterReplacesBridgedInterface() throws {
        let network = try TestNetwork()
        try network.host.ip("link", "add", "en0", "type", "bridge")
        let path = network.folder.file("own")
        let daemon = try VMNetDaemon(
            in: network.host, ["--switch", "--vmnet-mode", "bridged", "--vmnet-interface", "en0", path],
            folder: network.folder, product: Self.product)
        try network.host.ip("link", "del", "en0")
        try network.host.ip("link", "add", "en0", "type", "bridge")
        try daemon.program.wait(
            for: "en0 has come back, which a bridged interface may not notice; starting another", within: 20)
        try daemon.program.wait(for: "the vmnet interface works again", within: 20)
        #expect(try daemon.stop() == .exited(0))
    }

    /// By what an interface may send that bootpd has given nothing: Apple's text and practice contradict each other.
    @Test(arguments: ["checks_sources=1", ""])
    func bootpdAddressesAreAccepted(settings: String) throws {
        let network = try TestNetwork()
        let (daemon, path) = try start(network, settings, ["--dhcp", "system"])
        let guest = try PlugGuest("guest", path: path, folder: network.folder)
        #expect(try guest.lease()["lease"] == "86400")
        #expect(try guest.namespace.pings("192.168.64.1"))
        #expect(try daemon.stop() == .exited(0))
    }

    @Test(arguments: ["subnet_ends_dhcp=1", "object_refuses_header=1", ""])
    func ownServerServesBesideNetworkObject(settings: String) throws {
        let network = try TestNetwork()
        let (daemon, path) = try start(
            network, settings, ["--vmnet-external-interface", "en1", "--vmnet-gateway", "10.78.0.1", "--vmnet-offload"])
        let guest = try PlugGuest("guest", path: path, folder: network.folder)
        let lease = try guest.lease()
        #expect(lease["ip"] == "10.78.0.2" && lease["lease"] == "1800")
        #expect(try guest.namespace.pings("10.78.0.1"))
        #expect(try daemon.stop() == .exited(0))
    }

    /// The host may have no address on a network with an identifier.
    @Test(arguments: [[], ["--vmnet-gateway", "192.168.128.1"]])
    func addresslessNetworkServesChosenAddresses(options: [String]) throws {
        let network = try TestNetwork()
        let (daemon, path) = try start(
            network, "hides_addresses=1",
            ["--vmnet-mode", "host", "--vmnet-network-identifier", "3f2504e0-4f89-11d3-9a0c-0305e82c3301"] + options)
        if options.isEmpty {
            #expect(daemon.readyLine == "a network by vmnet, switch at \(path)")
            #expect(
                daemon.program.output.contains(
                    "so guests get none from this program; choose them with --vmnet-gateway"))
        } else {
            let guest = try PlugGuest("guest", path: path, folder: network.folder)
            #expect(try guest.lease()["ip"] == "192.168.128.2")
        }
        #expect(try daemon.stop() == .exited(0))
    }
}
