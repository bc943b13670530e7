// SPDX-License-Identifier: Apache-2.0
import NameService
import TestSupport
import Testing

@Suite struct SplitDNSTests {
    private static let scutil = """
        DNS configuration

        resolver #1
          search domain[0] : lan
          nameserver[0] : 192.168.1.1
          if_index : 6 (en0)
          flags    : Request A records
          reach    : 0x00020002 (Reachable,Directly Reachable Address)

        resolver #2
          domain   : corp.example
          nameserver[0] : 10.8.0.1
          nameserver[1] : fd00::1
          port     : 5353
          flags    : Supplemental, Request A records
          order    : 101600

        resolver #3
          domain   : local
          options  : mdns
          timeout  : 5
          flags    : Request A records
          order    : 300000

        DNS configuration (for scoped queries)

        resolver #1
          domain   : scoped.example
          nameserver[0] : 192.168.1.1
          flags    : Scoped, Request A records

        """

    @Test func resolversOfMacOSWithADomainCount() {
        #expect(
            SplitDNS.scutil(SplitDNSTests.scutil).map(\.description)
                == ["corp.example=10.8.0.1:5353", "corp.example=[fd00::1]:5353"])
    }

    @Test func linksOfSystemdResolvedCount() {
        let domains = "Global: all.example\nLink 2 (wan): ~.\nLink 3 (tun0): ~corp.example lab.example\n"
        let servers = "Global:\nLink 2 (wan): 203.0.113.1\nLink 3 (tun0): 10.8.0.1#dns.example\n    10.8.0.2:5353\n"
        #expect(
            SplitDNS.systemdResolved(domains: domains, servers: servers).map(\.description) == [
                "corp.example=10.8.0.1:53", "corp.example=10.8.0.2:5353", "lab.example=10.8.0.1:53",
                "lab.example=10.8.0.2:5353",
            ])
    }

    @Test func randomTextDoesNotTrap() {
        fuzz(Array(SplitDNSTests.scutil.utf8), rounds: 2000) { bytes in
            let text = String(decoding: bytes, as: UTF8.self)
            _ = SplitDNS.scutil(text)
            _ = SplitDNS.systemdResolved(domains: text, servers: text)
        }
    }
}
