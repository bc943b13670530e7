// SPDX-License-Identifier: Apache-2.0
import Platform

/// The name of a bound socket, removed with this object unless another socket has taken it.
final class BoundSocket: Sendable {
    private let entry: DirectoryEntry

    /// The path that the socket is bound to.
    var path: String { entry.path }

    /// Binds `socket`.
    /// - Parameter access: the modes and owners to try, in this order.
    init(
        _ socket: borrowing Descriptor, in directory: borrowing Directory, _ name: String,
        _ access: [Directory.SocketAccess], bindsPath: Bool = false
    ) throws(SystemError) {
        try directory.bind(socket, at: name, access, bindsPath: bindsPath)
        entry = try DirectoryEntry(name, in: directory)
    }

    /// Removes the name.
    func remove() { entry.remove() }

    deinit { remove() }
}
