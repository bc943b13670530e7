// SPDX-License-Identifier: Apache-2.0
import Lifecycle
import VDEPlug

extension ExitStatus {
    /// The status for a network that cannot be joined.
    init(_ cause: PlugFailure) {
        switch cause {
        case .permissionDenied: self = .noPermission
        case .occupied: self = .alreadyRunning
        case .notASwitch, .pathTooLong: self = .usage
        case .noSwitch, .refused, .silent, .badReply, .system: self = .unavailable
        }
    }
}
