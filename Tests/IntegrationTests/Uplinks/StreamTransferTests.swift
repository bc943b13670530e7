// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

extension IntegrationTests {
    /// TCP streams through a TAP, where segments are coalesced and GSO frames are segmented: what arrives is what was
    /// sent.
    @Suite struct StreamTransfers {
        private static let megabytes = 24

        /// Sends the same random file from one host to another. Returns false if another one arrives.
        private func transfer(
            from sender: Namespace, to receiver: Namespace, at address: String, folder: TemporaryFolder
        ) throws -> Bool {
            let original = folder.file("original"), copy = folder.file("copy")
            if !Files.exists(original) {
                _ = try sender.run(
                    "dd", "if=/dev/urandom", "of=\(original)", "bs=1M", "count=\(Self.megabytes)", "status=none")
            }
            let listener = try receiver.start(["sh", "-c", "busybox nc -l -p 5001 > \(copy)"])
            try receiver.waitForListener(on: 5001)
            _ = try sender.run("sh", "-c", "timeout 25 busybox nc \(address) 5001 < \(original)")
            try listener.waitForEnd(within: 20)
            return try ChildProcess.run(["cmp", original, copy]).succeeded
        }

        private func received(_ interface: String, in namespace: Namespace) throws -> Int {
            Int(try namespace.run("cat", "/sys/class/net/\(interface)/statistics/rx_packets").trimmed) ?? 0
        }

        @Test func streamsFlowBothWaysToPlainClient() throws {
            let fixture = try OwnSwitchFixture()
            let guest = try fixture.guest()
            let address = try #require(try guest.lease()["ip"])
            let before = try received("vmnet0", in: fixture.host)
            #expect(try transfer(from: guest.namespace, to: fixture.host, at: "192.168.105.1", folder: fixture.folder))
            // Fewer than there were segments: some were put together.
            #expect(try received("vmnet0", in: fixture.host) - before < Self.megabytes * 1_048_576 / 1448 * 9 / 10)
            #expect(try transfer(from: fixture.host, to: guest.namespace, at: address, folder: fixture.folder))
        }

        @Test func streamsFlowBothWaysBetweenTwoTaps() throws {
            let fixture = try OwnSwitchFixture()
            let other = try Namespace("other")
            let far = try VMNetDaemon(
                in: other,
                [
                    "--uplink", "tap", "--vmnet-mode", "host", "--dhcp", "off", "--vmnet-gateway", "192.168.105.77",
                    "--state-dir", fixture.folder.file("far"), fixture.path,
                ],
                folder: fixture.folder)
            #expect(far.readyLine.contains("192.168.105.77"))
            for _ in 0..<2 {
                #expect(try transfer(from: other, to: fixture.host, at: "192.168.105.1", folder: fixture.folder))
                #expect(try transfer(from: fixture.host, to: other, at: "192.168.105.77", folder: fixture.folder))
            }
            #expect(try far.stop() == .exited(0))
        }
    }
}
