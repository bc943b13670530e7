// SPDX-License-Identifier: Apache-2.0
import Platform

/// Why a VDE network could not be joined: the thing, the cause, and what to do next.
package struct PlugError: Error, Sendable, CustomStringConvertible {
    package enum Cause: Equatable, Sendable {
        /// Nothing listens there, now.
        case noSwitch
        /// The path is something else than a switch's directory.
        case notASwitch
        case pathTooLong
        case permissionDenied
        /// The switch closed the connection instead of answering.
        case refused
        /// The switch did not answer in time.
        case silent
        /// The answer is not the VDE protocol's.
        case badReply
        /// Both ends of a point-to-point cable are in use.
        case occupied
        case system
    }

    package let cause: Cause
    package let description: String

    /// True if trying again later may help without anybody changing anything here.
    package var isTransient: Bool {
        switch cause {
        case .noSwitch, .refused, .silent, .badReply, .occupied, .system: true
        case .notASwitch, .pathTooLong, .permissionDenied: false
        }
    }

    package init(_ cause: Cause, _ description: String) {
        self.cause = cause
        self.description = description
    }

    /// For a system call on a path of the VDE network.
    init(_ error: SystemError, path: String) {
        switch error.code {
        case Errno.nameTooLong:
            self.init(
                .pathTooLong,
                "\(path): too long for a unix socket (the limit is about 100 bytes); use a shorter directory")
        case Errno.accessDenied, Errno.notPermitted:
            self.init(
                .permissionDenied, "\(error); \(PlugError.ownership(of: error.subject.isEmpty ? path : error.subject))")
        default:
            self.init(.system, error.description)
        }
    }

    static func noSwitch(at path: String) -> PlugError {
        PlugError(
            .noSwitch,
            "no VDE switch at \(path); start a network with a switch of its own by: vde_vmnet --switch \(path)")
    }

    /// Who may use `path`, as a hint on what to run as.
    private static func ownership(of path: String) -> String {
        var path = path
        while !Files.exists(path), path != "/", path != "." { path = Files.parent(path) }
        guard let status = try? Files.status(path) else { return "check its owner and mode" }
        return "\(path) belongs to \(Accounts.userName(status.owner)) with mode 0\(String(status.mode, radix: 8)): "
            + "run as that user or as root, or start the switch with a group that may join (vde_vmnet: --vde-mode 0660 --vde-group G, vde_switch: --mode 0660 --group G)"
    }
}
