// SPDX-License-Identifier: Apache-2.0
import Lifecycle
import Listeners
import Platform

/// Where a network has its control socket.
package struct ControlConfiguration: Equatable, Sendable {
    /// The user's choice of a place.
    package enum Place: Equatable, Sendable {
        /// In the user's directory, under the network's name.
        case standard
        /// At this absolute path.
        case path(String)
        /// Nowhere.
        case off
    }

    /// Where the socket is.
    package var place = Place.standard
    /// nil: a default name, with a number after it if another network has it.
    package var name: NetworkName?
    /// The rights of users at the socket.
    package var access = ControlAccess()

    package init() {}

    /// Whether the user has requested the socket, so that the start fails without it.
    package var isRequired: Bool { name != nil || place != .standard }
}

/// The listening control socket of this process, under the name that it has claimed.
package struct ControlListener {
    /// Tries of a default name.
    private static let numbers = 2...999

    /// The claimed name.
    package let name: NetworkName
    let socket: ListenerSocket

    /// Makes the socket; one whose process was killed is replaced.
    /// - Parameter standard: the name if the configuration has none.
    /// - Throws: `alreadyRunning` if another network has the configured name or path.
    package init(_ configuration: ControlConfiguration, standard: NetworkName) throws(ExitError) {
        let access = ListenerAccess(
            mode: configuration.access.group == nil ? 0o600 : 0o660, user: configuration.access.owner,
            group: configuration.access.group)
        if case .path(let path) = configuration.place {
            name = configuration.name ?? standard
            socket = try ControlListener.make(path, access, isLocked: false, "choose another path")
            return
        }
        (name, socket) = try ControlPlaces.withOwnDirectory { directory throws(ExitError) in
            if let name = configuration.name {
                let socket = try ControlListener.make(
                    "\(directory)/\(name)", access, isLocked: true, "choose another --name")
                return (name, socket)
            }
            var name = standard
            for number in ControlListener.numbers {
                do throws(ExitError) {
                    return (name, try ControlListener.make("\(directory)/\(name)", access, isLocked: true, ""))
                } catch {
                    guard error.status == .alreadyRunning else { throw error }
                    name = standard.numbered(number)
                }
            }
            throw ExitError(.alreadyRunning, "all names like \(standard) are taken; give one by --name")
        }
    }

    private static func make(
        _ path: String, _ access: ListenerAccess, isLocked: Bool, _ remedy: String
    ) throws(ExitError) -> ListenerSocket {
        do throws(ListenerError) {
            return try ListenerSocket(.stream, at: path, access: access, isLocked: isLocked)
        } catch {
            switch error.cause {
            case .occupied:
                throw ExitError(.alreadyRunning, "another network has the control socket \(path); \(remedy)")
            case .notOurs where isLocked && !remedy.isEmpty:
                throw ExitError(.cannotCreate, "control socket: there is another file at \(path); \(remedy)")
            case .permissionDenied: throw ExitError(.noPermission, "control socket: \(error)")
            case .notOurs, .unsuitable, .system: throw ExitError(.cannotCreate, "control socket: \(error)")
            }
        }
    }

    /// The socket's path.
    package var path: String { socket.path }

    /// Removes the socket's file, unless another one has taken its place.
    package func remove() { socket.remove() }
}
