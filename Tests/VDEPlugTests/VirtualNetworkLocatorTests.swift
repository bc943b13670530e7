// SPDX-License-Identifier: Apache-2.0
import Platform
import Testing
import VDEPlug

@Suite struct VirtualNetworkLocatorTests {
    private func locator(_ text: String?) throws -> VirtualNetworkLocator {
        try VirtualNetworkLocator(text, home: "/home/me")
    }

    @Test func pathNamesSwitch() throws {
        #expect(try locator("/tmp/vde") == .switchDirectory(path: "/tmp/vde", port: 0))
        #expect(try locator("vde://tmp/vde") == .switchDirectory(path: "tmp/vde", port: 0))
        #expect(try locator("./check") == .switchDirectory(path: "./check", port: 0))
    }

    @Test func bracketsNamePort() throws {
        #expect(try locator("/tmp/vde[7]") == .switchDirectory(path: "/tmp/vde", port: 7))
        #expect(try locator("vde:///tmp/vde[port=7]") == .switchDirectory(path: "/tmp/vde", port: 7))
        #expect(
            try locator("/tmp/vde[0]") == .switchDirectory(path: "/tmp/vde", port: VirtualNetworkLocator.managementPort)
        )
        #expect(try locator("/tmp/a[1]b") == .switchDirectory(path: "/tmp/a[1]b", port: 0))
    }

    @Test func emptyBracketsNameCable() throws {
        #expect(try locator("/tmp/cable[]") == .pointToPoint(path: "/tmp/cable"))
        #expect(try locator("ptp:///tmp/cable") == .pointToPoint(path: "/tmp/cable"))
        // To vdeplug 4's vde:// they mean any port.
        #expect(try locator("vde:///tmp/vde[]") == .switchDirectory(path: "/tmp/vde", port: 0))
    }

    @Test func emptyLocatorNamesDefaultSwitches() throws {
        let places = ["/home/me/.vde2/default.switch", "/home/me/.vde2/stdsock", "/var/run/vde.ctl", "/tmp/vde.ctl"]
        #expect(try locator(nil) == .defaultSwitch(candidates: places, port: 0))
        #expect(try locator("vde://") == .defaultSwitch(candidates: places, port: 0))
        // Such as of a variable that is not set.
        #expect(throws: UnclassifiedError.self) { try locator("") }
        #expect(try locator("[3]") == .defaultSwitch(candidates: places, port: 3))
        #expect(
            try VirtualNetworkLocator(nil, home: nil) == .defaultSwitch(candidates: Array(places.dropFirst(2)), port: 0)
        )
    }

    @Test(arguments: [
        "/tmp/vde[x]", "/tmp/vde[-1]", "/tmp/vde[+1]", "/tmp/vde[16777216]", "[]", "ptp://", "vxvde://239.0.0.1",
        "tap://tap0", "/tmp/vde[1 ]",
    ])
    func whatCannotBeUsedIsSaid(text: String) {
        #expect(throws: UnclassifiedError.self) { try locator(text) }
    }
}
