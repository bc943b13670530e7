// SPDX-License-Identifier: Apache-2.0
import Lifecycle
import NetworkModel
import Platform
import Wire

extension ChangeRefusal {
    /// The refusal for one port of the host that could not be bound.
    /// - Parameter code: the positive errno.
    package init(publishing published: PublishedPort, port: UInt16, errno code: Int32) {
        let cause: Cause =
            switch code {
            case Errno.addressInUse: .conflict
            case Errno.accessDenied, Errno.notPermitted: .denied
            default: .failed
            }
        let text = ExitError.publishing(published, port: port, errno: code).description
        self.init(cause, text.hasPrefix("--publish ") ? String(text.dropFirst("--publish ".count)) : text)
    }
}

extension ExitError {
    /// The error for one port of the host that could not be bound.
    /// - Parameter code: the positive errno.
    package static func publishing(_ published: PublishedPort, port: UInt16, errno code: Int32) -> ExitError {
        let name =
            "\(published.transport.rawValue) port \(port)"
            + (published.bind.isUnspecified ? "" : " of \(published.bind)")
        switch code {
        case Errno.addressInUse:
            let holder = SocketOwnerLookup.find(published.transport, port).map { " by \($0)" } ?? ""
            return ExitError(
                .unavailable, "--publish \(published): \(name) is taken\(holder); stop it, or publish another port")
        case Errno.addressNotAvailable:
            return ExitError(
                .unavailable,
                "--publish \(published): \(published.bind) is not an address of this host; leave it out for all of them"
            )
        case Errno.accessDenied, Errno.notPermitted:
            return ExitError(
                .noPermission,
                """
                --publish \(published): \(name) needs privilege; publish one above 1023, or allow this with: sudo \
                sysctl net.ipv4.ip_unprivileged_port_start=\(port)
                """
            )
        case Errno.tooManyFiles, Errno.tableFull:
            return ExitError(
                .unavailable,
                """
                --publish \(published): this process has too few descriptors for so many ports; publish fewer, or \
                raise the limit (ulimit -n)
                """
            )
        default:
            return ExitError(.unavailable, "--publish \(published): \(name): \(SystemError(code: code, "take").reason)")
        }
    }
}
