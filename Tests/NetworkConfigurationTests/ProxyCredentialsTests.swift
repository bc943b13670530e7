// SPDX-License-Identifier: Apache-2.0
@testable import NetworkConfiguration
import Testing

@Suite struct ProxyCredentialsTests {
    /// What is wrong with the first line of the file is named, and the line is not shown.
    @Test func faultsAreNamed() {
        for (line, fault) in [
            ("user:pa:ss word", nil), ("", "is empty"), ("secret", "has no colon"),
            (":secret", "has a user of 0 bytes"), ("user:", "has a password of 0 bytes"),
            ("us\u{7}er:secret", "has a control character"),
            ("user:sec\tret", "has a control character"),
            ("user:" + String(repeating: "x", count: 256), "has a password of 256 bytes"),
        ] as [(String, String?)] {
            #expect(ProxyConfiguration.fault(of: Array(line.utf8)) == fault, "\(line)")
        }
        #expect(ProxyConfiguration.fault(of: Array("user:".utf8) + [0xff]) == "is not UTF-8")
    }
}
