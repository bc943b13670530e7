// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

extension IntegrationTests {
    /// Damaged frames of UDP, pings, fragments and TCP for the user-mode NAT.
    @Suite struct HostileDatagrams {
        /// The program fails if the NAT stops to answer, or if memory or descriptors grow. `make prove-frames` sends
        /// more.
        @Test func damagedFramesMeetAnsweringPeers() throws {
            let namespace = try Namespace("fuzz")
            let seed = Int.random(in: 1...1_000_000)
            let result = try namespace.attempt([
                TestHost.product("vde_vmnet_bench"), "fuzz", "\(Rounds.of(20_000))", "\(seed)",
            ])
            #expect(result.succeeded, "seed \(seed): \(result.output)\(result.error)")
            #expect(result.output.contains("peers answered"), "\(result.output)")
        }
    }
}
