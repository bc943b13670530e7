// SPDX-License-Identifier: Apache-2.0
@testable import Commands
import Daemon
import Testing
import Uplink

@Suite struct ProxyArgumentTests {
    @Test func hostAndPortAreFound() throws {
        let named = try ProxyConfiguration(option: "socks5://proxy.example:1080")
        #expect(named.kind == .socks5 && named.host == "proxy.example" && named.port == 1080)
        #expect(named.text == "socks5://proxy.example:1080")
        let six = try ProxyConfiguration(option: "http://[2001:db8::1]:3128/")
        #expect(six.kind == .http && six.host == "2001:db8::1" && six.port == 3128)
        #expect(six.text == "http://[2001:db8::1]:3128")
    }

    @Test func otherFormsAreRefused() {
        for text in [
            "", "proxy.example:1080", "https://a:1", "socks5://", "socks5://a", "http://a:", "http://:1", "http://a:0",
            "http://a:65536", "http://a:+80", "http://a/b:1", "http://2001:db8::1:3128", "http://[a]:1", "http://a b:1",
        ] {
            #expect(throws: (any Error).self, "\(text)") { try ProxyConfiguration(option: text) }
        }
    }

    @Test func passwordIsNotRepeated() {
        do {
            _ = try ProxyConfiguration(option: "http://user:secret@a:1")
            Issue.record("it is accepted")
        } catch {
            #expect("\(error)".contains("--proxy-credentials") && !"\(error)".contains("secret"))
        }
    }
}
