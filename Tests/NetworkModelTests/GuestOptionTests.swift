// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import TestSupport
import Testing
import Wire

@Suite struct GuestOptionTests {
    private func refusal(_ text: String) -> String? {
        do throws(GuestOption.Refusal) {
            _ = try GuestOption(text)
            return nil
        } catch {
            return error.description
        }
    }

    @Test(
        arguments: [
            ("ntp-server=192.0.2.1,192.0.2.2", 42, [192, 0, 2, 1, 192, 0, 2, 2]), ("42=192.0.2.1", 42, [192, 0, 2, 1]),
            (
                "domain-search=a.example,B.example", 119,
                [1, 97, 7] + Array("example".utf8) + [0, 1, 98, 7]
                    + Array("example".utf8) + [0]
            ),
            (
                "classless-static-route=10.0.0.0/8,192.168.105.2,0.0.0.0/0,192.168.105.1,192.0.2.128/25,192.168.105.3",
                121,
                [8, 10, 192, 168, 105, 2, 0, 192, 168, 105, 1, 25, 192, 0, 2, 128, 192, 168, 105, 3]
            ),
            ("tftp-server=boot.example", 66, Array("boot.example".utf8)), ("bootfile=a=b", 67, Array("a=b".utf8)),
            ("time-offset=-1", 2, [255, 255, 255, 255]), ("default-ttl=64", 23, [64]),
            ("ipv6-only-preferred=1800", 108, [0, 0, 7, 8]), ("224=hex:0a0B", 224, [10, 11]),
            ("224=hex:0a:0b", 224, [10, 11]), ("224=text:a,b", 224, [97, 44, 98]), ("42=hex:01", 42, [1]),
        ] as [(String, UInt8, [UInt8])])
    func optionHasItsType(text: String, code: UInt8, value: [UInt8]) throws {
        #expect(try GuestOption(text) == GuestOption(code: code, value: value))
    }

    @Test func codesOfTheServerAreRefusedWithTheReason() {
        for (code, reason) in [
            (0, "separate options"), (255, "separate options"), (256, "separate options"), (1, "--vmnet-mask"),
            (12, "--dhcp-host"), (26, "--vmnet-mtu"), (50, "by clients only"), (51, "--lease-time"),
            (52, "by the server"), (53, "by the server"), (54, "by the server"), (55, "by clients only"),
            (57, "by clients only"), (58, "--lease-time"), (59, "--lease-time"), (61, "by clients only"),
            (80, "RFC 4039"), (81, "RFC 4702"), (82, "relay agents"), (90, "RFC 3118"), (93, "by clients only"),
        ] {
            #expect(refusal("\(code)=hex:01")?.contains(reason) == true, "\(code)")
        }
    }

    @Test func valuesOfAnotherTypeAreRefused() {
        for text in [
            "ntp-server", "ntp-server=", "ntp-server=1.2.3", "ntp-server=192.0.2.1,", "ntp=192.0.2.1", "=1",
            "-1=hex:01",
            "0x2a=hex:01", "1000=hex:01", "224=abc", "224=hex:", "224=hex:0", "224=hex:0g", "224=hex:0:a", "224=text:",
            "domain-search=a..b", "domain-search=a b", "domain-search=.",
            "domain-search=-a.de", "domain-search=a.example,a-.de",
            "domain-search=\(String(repeating: "a", count: 64))",
            "classless-static-route=10.0.0.0/8", "classless-static-route=10.0.0.1/8,192.168.105.2",
            "classless-static-route=10.0.0.0/33,192.168.105.2", "classless-static-route=10.0.0.0,192.168.105.2",
            "default-ttl=256", "time-offset=x", "bootfile=a\u{1b}b", "bootfile=" + String(repeating: "a", count: 1025),
        ] { #expect(refusal(text) != nil, "\(text)") }
    }

    @Test func refusalsNameTheNextStep() {
        #expect(
            refusal("classless-static-route=10.1.0.0/8,192.168.105.2")?.contains(
                "10.1.0.0/8 is an address within 10.0.0.0/8, so write 10.0.0.0/8, or 10.1.0.0/32") == true)
        #expect(refusal("classless-static-route=10.0.0.0/8")?.contains("within") == false)
        for address in ["0.0.0.0", "127.0.0.1", "224.0.1.1", "255.255.255.255"] {
            #expect(
                refusal("ntp-server=192.0.2.1,\(address)")?.contains("\(address) of ntp-server is no server's") == true)
        }
        #expect(refusal("42=hex:00000000") == nil, "any bytes")
        #expect(
            refusal("domain-search=a.example,b.-a.de")?.contains("no label of b.-a.de may begin or end with a hyphen")
                == true)
        #expect(refusal("domain-search=a-b.de,xn--bcher-kva.example") == nil)
    }

    @Test func longestValueIsAccepted() throws {
        #expect(try GuestOption("bootfile=" + String(repeating: "a", count: 1024)).value.count == 1024)
    }

    @Test func hostileTextsDoNotTrap() {
        for good in ["classless-static-route=10.0.0.0/8,192.168.105.2", "224=hex:0a0b", "domain-search=a.example,b"] {
            fuzz(Array(good.utf8)) { bytes in
                guard let option = try? GuestOption(String(decoding: bytes, as: UTF8.self)) else { return }
                #expect((1...GuestOption.maximumLength).contains(option.value.count))
            }
        }
    }

    @Test func bootFileDependsOnTheClient() {
        var files = BootFiles()
        files.standard = "pxelinux.0"
        files.names = [.efiX64: "shim.efi", .ipxe: "http://192.0.2.1/boot.ipxe"]
        #expect(files.name(architectures: [0], isIPXE: false) == "pxelinux.0")
        #expect(files.name(architectures: [], isIPXE: false) == "pxelinux.0")
        #expect(files.name(architectures: [7], isIPXE: false) == "shim.efi")
        #expect(files.name(architectures: [9], isIPXE: false) == "shim.efi")
        #expect(files.name(architectures: [6, 9], isIPXE: false) == "shim.efi", "the second architecture has a file")
        #expect(files.name(architectures: [11], isIPXE: false) == "pxelinux.0")
        #expect(files.name(architectures: [7], isIPXE: true) == "http://192.0.2.1/boot.ipxe")
        files.standard = nil
        #expect(files.name(architectures: [11], isIPXE: false) == nil)
        #expect(files.servedNames == ["shim.efi"])
    }
}
