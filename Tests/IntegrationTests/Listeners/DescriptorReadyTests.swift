// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Timing
import Wire

extension IntegrationTests {
    /// What programs that start us with `--fd`, as they start vmnet-helper, read on standard output.
    @Suite struct DescriptorReadiness {
        /// By a user without privilege, without a need for root.
        @Test(arguments: ["shared", "host"]) func userModeNetworkReportsItsAddresses(mode: String) throws {
            let network = try TestNetwork(), directory = network.folder.file("user")
            try network.host.run(
                "sh", "-c", "mkdir \(directory) && chown nobody \(directory) && chmod 755 \(network.folder.path)")
            let pair = try DescriptorPair.datagramSockets(), output = try DescriptorPair.pipe(),
                log = try DescriptorPair.pipe()
            let command =
                Namespace.running(as: "nobody") + [
                    TestHost.product("vde_vmnet"), "--fd", "0", "--vmnet-mode", mode, "--stats-interval", "1",
                    "--state-dir", directory + "/state",
                ]
            let daemon = try ChildProcess(
                network.host.prefix + ["env", "HOME=" + directory, "XDG_RUNTIME_DIR=" + directory] + command,
                input: pair.second.raw, output: output.second.raw, error: log.second.raw)
            var facts = "", messages = ""
            func read(_ descriptor: borrowing Descriptor, into text: inout String) throws {
                guard
                    descriptor.wait(for: .readable, until: BootClock.now + .seconds(1)).contains(
                        .readable)
                else { return }
                text += String(decoding: try descriptor.read(limit: 4096), as: UTF8.self)
            }
            try eventually("the line of JSON", within: 20) {
                try read(output.first, into: &facts)
                return facts.hasSuffix("\n")
            }
            #expect(
                facts.contains(
                    "\"vmnet_start_address\":\"192.168.105.1\",\"vmnet_end_address\":\"192.168.105.254\",\"vmnet_subnet_mask\":\"255.255.255.0\""
                ), "\(facts)")
            _ = try pair.first.send(
                ARPPacket.probe(for: IPv4Address(IntegrationTests.gateway)!, from: MACAddress(0x0200_0000_0001)).frame(
                    to: .broadcast))
            try eventually("a report of one frame each way", within: 20) {
                try read(log.first, into: &messages)
                guard let last = messages.split(separator: "\n").last(where: { $0.contains("[stats] {\"time\": \"20") })
                else { return false }
                return last.contains("\"vm\": {\"packets\": 1, ") && last.contains("\"host\": {\"packets\": ")
                    && !last.contains("\"host\": {\"packets\": 0, ")
            }
            daemon.signal(Signal.terminate)
            #expect(daemon.wait() == .exited(0))
        }
    }
}
