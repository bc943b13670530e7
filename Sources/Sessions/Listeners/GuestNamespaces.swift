// SPDX-License-Identifier: Apache-2.0
import EventLoop
import FrameIO
import Lifecycle
import Logging
import Platform
import Switching
import Wire

/// A guest that is a network namespace, such as a container's (Linux).
package struct GuestNamespace: Equatable, Sendable {
    /// The interface's name in the namespace, if no other is given.
    package static let customaryInterface = "eth0"

    /// The user's words for it.
    package let target: String
    /// The name of the interface to create in it.
    package let interface: String
    /// Whether the interface gets an address of the network, as from a DHCP client.
    package let isConfigured: Bool

    /// - Parameter target: a process's number, a name of ip-netns(8), or a path.
    package init(_ target: String, interface: String = customaryInterface, isConfigured: Bool = false) {
        self.target = target
        self.interface = interface
        self.isConfigured = isConfigured
    }

    /// The process whose namespace it is; nil for a name or a path.
    var process: Int32? { Int32(target) }
    /// The namespace's file.
    var path: String { ForeignNamespace.path(of: target) }
    /// For the console and messages.
    var description: String { "netns \(PrintableText.line(target)) (\(interface))" }

    /// Of the interface: the same at each start for a namespace with a name, so that its lease is the same.
    var hardware: MACAddress {
        let seed = process != nil ? "\(Random.value() as UInt64)" : path + (Files.text("/etc/machine-id") ?? "")
        return MACAddress(locallyAdministeredFrom: Array("netns \(interface) \(seed)".utf8))
    }
}

/// The address of a guest that has no DHCP client.
package struct GuestAddress {
    let address: IPv4Address, prefixLength: Int, gateway: IPv4Address?

    /// - Parameter gateway: nil for a network without a router.
    package init(_ address: IPv4Address, prefixLength: Int, gateway: IPv4Address?) {
        self.address = address
        self.prefixLength = prefixLength
        self.gateway = gateway
    }
}

/// A namespace whose interface gets an address when the network has one.
struct UnconfiguredNamespace {
    let namespace: GuestNamespace
    let opened: ForeignNamespace
    let hardware: MACAddress
}

// A guest's namespace gets a TAP, whose descriptor is the guest's port. The descriptor keeps the namespace alive, so
// that the kernel does not report its end: the file of the namespace is examined regularly.

extension ListenerSession {
    /// Makes the TAPs of the configuration.
    func attachNamespaces() throws(ExitError) {
        for namespace in configuration.namespaces {
            guard let admission = quota.admit(1) else {
                throw ExitError(.unavailable, "\(namespace.description): \(ClientQuota.exhaustion)")
            }
            let opened = try open(namespace), hardware = namespace.hardware, tap: Descriptor
            do throws(SystemError) {
                tap = try opened.makeTAP(
                    named: namespace.interface, hardware: hardware, mtu: configuration.mtu ?? 1500)
            } catch {
                throw failure(of: namespace, explanation(error, namespace))
            }
            try attach(namespace, opened, tap, admission)
            guard namespace.isConfigured else { continue }
            unconfigured.append(UnconfiguredNamespace(namespace: namespace, opened: opened, hardware: hardware))
        }
    }

    private func attach(
        _ namespace: GuestNamespace, _ opened: ForeignNamespace, _ tap: consuming Descriptor,
        _ admission: ClientQuota.Admission
    ) throws(ExitError) {
        var client = ListenerClient(
            description: namespace.description, module: "netns", user: CurrentProcess.effectiveUser)
        client.admission = admission
        client.namespace = NamespaceFile(path: namespace.path, status: opened.status)
        let port = PortConfiguration(
            name: client.description, kind: .tap, role: .guest, descriptor: tap.release(),
            maximumFrame: FrameLimits.device)
        // The process of a namespace that a number names. A kernel before 5.3 has no such descriptor.
        let handle = Box(namespace.process.flatMap { ForeignNamespace.handle(of: $0) })
        if let raw = handle.value?.raw {
            client.onEnd = { [unowned self] in
                loop.unwatch(raw)
                handle.value = nil
            }
        }
        guard let number = attach(client, port) else {
            throw failure(of: namespace, (.unavailable, "no port is left"))
        }
        guard let raw = handle.value?.raw else { return }
        try orUnavailable { () throws(SystemError) in
            try loop.watch(raw) { [unowned self] _ in end(number, nil) }
        }
    }

