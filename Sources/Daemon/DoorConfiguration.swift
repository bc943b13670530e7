// SPDX-License-Identifier: Apache-2.0
import Doors

/// The doors of the daemon besides VDE.
package struct DoorConfiguration: Equatable, Sendable {
    /// Where stream sockets are made.
    package var streams: [String] = []
    package var access = DoorAccess()

    package init() {}

    package var isEmpty: Bool { streams.isEmpty }
}
