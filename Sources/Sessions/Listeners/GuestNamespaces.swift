// SPDX-License-Identifier: Apache-2.0
import EventLoop
import Platform
import Lifecycle
import Switching

/// A guest that is a network namespace, such as a container's (Linux).
package struct GuestNamespace: Equatable, Sendable {
    /// The interface's name in the namespace, if no other is given.
    package static let customaryInterface = "eth0"

    /// The user's words for it.
    package let target: String
    /// The name of the interface to create in it.
    package let interface: String

    /// - Parameter target: a process's number, a name of ip-netns(8), or a path.
    package init(_ target: String, interface: String = GuestNamespace.customaryInterface) {
        self.target = target
        self.interface = interface
    }

    /// The namespace's file.
    var path: String { ForeignNamespace.path(of: target) }
    /// For the console and messages.
    var description: String { "netns \(PrintableText.line(target)) (\(interface))" }
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
            let tap = try makeTAP(in: namespace)
            var client = ListenerClient(
                description: namespace.description, module: "netns", user: CurrentProcess.effectiveUser)
            client.admission = admission
            client.namespaceFile = NamespaceFile(namespace.path)
            attach(client, tap, kind: .tap)
        }
    }

    private func makeTAP(in namespace: GuestNamespace) throws(ExitError) -> Descriptor {
        do throws(ForeignNamespace.Refusal) {
            return try ForeignNamespace.makeTAP(
                in: namespace.path, named: namespace.interface, mtu: configuration.mtu ?? 1500)
        } catch {
            let (status, text): (ExitStatus, String) =
                switch error {
                case .own: (.usage, "that is the network namespace of vde_vmnet itself; give one of a guest")
                case .different: (.usage, "\(PrintableText.line(namespace.path)) is not a network namespace")
                case .closed(let error): explanation(error)
                case .interface(let error): explanation(error, namespace)
                }
            throw ExitError(status, "--netns \(PrintableText.line(namespace.target)): \(text)")
        }
    }

    private func explanation(_ error: SystemError) -> (ExitStatus, String) {
        switch error.code {
        case Errno.accessDenied, Errno.notPermitted:
            (.noPermission, "\(error); give a namespace that this user has made")
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
        case Errno.busy, Errno.exists, Errno.invalid:
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

/// The file of a namespace, as it was when the namespace was entered.
struct NamespaceFile {
    private let path: String
    /// Nil if this process may not look at it.
    private let status: FileStatus?

    init(_ path: String) {
        self.path = path
        status = try? Files.status(path)
    }

    /// Whether the namespace's process has ended, or its name was removed.
    var isGone: Bool {
        do throws(SystemError) {
            _ = try Files.status(path, followLinks: false)
        } catch {
            return error.code == Errno.noEntry
        }
        guard let status, let now = try? Files.status(path) else { return false }
        return now.device != status.device || now.inode != status.inode
    }
}
