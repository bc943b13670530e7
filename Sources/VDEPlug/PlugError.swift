// SPDX-License-Identifier: Apache-2.0
import Platform

/// Why a VDE network could not be joined. The message names the path, the cause and the next step.
package typealias PlugError = DescribedError<PlugFailure>

/// The kinds of failure to join a VDE network, from which callers decide whether to retry.
package enum PlugFailure: Equatable, Sendable {
    /// No process listens there.
    case noSwitch
    /// The path is not the directory of a switch.
    case notASwitch
    case pathTooLong
    case permissionDenied
    /// The switch closed the connection instead of answering.
    case refused
    /// The switch did not answer in time.
    case silent
    /// The answer does not follow the VDE protocol.
    case badReply
    /// Both ends of a point-to-point cable are in use.
    case occupied
    case system
}

extension PlugError {
    /// For a failed system call on a path of the VDE network.
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
            self.init(.system, error.explanation)
        }
    }

    static func noSwitch(at path: String) -> PlugError {
        PlugError(
            .noSwitch,
            "no VDE switch at \(path); to start a network with a new switch: vde_vmnet --switch \(path)")
    }

    /// The owner and mode of `path`, with the next step.
    private static func ownership(of path: String) -> String {
        var path = path
        while !Files.exists(path), path != "/", path != "." { path = Files.parent(path) }
        guard let status = try? Files.status(path) else { return "check its owner and mode" }
        return "\(path) belongs to \(UserDatabase.userName(status.owner)) with mode 0\(String(status.mode, radix: 8)): "
            + "run as that user or as root, or start the switch with a group that may join "
            + "(vde_vmnet: --vde-mode 0660 --vde-group G, vde_switch: --mode 0660 --group G)"
    }
}
