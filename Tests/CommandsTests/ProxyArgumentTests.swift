// SPDX-License-Identifier: Apache-2.0
@testable import Commands
import NetworkConfiguration
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
        let capitals = try ProxyConfiguration(option: "HTTP://Proxy.example:3128")
        #expect(capitals.kind == .http && capitals.text == "http://Proxy.example:3128")
    }

    @Test func otherFormsAreRefused() {
        for text in [
            "", "proxy.example:1080", "https://a:1", "socks5://", "socks5://a", "http://a:", "http://:1", "http://a:0",
            "http://a:65536", "http://a:+80", "http://a/b:1", "http://2001:db8::1:3128", "http://[a]:1", "http://a b:1",
        ] {
            #expect(throws: (any Error).self, "\(text)") { try ProxyConfiguration(option: text) }
        }
    }

    @Test(arguments: [
        ("socks5://h", "there is no port; write it after the host, as in socks5://h:1080"),
        ("http://h", "as in http://h:3128"), ("http://[2001:db8::1]", "there is no port"),
        ("http://:1", "there is no host"), ("socks5://", "there is no host"),
        ("socks5h://h:1", "use socks5; give socks5://"), ("SOCKS5H://h:1", "use socks5; give socks5://"),
        ("https://h:1", "TLS to the proxy is not supported; give socks5://"),
        ("socks4://h:1", "version 4 of SOCKS is not supported"), ("socks://h:1", "socks names no version"),
        ("http://h:99999", "the port is not a number from 1 to 65535"), ("http://h:0", "the port is not a number"),
        ("http://h/p:1", "leave the path out"), ("http://h:1/p", "leave the path out"),
        ("http://2001:db8::1:3128", "in brackets"), ("http://a b:1", "is neither a name nor an address"),
        ("h:1080", "--proxy: give socks5://HOST:PORT"),
    ])
    func refusalsHaveCauses(text: String, cause: String) {
        do {
            _ = try ProxyConfiguration(option: text)
            Issue.record("\(text) is accepted")
        } catch {
            #expect("\(error)".contains(cause), "\(error)")
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
