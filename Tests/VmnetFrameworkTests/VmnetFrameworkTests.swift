// SPDX-License-Identifier: Apache-2.0
import FrameIO
import NetworkModel
import Platform
import TestSupport
import Testing
import Uplink
import VmnetSimulator
import Wire
import VmnetUplink
@testable import VmnetFramework

/// The simulator's settings are one for all.
@Suite(.serialized) struct VmnetFrameworkTests {
    func simulate(_ change: (inout vmnet_simulator_settings) -> Void = { _ in }) {
        var settings = vmnet_simulator_settings()
        change(&settings)
        SimulatorSettings.set(settings)
    }

    @Test func startedInterfaceReportsItsParameters() throws {
        simulate()
        let link = try Link()
        let parameters = link.interface.parameters
        #expect(parameters.network?.gateway.description == "192.168.64.1")
        #expect(parameters.network?.lastLease.description == "192.168.64.254")
        #expect(parameters.mtu == 1500 && parameters.maximumFrame == 1514 && parameters.nat66Prefix == "fd00:1:2:3::")
        #expect(parameters.batches == (256, 256))
        try link.stop()
        try link.stop()
    }

    @Test func systemWithoutReportedBatchesGetsDocumentedOnes() throws {
        simulate { $0.hides_batches = 1 }
        let link = try Link()
        #expect(link.interface.parameters.batches == (200, 200))
        #expect(link.send(question(), count: 100) == (100, 0))
        try link.stop()
    }

    @Test(arguments: [(false, false), (true, false), (false, true)])
    func framesGoOutAndComeBack(isEdge: Bool, isSpurious: Bool) throws {
        simulate {
            $0.high_estimates = isEdge ? 1 : 0
            $0.edge_events = isEdge ? 1 : 0
            $0.spurious_events = isSpurious ? 1 : 0
        }
        let link = try Link()
        for round in [1, 100, 128, 5] {
            #expect(link.send(question(), count: round) == (round, 0))
            let (frames, error) = link.receive(round)
            #expect(frames.count == round && error == 0)
            #expect(frames.allSatisfy { $0.count == 42 && (try? EthernetView($0.rawSpan).destination) == guestMAC })
        }
        try link.stop()
    }

    @Test func callsAreAsSmallAsTheInterfaceWantsThem() throws {
        simulate { $0.batch = 3 }
        let link = try Link()
        #expect(link.send(question(), count: 50) == (50, 0))
        #expect(link.receive(50).frames.count == 50)
        try link.stop()
    }

    @Test func callsStayBelowTheLimitOfBytes() throws {
        simulate()
        let link = try Link(mtu: 9000)
        // 128 frames of 9014 bytes are a megabyte: more than one call takes.
        #expect(link.send(question() + [UInt8](repeating: 0, count: 9014 - 42), count: 128) == (128, 0))
        try link.stop()
    }

    @Test func exhaustedBuffersDelayFrames() throws {
        simulate { $0.exhausted_every = 1 }
        let exhausted = try Link()
        #expect(exhausted.send(question(), count: 10) == (0, Errno.noBuffers))
        try exhausted.stop()
        simulate {
            $0.exhausted_every = 2; $0.batch = 4
        }
        let sometimes = try Link()
        #expect(sometimes.send(question(), count: 10) == (4, Errno.noBuffers))
        try sometimes.stop()
        simulate { $0.partial_every = 1 }
        let partial = try Link()
        #expect(partial.send(question(), count: 10) == (1, Errno.noBuffers))
        try partial.stop()
    }

    @Test func unsendableFramesAreReported() throws {
        simulate()
        let link = try Link()
        #expect(link.send([UInt8](repeating: 0, count: 1515)) == (0, Errno.messageTooLong))
        #expect(link.send(question()) == (1, 0))
        try link.stop()
        // One that needs whole Ethernet frames gets them.
        simulate { $0.least_frame = 60 }
        let picky = try Link()
        #expect(picky.send(question(), count: 3) == (3, 0))
        #expect(picky.receive(3).frames.count == 3)
        try picky.stop()
    }

    @Test(arguments: [1003, 1001, 1004, 1005] as [Int32])
    func vanishedInterfaceFailsInBothDirections(status: Int32) throws {
        simulate {
            $0.vanish_after = 5
            $0.gone_status = UInt32(status)
        }
        let link = try Link()
        #expect(link.send(question(), count: 5) == (5, 0))
        #expect(link.send(question()) == (0, status))
        // "Not ready" may be a matter of time to a read; the next write finds out.
        #expect(link.receive(1).error == (status == 1004 ? 0 : status))
        try link.stop()
    }

