// SPDX-License-Identifier: Apache-2.0
import HostChanges
import HostFirewall
import Lifecycle
import Platform
import Wire

/// A TAP interface (Linux). The kernel removes it when its descriptor is closed, unless it is persistent.
package struct TapDevice: ~Copyable {
    /// Reads and writes frames. Owned by this value.
    package let descriptor: Descriptor
    /// The name that the kernel gave it at creation. Another program can rename it; use `index` for lookups.
    package let name: String
    /// The interface's index, which does not change when it is renamed.
    package let index: UInt32

    /// Creates a TAP that does not exist yet.
    /// - Parameter name: nil for the first free one of vmnet0, vmnet1, ...
    static func create(named name: String?) throws(SystemError) -> TapDevice {
        if let name { return try TapDevice(name, creating: true) }
        var number = 0
        while true {
            do throws(SystemError) {
                return try TapDevice("vmnet\(number)", creating: true)
            } catch {
                // The kernel reports an existing interface as EBUSY (a TAP in use), EEXIST, or EINVAL (no TAP).
                guard [Errno.busy, Errno.exists, Errno.invalid].contains(error.code), number < 1000 else { throw error }
                number += 1
            }
        }
    }

    /// Opens a persistent TAP, or makes one. It is left as it is configured.
    static func open(_ name: String) throws(SystemError) -> TapDevice { try TapDevice(name, creating: false) }

    /// Takes over a TAP that another process has opened.
    init(adopting descriptor: consuming Descriptor) throws(SystemError) {
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
    func configure(mac: MACAddress, mtu: Int) throws(SystemError) {
        // Guests' packets must not change the host's routing: no router advertisement may become its default route, no
        // redirect may move its traffic. A source route would bypass the rules for a destination.
        let settings =
            ["net/ipv6/conf/\(name)/accept_ra", "net/ipv4/conf/\(name)/send_redirects"]
            + ["accept_redirects", "accept_source_route"].flatMap {
                ["net/ipv4/conf/\(name)/\($0)", "net/ipv6/conf/\(name)/\($0)"]
            }
        for setting in settings { try? KernelSetting(path: setting).set("0") }
        try NetworkInterfaces.configure(index, mac: mac, mtu: mtu, group: LinkGroup.taps)
    }
}

// MARK: Errors for the user

extension TapDevice {
    /// Creates a TAP with a hardware address and an MTU. It is down.
    /// - Throws: `noPermission` without CAP_NET_ADMIN.
    static func make(named name: String?, mac: MACAddress, mtu: Int) throws(ExitError) -> TapDevice {
        do throws(SystemError) {
            let device = try TapDevice.create(named: name)
            try device.configure(mac: mac, mtu: mtu)
            return device
        } catch {
            switch error.code {
            case Errno.notPermitted, Errno.accessDenied:
                throw ExitError(
                    .noPermission,
                    """
                    no permission to create a TAP; run this with sudo, or give it the capability CAP_NET_ADMIN \
                    (--switch --uplink none is a switch that needs neither)
                    """)
            case Errno.busy, Errno.exists, Errno.invalid:
                throw ExitError(
                    .unavailable,
                    """
                    the interface \(name ?? "vmnet") exists already; choose another name with --tap-name, or leave it \
                    out
                    """)
            case Errno.noEntry, Errno.noDevice:
                throw ExitError(.unavailable, "\(error); is there a /dev/net/tun? Load the module with: modprobe tun")
            default:
                throw ExitError(.unavailable, error.explanation)
            }
        }
    }

    /// Opens or makes a TAP that the host's administrator configures and connects.
    package static func openForSwitch(_ name: String) throws(ExitError) -> TapDevice {
        do throws(SystemError) {
            return try TapDevice.open(name)
        } catch {
            switch error.code {
            case Errno.notPermitted, Errno.accessDenied:
                throw ExitError(
                    .noPermission,
                    """
                    no permission to open the TAP \(name); make it once for your user with: \
                    sudo ip tuntap add \(name) mode tap user \(UserDatabase.userName(CurrentProcess.effectiveUser))
                    """)
            case Errno.busy: throw ExitError(.unavailable, "the TAP \(name) is in use by another program")
            case Errno.invalid: throw ExitError(.unavailable, "\(name) is an interface, but not a TAP with one queue")
            default: throw ExitError(.unavailable, error.explanation)
            }
        }
    }
}
