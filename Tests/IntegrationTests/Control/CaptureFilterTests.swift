// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

extension IntegrationTests.Captures {
    /// The optimizer of libpcap needs minutes for this.
    @Test func filterThatCompilesForTooLongIsRefused() throws {
        let fixture = try ControlFixture("none")
        let hosts = (0..<1500).map { "host 10.\($0 >> 8).\($0 & 255).1" }.joined(separator: " or ")
        let result = try fixture.host.attempt([
            TestHost.product("vde_vmnet"), "capture", fixture.socket, "--filter", hosts, "-w", "-",
        ])
        #expect(result.termination == .exited(64), "\(result.termination)")
        #expect(result.error.contains("libpcap has not compiled the expression within"), "\(result.error)")
        #expect(try fixture.daemon.stop() == .exited(0))
    }
}