    /// Every buffer has room for the longest frame, so that it does not matter what becomes of one that has not.
    @Test(arguments: [0, 1] as [Int32])
    func buffersAreNeverTooShort(truncates: Int32) throws {
        simulate { $0.short_reads = truncates }
        let link = try Link(mtu: 9000)
        var frame = question()
        frame += [UInt8](repeating: 0, count: 9014 - frame.count)
        #expect(link.send(frame, count: 3) == (3, 0))
        #expect(link.send(question()) == (1, 0))
        #expect(link.receive(1).error == 0)
        try link.stop()
    }

    @Test func optionsReachTheFramework() throws {
        simulate()
        var options = VmnetOptions(mode: .host)
        options.network = GuestNetwork(
            gateway: IPv4Address("10.1.0.1")!, prefixLength: 16, lastLease: IPv4Address("10.1.0.99")!)
        options.mtu = 9000
        options.interfaceID = Array(1...16)
        options.networkID = Array(2...17)
        options.isIsolated = true
        let link = try Link(options)
        #expect(link.interface.parameters.network == options.network)
        #expect(link.interface.parameters.maximumFrame == 9014)
        try link.stop()
        var shared = VmnetOptions(mode: .shared)
        shared.nat66Prefix = "fd00:9::"
        try Link(shared).stop()
        try Link(VmnetOptions(mode: .bridged("en0"))).stop()
    }

