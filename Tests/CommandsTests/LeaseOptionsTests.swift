// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
@testable import Commands
import NetworkConfiguration
import NetworkModel
import Testing

@Suite struct LeaseOptionsTests {
    private func configuration(_ arguments: String...) throws -> Configuration {
        try Join.parse(arguments + ["v"]).makeConfiguration()
    }

    /// The message that refuses a command line; nil if it is accepted.
    private func refusal(_ arguments: String...) -> String? {
        do {
            _ = try Join.parse(arguments + ["v"])
            return nil
        } catch {
            return Join.message(for: error)
        }
    }

    @Test func optionsAreStored() throws {
        let configuration = try configuration(
            "--dhcp-option", "ntp-server=192.0.2.1", "--dhcp-option", "224=hex:0a", "--lease-time", "12h", "--no-router"
        )
        #expect(configuration.guestOptions.map(\.code) == [42, 224])
        #expect(configuration.leaseTime == 43_200 && configuration.withholdsRouter)
        #expect(
            refusal("--dhcp-option", "53=hex:01")?.contains("--dhcp-option: option 53 is set by the server") == true)
        #expect(
            refusal("--dhcp-option", "42=192.0.2.1", "--dhcp-option", "ntp-server=192.0.2.2")?.contains("given twice")
                == true)
        #expect(
            refusal("--no-router", "--dhcp-option", "router=192.0.2.1")?.contains("does not go with --no-router")
                == true)
        #expect(
            refusal("--boot", "a", "--dhcp-option", "bootfile=b")?.contains("do not go with --boot") == true)
    }

    @Test func leaseTimesAreParsed() throws {
        for (text, seconds) in [("60", 60), ("90s", 90), ("30m", 1800), ("7d", 604_800), ("365d", 31_536_000)] {
            #expect(try configuration("--lease-time", text).leaseTime == UInt32(seconds))
        }
        for text in ["", "59s", "0", "366d", "1w", "-1h", "h", "1.5h", "1 h", "99999999999d"] {
            #expect(refusal("--lease-time", text)?.contains("--lease-time") == true, "\(text)")
        }
    }

    @Test func bootFilesShareADirectory() throws {
        let files = try #require(
            try configuration(
                "--boot", "/srv/boot/pxelinux.0", "--boot", "efi-x64=/srv/boot/./x64/ipxe.efi", "--boot",
                "ipxe=http://192.0.2.1/a=b"
            ).boot)
        #expect(files.directory == "/srv/boot" && files.standard == "pxelinux.0")
        #expect(files.names == [.efiX64: "x64/ipxe.efi", .ipxe: "http://192.0.2.1/a=b"])
        let below = try #require(try configuration("--boot", "/srv/a", "--boot", "bios=/srv/sub/b").boot)
        #expect(below.directory == "/srv" && below.standard == "a" && below.names == [.bios: "sub/b"])
        #expect(try configuration("--boot", "/a", "--boot", "bios=/sub/b").boot?.names == [.bios: "sub/b"])
        #expect(try configuration("--boot", "./a=b").boot?.standard == "a=b")
        #expect(try configuration("--boot", "./sub/file").boot?.directory?.hasSuffix("/./sub") == true)
        #expect(try configuration("--boot", "/file").boot?.directory == "/")
        for url in ["https://192.0.2.1/x", "tftp://${next-server}/x", "http://[2001:db8::1]:80/x", "file:///x"] {
            #expect(try configuration("--boot", "ipxe=" + url).boot?.directory == nil, "\(url)")
        }
    }

    @Test func otherBootFilesAreRefused() {
        for (arguments, reason) in [
            (["pc=/srv/a"], "no kind of client"), ([""], "has no file"), (["bios="], "has no file"),
            (["/srv/"], "not the path of a file"), (["/srv/./a/../b"], "without .. after"),
            (["http://192.0.2.1/a"], "only iPXE"), (["bios=http://192.0.2.1/a"], "only iPXE"),
            (["/srv/a", "/srv/b"], "given twice for all clients"), (["bios=/srv/a", "bios=/srv/b"], "twice for bios"),
            (["/srv/a", "bios=/srv/sub/../../b"], "without .. after"),
            (["/srv/a", "bios=/tmp/b"], "is not below /srv"), (["/srv/" + String(repeating: "a", count: 256)], "255"),
            (["/srv/a\u{7}"], "control character"), (["ipxe=http://"], "'http://' has no host; write one"),
            (["ipxe=http:///a"], "has no host"), (["ipxe=http://:80/a"], "has no host"),
            (["ipxe=tftp://u@/a"], "has no host"),
        ] {
            let words = arguments.flatMap { ["--boot", $0] } + ["v"]
            do {
                _ = try Join.parse(words)
                Issue.record("\(arguments)")
            } catch {
                let message = Join.message(for: error)
                #expect(message.contains("--boot") && message.contains(reason), "\(arguments): \(message)")
            }
        }
    }
}
