// SPDX-License-Identifier: Apache-2.0
import Lifecycle
import NetworkModel
import Platform

/// The directory of `--boot`, and the process that opens files in it (`FileOpener`).
package final class BootDirectory {
    let opener: FileOpener
    /// The directory's path, for messages.
    package let path: String

    /// Opens the directory with the rights of the user that called sudo, and starts the process. Must be called before
    /// any thread is started.
    /// - Parameter names: files that must be there.
    /// - Throws: `noInput` if the directory or one of the files cannot be opened.
    package init(_ path: String, names: [String]) throws(ExitError) {
        self.path = path
        do throws(SystemError) {
            let directory = try Files.openForCaller(path)
            guard try directory.status().kind == .directory else {
                throw SystemError(code: Errno.notDirectory, "open", path)
            }
            opener = try FileOpener(directory)
        } catch {
            throw ExitError(.noInput, "--boot: \(error); give a file in a directory that you can read")
        }
        for name in names { try check(name) }
    }

    private func check(_ name: String) throws(ExitError) {
        let code: Int32
        do throws(SystemError) {
            guard let below = BootFileName.path(Array(name.utf8)) else {
                throw SystemError(code: Errno.invalid, "open", name)
            }
            try opener.request(below, number: 0)
            code = try opener.answer(waits: true)?.code ?? Errno.ioError
        } catch {
            throw ExitError(.noInput, "--boot: \(error); give the path of a file")
        }
        guard code != 0 else { return }
        let whole = path == "/" ? "/\(name)" : "\(path)/\(name)"
        let error = SystemError(code: -code, "open", whole)
        let status = try? Files.status(whole)
        let isOther = status.map { $0.kind != .regular && $0.kind != .link } ?? false
        let text =
            switch error.code {
            case Errno.tooManyLinks:
                "\(whole) is or passes a symbolic link, and guests load files without links only; give the file itself"
            case Errno.isDirectory: "\(whole) is a directory; give a file in it"
            case Errno.accessDenied where isOther: "\(whole) is no regular file but a pipe or device; give a file"
            case Errno.noEntry, Errno.notDirectory: "\(error); give the path of a file that exists"
            default: "\(error); give a regular file that you can read"
            }
        throw ExitError(.noInput, "--boot: \(text)")
    }
}
