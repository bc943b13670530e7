// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
@testable import Commands
import NetworkConfiguration
import NetworkModel
import Testing
import Wire

@Suite struct PublishOptionsTests {
    private func refusal(_ arguments: String...) -> String? {
        do {
            _ = try Join.parse(arguments)
            return nil
        } catch {
            return Join.message(for: error)
        }
    }

    @Test func publishedPortsKeepTheirOrder() throws {
        let configuration = try Join.parse([
            "--publish", "8080:192.168.105.2:80", "--publish", "53:192.168.105.3/udp", "/tmp/vde",
        ]).makeConfiguration()
        #expect(configuration.published.map(\.description) == ["8080:192.168.105.2:80/tcp", "53:192.168.105.3:53/udp"])
    }

    @Test func refusalsNameTheFormThatWasGiven() throws {
        #expect(refusal("--publish", "2222:localhost:22", "v")?.contains("'localhost'") == true)
        #expect(
            refusal("--publish", "2222:web:22", "--dhcp", "off", "v")?.contains(
                "--publish PORT:NAME does not go with --dhcp off") == true)
        #expect(
            refusal("--publish", "2222:web:22/udp", "--uplink", "none", "--switch", "v")?.contains(
                "--publish does not go with --uplink none") == true)
        #expect(
            refusal("--publish", "80:web", "--publish", "80:db", "v")?.contains("take the same port of this host")
                == true)
    }

    @Test func invalidPublishIsRefused() {
        #expect(refusal("--publish", "8080", "v")?.contains("[BIND:]PORT[-END]:GUEST[:PORT][/udp]") == true)
        #expect(
            refusal("--publish", "80:192.168.105.2", "--publish", "127.0.0.1:80:192.168.105.3", "v")?.contains(
                "same port") == true)
        #expect(
            refusal("--publish", "80:192.168.106.2", "--vmnet-gateway", "192.168.105.1", "v")?.contains(
                "192.168.105.0/24") == true)
        #expect(
            refusal("--publish", "80:192.168.105.1", "--vmnet-gateway", "192.168.105.1", "v")?.contains("gateway")
                == true)
        #expect(
            refusal("--publish", "80:192.168.105.2", "--vmnet-mode", "host", "v")?.contains("--vmnet-mode host") == true
        )
        #expect(
            refusal("--publish", "80:192.168.105.2", "--vmnet-mode", "bridged", "--vmnet-interface", "eth0", "v")?
                .contains("bridged") == true)
        #expect(
            refusal("--publish", "80:192.168.105.2", "--switch", "--uplink", "none", "v")?.contains("--uplink none")
                == true)
    }
}