    @Test(arguments: [0, 1] as [Int32])
    func framesWithHeadersGoOutAndComeBack(isInside: Int32) throws {
        simulate { $0.header_inside = isInside }
        defer { simulate() }
        var options = VmnetOptions(mode: .shared)
        options.offload = .virtio
        #expect(VmnetFramework().hasVirtioHeaders)
        let link = try Link(options)
        let device = link.interface.device
        #expect(
            device.headerLength == 12 && device.maximumGSOFrame == 65_550 - 12,
            "whether the header counts is not known")
        #expect(link.interface.parameters.maximumFrame == 1514)
        for round in [1, 100] {
            #expect(link.sendWithHeaders(question(), count: round) == (round, 0))
            let (frames, error) = link.receive(round)
            #expect(error == 0 && frames.count == round)
            #expect(frames.allSatisfy { $0.count == 42 && (try? EthernetView($0.rawSpan).destination) == guestMAC })
        }
        try link.stop()
    }

    @Test func olderFrameworkHasNoVirtioHeaders() throws {
        simulate { $0.lacks_virtio_header = 1 }
        defer { simulate() }
        var options = VmnetOptions(mode: .shared)
        options.offload = .virtio
        #expect(!VmnetFramework().hasVirtioHeaders)
        #expect(failure(options) != nil)
    }

    @Test func longFramesWithoutHeadersGoOutAsTheyAre() throws {
        simulate()
        var options = VmnetOptions(mode: .shared)
        options.offload = .plain
        let one = try Link(options), other = try Link(options)
        let device = one.interface.device
        #expect(device.headerLength == 0 && device.maximumGSOFrame > 65_000 && device.mtu == 1500)
        #expect(one.interface.parameters.maximumFrame == 1514)
        let long = question("192.168.64.77") + [UInt8](repeating: 7, count: 20_000)
        #expect(one.send(long, count: 3) == (3, 0))
        #expect(other.receive(3).frames == [long, long, long])
        try one.stop()
        try other.stop()
    }

    // MARK: Port forwarding

    func published(_ texts: String...) throws -> [PublishedPort] { try texts.map { try PublishedPort(parsing: $0) } }

    @Test func portsArePublishedForAsLongAsTheInterfaceIsThere() throws {
        simulate()
        var options = VmnetOptions(mode: .shared)
        options.published = try published("8080:192.168.64.2:80", "6000-6001:192.168.64.3/udp")
        let link = try Link(options)
        #expect(
            SimulatorSettings.rules == [
                "tcp 8080 192.168.64.2 80", "udp 6000 192.168.64.3 6000", "udp 6001 192.168.64.3 6001",
            ])
        try link.stop()
        #expect(SimulatorSettings.rules == [])
    }

    @Test func publishedPortInUseIsNamed() throws {
        simulate()
        let before = vmnet_simulator_interfaces()
        var options = VmnetOptions(mode: .shared)
        options.published = try published("8080:192.168.64.2:80")
        let link = try Link(options)
        options.published = try published("8081:192.168.64.2:80", "8080:192.168.64.2:80")
        let found = failure(options)
        #expect(found?.status == 1001 && found?.description.hasPrefix("--publish 8080:192.168.64.2:80/tcp: ") == true)
        #expect(SimulatorSettings.rules == ["tcp 8080 192.168.64.2 80"], "what was added before is gone")
        try link.stop()
        #expect(vmnet_simulator_interfaces() == before)
        // Nor does it matter how it fails.
        simulate { $0.rule_status = 1003 }
        #expect(failure(options)?.description.contains("refused (1003)") == true)
        simulate { $0.rule_silent = 1 }
        #expect(failure(options)?.description.contains("did not answer in time") == true)
    }

    // MARK: Network objects

    func objectOptions(gateway: String? = nil) -> VmnetOptions {
        var options = VmnetOptions(mode: .shared)
        options.externalInterface = "en1"
        if let gateway { options.network = GuestNetwork(gateway: IPv4Address(gateway)!, prefixLength: 24) }
        return options
    }

    @Test(arguments: [false, true])
    func networkObjectReportsItsNetwork(masked: Bool) throws {
        simulate { $0.masked_subnet = masked ? 1 : 0 }
        #expect(VmnetFramework().hasNetworkObjects)
        var options = objectOptions(gateway: "10.9.8.1")
        options.mtu = 9000
        options.nat66Prefix = "fd00:7::"
        options.offload = .plain
        options.published = try published("8080:10.9.8.2:80")
        let link = try Link(options)
        let parameters = link.interface.parameters
        #expect(parameters.network == options.network)
        #expect(parameters.mtu == 9000 && parameters.maximumFrame == 9014 && parameters.nat66Prefix == "fd00:7::")
        #expect(SimulatorSettings.externalInterface == "en1")
        #expect(SimulatorSettings.rules == ["tcp 8080 10.9.8.2 80"])
        #expect(link.send(question("10.9.8.1"), count: 10) == (10, 0))
        #expect(link.receive(10).frames.count == 10)
        try link.stop()
        #expect(SimulatorSettings.rules == [] && vmnet_simulator_objects() == 0)
    }

    @Test func networkObjectReservesItsAddressRange() throws {
        simulate()
        let link = try Link(objectOptions())
        #expect(link.interface.parameters.network?.gateway.description == "192.168.64.1")
        #expect(failure()?.status == 1001, "the classic way")
        #expect(failure(objectOptions())?.description.contains("1001") == true, "another object")
        #expect(
            failure(objectOptions(gateway: "192.168.64.1"))?.description.contains("192.168.64.0/24 is in use") == true)
        try link.stop()
        #expect(failure(objectOptions()) == nil)
        #expect(vmnet_simulator_objects() == 0)
    }

    @Test func optionsUnsupportedByNetworkObjectAreRefused() throws {
        simulate()
        defer { simulate() }
        // Each leaves nothing behind.
        func status(_ change: (inout VmnetOptions) -> Void) -> Int32? {
            var options = objectOptions()
            change(&options)
            defer { #expect(vmnet_simulator_objects() == 0) }
            return failure(options)?.status
        }
        #expect(status { $0.externalInterface = "utun0" } == 1003)
        #expect(status { $0.network = GuestNetwork(gateway: IPv4Address("10.0.0.9")!, prefixLength: 24) } == 1003)
        #expect(status { $0.network = GuestNetwork(gateway: IPv4Address("10.0.0.0")!, prefixLength: 24) } == 1001)
        #expect(status { $0.nat66Prefix = "2001:db8::" } == 1003)
        #expect(status { $0.nat66Prefix = "no prefix" } == 1003)
        #expect(status { $0.mode = .bridged("en0") } == 1003)
        #expect(status { $0.reservations = [AddressReservation("52:54:00:00:00:01,10.0.0.1")!] } == 1003)
        #expect(
            status {
                $0.published = [
                    PublishedPort(.tcp, ports: 80...81, guest: .ipv4(.any), guestPort: 80),
                    PublishedPort(.tcp, ports: 81...81, guest: .ipv4(.any), guestPort: 1),
                ].compactMap(\.self)
            } == 1001)
        simulate { $0.network_status = 1002 }
        #expect(status { _ in } == 1002)
        simulate { $0.start_status = 1009 }
        #expect(status { _ in } == 1009)
        simulate { $0.object_without_handle = 1 }
        #expect(status { _ in } == 1001)
        simulate { $0.lacks_network_objects = 1 }
        #expect(!VmnetFramework().hasNetworkObjects)
        #expect(failure(objectOptions())?.status == 0)
    }

    @Test func lateNetworkObjectIsReleased() throws {
        simulate { $0.network_delay = 800 }
        let before = vmnet_simulator_interfaces()
        #expect(failure(objectOptions())?.description.contains("did not answer") == true)
        #expect(vmnet_simulator_interfaces() == before)
        try eventually("its end") { vmnet_simulator_objects() == 0 }
        simulate { $0.start_delay = 800 }
        #expect(failure(objectOptions())?.description.contains("did not answer") == true)
        try eventually("the end of the interface") {
            vmnet_simulator_objects() == 0 && vmnet_simulator_interfaces() == before
        }
    }

    @Test func bootpdServesNetworkObjectAsConfigured() throws {
        simulate()
        for (disables, reserves, expected) in [
            (false, false, "192.168.64.2"), (false, true, "192.168.64.77"), (true, false, nil),
        ] as [(Bool, Bool, String?)] {
            var options = objectOptions()
            options.disablesDHCP = disables
            if reserves {
                options.reservations = [AddressReservation(hardware: guestMAC, address: IPv4Address("192.168.64.77")!)]
            }
            let link = try Link(options)
            var discover = DHCPv4Message(isReply: false, transactionID: 7, clientHardware: guestMAC)
            discover[.messageType] = [DHCPv4Message.Kind.discover.rawValue]
            let frame = UDPFrame(from: (guestMAC, .any, DHCPPort.client), to: (.broadcast, .broadcast, DHCPPort.server))
                .bytes(payload: discover.bytes())
            #expect(link.send(frame) == (1, 0))
            let answer = link.receive(1, seconds: expected == nil ? 0.2 : 5).frames.first
            let offered = answer.flatMap { frame -> IPv4Address? in
                guard let ip = try? IPv4View(EthernetView(frame.rawSpan).payload), let udp = try? UDPView(ip.payload)
                else { return nil }
                return (try? DHCPv4Message(parsing: udp.payload))?.yourAddress
            }
            #expect(offered?.description == expected)
            try link.stop()
        }
    }

    /// Also on a system that needs the isolation key in either case.
    @Test(arguments: [0, 1] as [Int32])
    func isolatedInterfacesDoNotReachEachOther(mustBeSaid: Int32) throws {
        simulate { $0.requires_isolation_set = mustBeSaid }
        defer { simulate() }
        for isIsolated in [false, true] {
            var options = VmnetOptions(mode: .shared)
            options.isIsolated = isIsolated
            let one = try Link(options), other = try Link(options)
            _ = one.send(question("192.168.64.77"))
            #expect(other.receive(1, seconds: isIsolated ? 0.2 : 5).frames.count == (isIsolated ? 0 : 1))
            try one.stop()
            try other.stop()
        }
    }

    /// In bridged mode the switch itself isolates guests; vmnet need not support it.
    @Test(arguments: [0, 1] as [Int32])
    func bridgedInterfaceStartsWithIsolation(isRefused: Int32) throws {
        simulate { $0.refuses_bridged_isolation = isRefused }
        defer { simulate() }
        var options = VmnetOptions(mode: .bridged("en0"))
        options.isIsolated = true
        try Link(options).stop()
    }

    // MARK: Failures

    @Test(arguments: [1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008, 1009, 1010, 1234] as [Int32])
    func everyStatusHasMessageWithNextStep(status: Int32) {
        simulate { $0.start_status = UInt32(status) }
        let found = failure()
        #expect(found?.status == status)
        #expect(found?.description.contains("\(status)") == true)
        for isRoot in [true, false] { #expect(VmnetStatus.failure(status, isRoot: isRoot).description.count > 30) }
        #expect(
            VmnetStatus.failure(1001, isRoot: false).isPermission
                && !VmnetStatus.failure(1001, isRoot: true).isPermission)
    }

    @Test func failedStartEndsWithoutHandleOrAnswer() {
        simulate { $0.start_without_handle = 1 }
        #expect(failure()?.status == 1001)
        simulate { $0.start_silent = 1 }
        #expect(failure()?.description.contains("did not answer") == true)
        simulate { $0.start_delay = 100 }
        #expect(failure() == nil)
        simulate { $0.stop_silent = 1 }
        #expect(failure()?.description.contains("did not answer") == true)
    }

    @Test func lateStartAnswerLeavesNoInterface() throws {
        simulate { $0.start_delay = 800 }
        let before = vmnet_simulator_interfaces()
        #expect(failure()?.description.contains("did not answer") == true)
        #expect(vmnet_simulator_interfaces() == before + 1)
        try eventually("its end") { vmnet_simulator_interfaces() == before }
    }

    @Test func networkOfAnotherModeIsRefused() throws {
        simulate()
        var options = VmnetOptions(mode: .shared)
        options.network = GuestNetwork(gateway: IPv4Address("10.2.0.1")!, prefixLength: 24)
        let link = try Link(options)
        options.mode = .host
        #expect(failure(options)?.status == 1001)
        try link.stop()
        #expect(failure(options) == nil)
    }

    @Test func bridgeableInterfacesAreListed() {
        simulate()
        #expect(VmnetFramework().bridgeableInterfaces().sorted() == ["en0", "en1"])
        #expect(
            failure(VmnetOptions(mode: .bridged("en9")))?.description.contains(
                "en9 cannot be bridged; --vmnet-interface takes one of: en") == true)
    }
}
