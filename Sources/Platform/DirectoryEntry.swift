// SPDX-License-Identifier: Apache-2.0

/// A file or socket that this process has made in a directory, and removes by its name and identity.
package struct DirectoryEntry: ~Copyable, Sendable {
    private let directory: Directory
    private let name: String
    private let status: FileStatus

    /// The path of the entry, for messages and for other programs.
    package var path: String { directory.path(of: name) }

    /// The entry that has this name now.
    package init(_ name: String, in directory: borrowing Directory) throws(SystemError) {
        let status = try directory.status(of: name)
        self.init(name, status, in: try directory.duplicate())
    }

    /// The entry with this name and status. Takes the directory over.
    package init(_ name: String, _ status: FileStatus, in directory: consuming Directory) {
        self.directory = directory
        self.name = name
        self.status = status
    }

    /// Removes the entry, unless another one has taken its name.
    package func remove() { if directory.has(name, status) { try? directory.remove(name) } }
}
