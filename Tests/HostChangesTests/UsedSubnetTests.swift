// SPDX-License-Identifier: Apache-2.0
import HostChanges
import NetworkModel
import Testing
import Wire

@Suite struct UsedSubnetTests {
    @Test func hostAddressesAreUsedSubnets() throws {
        #expect(try UsedSubnet.ofHost().contains { $0.network.contains(IPv4Address("127.0.0.1")!) })
    }
}
