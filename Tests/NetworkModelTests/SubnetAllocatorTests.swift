// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Testing
import Wire

private func network(_ text: String) -> IPv4Network {
    let parts = text.split(separator: "/")
    return IPv4Network(containing: IPv4Address(parts[0])!, prefixLength: Int(parts[1])!)
}

@Suite struct SubnetAllocatorTests {
    @Test func firstCandidateIsTheDocumentedNetwork() {
        let first = SubnetAllocator.candidates[0]
        #expect(first.network == network("192.168.105.0/24"))
        #expect(first.gateway.description == "192.168.105.1")
        #expect(first.firstLease.description == "192.168.105.2")
        #expect(first.lastLease.description == "192.168.105.254")
        #expect(SubnetAllocator.candidates[1].network == network("192.168.106.0/24"))
    }

    @Test func allCandidatesArePrivateAndDifferent() {
        let networks = SubnetAllocator.candidates.map(\.network)
        #expect(networks.allSatisfy { $0.base.isPrivate && $0.broadcast.isPrivate })
        #expect(Set(networks).count == networks.count)
        #expect(networks.contains { !network("192.168.0.0/16").overlaps($0) }, "a VPN over all of 192.168 leaves some")
    }

    @Test func overlapsAreConflicts() {
        let uses = [
            UsedSubnet(network: network("192.168.0.0/16"), interface: "tun0"),
            UsedSubnet(network: network("10.0.0.8/29"), interface: "eth0"),
        ]
        #expect(SubnetAllocator.conflict(of: network("192.168.105.0/24"), with: uses)?.interface == "tun0")
        #expect(SubnetAllocator.conflict(of: network("10.0.0.0/8"), with: uses)?.interface == "eth0")
        #expect(SubnetAllocator.conflict(of: network("172.31.5.0/24"), with: uses) == nil)
    }
}
