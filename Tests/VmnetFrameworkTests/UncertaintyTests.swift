// SPDX-License-Identifier: Apache-2.0
import Platform
import Testing
import Uplink
import VmnetSimulator
import VmnetUplink
@testable import VmnetFramework
import Wire

/// What is not known of vmnet, both ways: the table in docs/macos.md.
extension VmnetFrameworkTests {
    @Test(arguments: [0, 1], [0, 1] as [Int32])
    func invalidFrameDoesNotDropItsNeighbours(takesSome: Int32, keepsCount: Int32) throws {
        simulate {
            $0.errors_take_some = takesSome
            $0.errors_keep_count = keepsCount
        }
        defer { simulate() }
        let link = try Link()
        let good = question(), long = [UInt8](repeating: 0, count: 1515)
        var sent = 0
        var remaining = [good, good, long, good, good, good]
        // As the forwarder does it: what is refused is left out, what comes after it is tried again.
        while !remaining.isEmpty {
            let (taken, error) = link.send(remaining)
            sent += taken
            remaining.removeFirst(taken)
            // One after those that were taken is not known to be at fault yet.
            guard !remaining.isEmpty, taken == 0 else { continue }
            #expect(error == Errno.messageTooLong && remaining[0] == long)
            remaining.removeFirst()
        }
        #expect(sent == 5)
        // Where the number hides that some were taken, they go twice.
        let (frames, error) = link.receive(5)
        #expect(error == 0 && frames.count >= 5)
        try link.stop()
    }

    @Test(arguments: [0, 256 * 1024, 20_000, 1600] as [UInt32], [VmnetOptions.Offload.none, .virtio])
    func callsShrinkUntilTheyAreAccepted(limit: UInt32, offload: VmnetOptions.Offload) throws {
        // Not below one of the longest frames.
        simulate { $0.byte_limit = offload == .virtio && limit > 0 ? max(limit, 70_000) : limit }
        defer { simulate() }
        var options = VmnetOptions(mode: .shared)
        options.offload = offload
        let link = try Link(options)
        for _ in 0..<2 {
            let frame = question() + [UInt8](repeating: 0, count: 1000)
            #expect(
                (offload == .virtio ? link.sendWithHeaders(frame, count: 60) : link.send(frame, count: 60)) == (60, 0))
            let (frames, error) = link.receive(60)
            #expect(frames.count == 60 && error == 0)
        }
        try link.stop()
    }

    @Test(arguments: [0, 1] as [Int32])
    func frameQueuedBeforeCallbackIsRead(isEarly: Int32) throws {
        simulate {
            $0.early_frames = isEarly
            $0.edge_events = 1
        }
        defer { simulate() }
        let link = try Link()
        #expect(link.receive(1, seconds: isEarly == 1 ? 5 : 0.2).frames.count == Int(isEarly))
        #expect(link.send(question(), count: 10) == (10, 0))
        #expect(link.receive(10).frames.count == 10)
        try link.stop()
    }

    @Test(arguments: [0, 4] as [UInt32])
    func framesLostBySystemCauseNoError(depth: UInt32) throws {
        simulate {
            $0.queue_depth = depth
            $0.edge_events = 1
        }
        defer { simulate() }
        let link = try Link()
        for _ in 0..<3 {
            #expect(link.send(question(), count: 60) == (60, 0))
            let kept = depth == 0 ? 60 : 4
            #expect(link.receive(kept).frames.count == kept)
        }
        try link.stop()
    }

    @Test(arguments: [0, 1] as [Int32])
    func taggedFramesMayBeDroppedBySystem(drops: Int32) throws {
        simulate { $0.drops_tagged = drops }
        defer { simulate() }
        let one = try Link(), other = try Link()
        var tagged = question("192.168.64.77")
        tagged.insert(contentsOf: [0x81, 0, 0, 5], at: 12)
        #expect(one.send(tagged) == (1, 0))
        #expect(one.send(question("192.168.64.77")) == (1, 0))
        let frames = other.receive(drops == 1 ? 1 : 2).frames
        #expect(frames.last == question("192.168.64.77") && frames.count == (drops == 1 ? 1 : 2))
        try one.stop()
        try other.stop()
    }

    @Test(arguments: [0, 1500] as [UInt32])
    func excessiveMTUIsReported(limit: UInt32) throws {
        simulate { $0.mtu_limit = limit }
        defer { simulate() }
        var options = VmnetOptions(mode: .shared)
        options.mtu = 9000
        let found = failure(options)
        #expect(found == nil || found?.description.contains("--vmnet-mtu") == true)
        #expect((found == nil) == (limit == 0))
    }

    @Test(arguments: [0, 1] as [Int32])
    func networkMayReportNoAddresses(hides: Int32) throws {
        simulate { $0.hides_addresses = hides }
        defer { simulate() }
        let link = try Link(VmnetOptions(mode: .shared))
        #expect((link.interface.parameters.network == nil) == (hides == 1))
        #expect((link.interface.parameters.nat66Prefix == nil) == (hides == 1))
        #expect(link.interface.parameters.maximumFrame == 1514)
        try link.stop()
    }

    @Test(arguments: [0, 1001, 1003] as [UInt32])
    func refusedStopIsReportedOnce(status: UInt32) throws {
        simulate { $0.stop_status = status }
        defer { simulate() }
        let link = try Link()
        #expect(link.send(question()) == (1, 0))
        if status == 0 { try link.stop() } else { #expect(throws: VmnetError.self) { try link.stop() } }
        // Once is enough.
        try link.stop()
    }

    @Test(arguments: [1, 2] as [Int32], [0, 1005] as [UInt32])
    func startWithoutHandleFailsWithOrWithoutCallback(kind: Int32, status: UInt32) {
        simulate {
            $0.start_without_handle = kind
            $0.start_status = status
        }
        defer { simulate() }
        #expect(failure()?.status == (kind == 2 && status != 0 ? Int32(status) : 1001))
    }

    @Test(arguments: [0, 1] as [Int32])
    func ruleCallbackMayComeBeforeTheCallReturns(isEarly: Int32) throws {
        simulate { $0.rule_handler_early = isEarly }
        defer { simulate() }
        var options = VmnetOptions(mode: .shared)
        options.published = try published("8080:192.168.64.2:80")
        let link = try Link(options)
        #expect(SimulatorSettings.rules == ["tcp 8080 192.168.64.2 80"])
        try link.stop()
    }

    @Test(arguments: [0, 1] as [Int32])
    func networkObjectMayAcceptNetworkAddressAsGateway(takes: Int32) {
        simulate { $0.object_takes_network = takes }
        defer { simulate() }
        #expect(failure(objectOptions(gateway: "10.0.0.0"))?.status == (takes == 1 ? nil : 1001))
        #expect(failure(objectOptions(gateway: "10.0.0.1")) == nil, "which is what the program gives")
        #expect(vmnet_simulator_objects() == 0)
    }
}
