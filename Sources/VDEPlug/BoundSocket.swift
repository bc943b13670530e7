// SPDX-License-Identifier: Apache-2.0
import Platform

/// A socket's name in a directory, which goes with the value unless another socket has it by then.
final class BoundSocket: Sendable {
    private let directory: Directory
    private let name: String
    private let status: FileStatus

    var path: String { directory.path(of: name) }

    /// Binds `socket`.
    /// - Parameter access: what to try, the best first.
    init(
        _ socket: borrowing Descriptor, in directory: borrowing Directory, _ name: String,
        _ access: [Directory.SocketAccess], bindsPath: Bool = false
    ) throws(SystemError) {
        try directory.place(socket, at: name, access, bindsPath: bindsPath)
        self.directory = try directory.again()
        self.name = name
        status = try directory.status(of: name)
    }

    func remove() { if directory.has(name, status) { try? directory.remove(name) } }

    deinit { remove() }
}
