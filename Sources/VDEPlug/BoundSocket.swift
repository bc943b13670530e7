// SPDX-License-Identifier: Apache-2.0
import Platform

/// The name of a bound socket, removed with this object unless another socket has taken it.
final class BoundSocket: Sendable {
    private let directory: Directory
    private let name: String
    private let status: FileStatus

    /// The path that the socket is bound to.
    var path: String { directory.path(of: name) }

    /// Binds `socket`.
    /// - Parameter access: the modes and owners to try, in this order.
    init(
        _ socket: borrowing Descriptor, in directory: borrowing Directory, _ name: String,
        _ access: [Directory.SocketAccess], bindsPath: Bool = false
    ) throws(SystemError) {
        try directory.bind(socket, at: name, access, bindsPath: bindsPath)
        self.directory = try directory.duplicate()
        self.name = name
        status = try directory.status(of: name)
    }

    /// Removes the name.
    func remove() { if directory.has(name, status) { try? directory.remove(name) } }

    deinit { remove() }
}
