// SPDX-License-Identifier: Apache-2.0
import Platform
import Wire

/// A TAP of ours (Linux). It is gone when its descriptor is closed.
package struct TapDevice: ~Copyable {
    package let descriptor: Descriptor
    package let name: String
    package let index: UInt32

    /// The group of links that all of our TAPs are in, those of other instances too ("vd").
    package static let group: UInt32 = 0x7664

    /// Creates a TAP that does not exist yet.
    /// - Parameter name: nil for the first free one of vmnet0, vmnet1, ...
    package static func create(named name: String?) throws(SystemError) -> TapDevice {
        if let name { return try TapDevice(name, creating: true) }
        var number = 0
        while true {
            do throws(SystemError) {
                return try TapDevice("vmnet\(number)", creating: true)
            } catch {
                // The kernel's words for "there is one": EBUSY for a TAP in use, EEXIST, or EINVAL where the name is
                // not a TAP's.
                guard [Errno.busy, Errno.exists, Errno.invalid].contains(error.code), number < 1000 else { throw error }
                number += 1
            }
        }
    }

    /// Opens a TAP that somebody has made for us, or makes it. It is its maker's to configure.
    package static func open(_ name: String) throws(SystemError) -> TapDevice { try TapDevice(name, creating: false) }

    /// Takes over a TAP that somebody else has opened.
    package init(adopting descriptor: consuming Descriptor) throws(SystemError) {
        let name = try NetworkInterfaces.adoptTAP(descriptor)
        guard let index = NetworkInterfaces.index(of: name) else {
            throw SystemError(code: Errno.noDevice, "find", name)
        }
        self.descriptor = descriptor
        self.name = name
        self.index = index
    }

    private init(_ name: String, creating: Bool) throws(SystemError) {
        let descriptor = Descriptor(adopting: try NetworkInterfaces.openTAP(named: name, creating: creating).descriptor)
        guard let index = NetworkInterfaces.index(of: name) else {
            throw SystemError(code: Errno.noDevice, "find", name)
        }
        self.descriptor = descriptor
        self.name = name
        self.index = index
    }

    /// Gives the TAP its hardware address and MTU.
    package func configure(mac: MACAddress, mtu: Int) throws(SystemError) {
        // What guests send must not change the host: no router advertisement becomes its default route, no redirect
        // moves its traffic. A source route would take a packet past the rules for where it goes.
        let settings =
            ["net/ipv6/conf/\(name)/accept_ra", "net/ipv4/conf/\(name)/send_redirects"]
            + ["accept_redirects", "accept_source_route"].flatMap {
                ["net/ipv4/conf/\(name)/\($0)", "net/ipv6/conf/\(name)/\($0)"]
            }
        for setting in settings { try? KernelSetting(path: setting).set("0") }
        try NetworkInterfaces.configure(index, mac: mac, mtu: mtu, group: TapDevice.group)
    }
}