    /// Gives the interfaces their addresses that are to have one. Needs the rights of the start.
    /// - Parameter assign: assigns an address to a guest.
    package func configureNamespaces(
        assign: (MACAddress) throws(ExitError) -> GuestAddress
    ) throws(ExitError) {
        for one in unconfigured {
            let own: GuestAddress
            do throws(ExitError) {
                own = try assign(one.hardware)
            } catch {
                throw failure(of: one.namespace, (error.status, error.description))
            }
            do throws(SystemError) {
                try one.opened.configure(
                    one.namespace.interface, address: own.address, prefixLength: own.prefixLength,
                    gateway: own.gateway)
            } catch {
                throw failure(of: one.namespace, explanation(error, one.namespace))
            }
            logger.info("\(one.namespace.description) has \(own.address)")
        }
        unconfigured = []
    }

    private func open(_ namespace: GuestNamespace) throws(ExitError) -> ForeignNamespace {
        do throws(ForeignNamespace.Refusal) {
            return try ForeignNamespace(namespace.path)
        } catch {
            let reason: (ExitStatus, String) =
                switch error {
                case .own: (.usage, "that is the network namespace of vde_vmnet itself; give one of a guest")
                case .different: (.usage, "\(PrintableText.line(namespace.path)) is not a network namespace")
                case .closed(let error): explanation(error)
                }
            throw failure(of: namespace, reason)
        }
    }

    private func failure(of namespace: GuestNamespace, _ reason: (status: ExitStatus, text: String)) -> ExitError {
        ExitError(reason.status, "--netns \(PrintableText.line(namespace.target)): \(reason.text)")
    }

    private func explanation(_ error: SystemError) -> (ExitStatus, String) {
        switch error.code {
        case Errno.accessDenied, Errno.notPermitted:
            (.noPermission, "\(error); give a namespace that this user has made, or use sudo")
        case Errno.noEntry:
            (.unavailable, "\(error); give the number of a process that runs, a name of `ip netns`, or a path")
        default: (.unavailable, error.explanation)
        }
    }

    private func explanation(_ error: SystemError, _ namespace: GuestNamespace) -> (ExitStatus, String) {
        switch error.code {
        case Errno.accessDenied:
            (
                .noPermission,
                "this user may not open /dev/net/tun, whose mode is usually 0666: sudo chmod 0666 /dev/net/tun"
            )
        case Errno.notPermitted:
            (
                .noPermission,
                """
                no permission to create an interface there; start vde_vmnet as the user that has made the namespace, \
                or with sudo
                """
            )
        case Errno.busy, Errno.exists:
            (
                .unavailable,
                """
                an interface \(namespace.interface) exists there; choose another name: \
                --netns \(PrintableText.line(namespace.target)),NAME
                """
            )
        case Errno.noEntry, Errno.noDevice:
            (.unavailable, "\(error); is there a /dev/net/tun? Load the module with: modprobe tun")
        default: (.unavailable, error.explanation)
        }
    }
}

/// The file of a namespace that was entered.
struct NamespaceFile {
    let path: String
    /// Its metadata at that time.
    let status: FileStatus

    /// Whether it was removed, or is that of another namespace.
    var isGone: Bool {
        do throws(SystemError) {
            let now = try Files.status(path)
            return now.device != status.device || now.inode != status.inode
        } catch {
            return error.code == Errno.noEntry
        }
    }
}
