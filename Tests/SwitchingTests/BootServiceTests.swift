// SPDX-License-Identifier: Apache-2.0
import TestSupport
import Testing
import Wire

@testable import Switching

/// Guests' TFTP datagrams to the gateway are taken where they come in, whatever else is served.
@Suite struct BootServiceTests {
    private static let gateway = IPv4Address("192.168.105.1")!, router = mac(9)

    private static func datagram(_ port: UInt16) -> [UInt8] {
        Frames.udp(
            from: Endpoint(mac(1), IPv4Address("192.168.105.2")!, port: 4000),
            to: Endpoint(router, gateway, port: port), [0, 1, 97, 0, 111, 99, 116, 101, 116, 0])
    }

    @Test func requestsAreDivertedWithoutAnyOtherService() throws {
        let harness = try ForwarderHarness()
        let guest = try harness.attach(), uplink = try harness.attach(.uplink, receivesUnknown: false)
        harness.control.addStatic(Self.router, at: uplink.number)
        harness.control.setBootService(BootService(address: Self.gateway))
        harness.settle()
        for port in [69, 70] as [UInt16] { try guest.send(Self.datagram(port)) }
        harness.settle()
        let request = try #require(harness.control.removeBootRequest())
        #expect(request.frame == Self.datagram(69) && request.port == guest.number)
        #expect(harness.control.removeBootRequest() == nil)
        #expect(uplink.received() == [Self.datagram(70)])
        var fragment = Self.datagram(69)
        fragment[20] = 0x20
        try guest.send(fragment)
        harness.settle()
        #expect(uplink.received().isEmpty && harness.control.removeBootRequest() == nil)
        #expect(harness.counters(guest).drops(.fragment) == 1)
        harness.control.setBootService(nil)
        harness.settle()
        try guest.send(Self.datagram(69))
        harness.settle()
        #expect(uplink.received() == [Self.datagram(69)] && harness.control.removeBootRequest() == nil)
    }
}
