// SPDX-License-Identifier: Apache-2.0
import ControlProtocol
import ControlSocket
import Platform
import Timing

/// The networks of this host, each with its status. All are queried at the same time: root's commands also reach the
/// sockets of other users, which may never reply.
struct NetworkSurvey {
    /// Few enough for a low limit of open files.
    private static let connectionsAtOnce = 64
    private static let timeout = TimeAmount.seconds(2)

    struct Network {
        let connection: ControlConnection
        /// What the network reports about itself.
        let status: Result<JSON, ControlConnection.Failure>
    }

    /// The networks that accept a connection, in the order of `ControlPlaces.sockets`.
    let networks: [Network]
    /// Other users with more control sockets than get a request.
    let crowdedUsers: [UInt32]

    /// - Parameter sockets: the sockets that are searched.
    static func make(_ sockets: ControlPlaces.Sockets = ControlPlaces.sockets()) -> NetworkSurvey {
        var paths = sockets.paths[...]
        var all: [Network] = []
        while !paths.isEmpty {
            all += query(paths.prefix(connectionsAtOnce))
            paths = paths.dropFirst(connectionsAtOnce)
        }
        return NetworkSurvey(networks: all, crowdedUsers: sockets.crowdedUsers)
    }

    private static func query(_ paths: ArraySlice<String>) -> [Network] {
        let queried = paths.compactMap { path -> (ControlConnection, Result<Int, ControlConnection.Failure>)? in
            guard let connection = try? ControlConnection(path) else { return nil }
            return (connection, Result { () throws(ControlConnection.Failure) in try connection.send("status") })
        }
        let deadline = BootClock.now + timeout
        return queried.map { connection, request in
            let status = Result { () throws(ControlConnection.Failure) in
                try connection.reply(to: request.get(), until: deadline)
            }
            return Network(connection: connection, status: status)
        }
    }
}
