// SPDX-License-Identifier: Apache-2.0
import CPlatform

/// A process that opens regular files below one directory for reading, with the rights of the user that called sudo, or
/// of this process's user. This process would open them with its own rights, which may be root's, and a file system
/// that does not respond would block it.
///
/// The process follows no symbolic link, has no capabilities, and ends with this value.
package struct FileOpener: ~Copyable {
    /// Requests that may be unanswered at a time: as many as fit into the socket on every system.
    package static let maximumUnanswered = 8
    /// Bytes of the longest path.
    package static let maximumPathLength = 511

    /// Becomes readable when there is an answer.
    package let socket: Descriptor

    /// Starts the process. Must be called before any thread is started.
    /// - Parameter directory: a directory, open for reading.
    package init(_ directory: borrowing Descriptor) throws(SystemError) {
        let raw: Int32
        if let caller = CurrentProcess.sudoCaller, caller.user != 0 {
            let groups = UserDatabase.groups(of: caller.user, caller.group)
            raw = unsafe groups.withUnsafeBufferPointer { buffer in
                var identity = unsafe platform_identity(
                    user: caller.user, group: caller.group, groups: buffer.baseAddress,
                    group_count: Int32(buffer.count))
                return unsafe platform_opener_start(directory.raw, &identity)
            }
        } else {
            raw = platform_opener_start(directory.raw, nil)
        }
        socket = Descriptor(adopting: try SystemError.check(raw, "start a process that opens files"))
    }

    /// Requests a file by its path below the directory.
    /// - Precondition: fewer than `maximumUnanswered` requests are unanswered; the path has no component `..`.
    package func request(_ path: [UInt8], number: UInt32) throws(SystemError) {
        let text = String(decoding: path, as: UTF8.self)
        guard (1...FileOpener.maximumPathLength).contains(path.count), !path.contains(0) else {
            throw SystemError(code: Errno.nameTooLong, "open", text)
        }
        var request = platform_opener_request()
        request.number = number
        unsafe withUnsafeMutableBytes(of: &request.path) { unsafe $0.copyBytes(from: path) }
        try SystemError.check(unsafe platform_opener_send(socket.raw, &request), "open", text)
    }

    /// The result of a request.
    package struct Answer: ~Copyable {
        /// The number of the request.
        package let number: UInt32
        /// A negative errno, unless there is a file.
        package let code: Int32
        private var descriptor: Descriptor?

        init(number: UInt32, file: Int32) {
            self.number = number
            code = min(file, 0)
            descriptor = file >= 0 ? Descriptor(adopting: file) : nil
        }

        /// The open file; nil if it could not be opened. The caller owns it.
        package consuming func file() -> Descriptor? { descriptor }
    }

    /// The next answer; nil if there is none yet.
    /// - Parameter waits: waits for one.
    /// - Throws: `brokenPipe` if the process has ended.
    package func answer(waits: Bool = false) throws(SystemError) -> Answer? {
        var number: UInt32 = 0, file: Int32 = -1
        let result = unsafe platform_opener_receive(socket.raw, waits ? 1 : 0, &number, &file)
        if result == -Errno.again { return nil }
        try SystemError.check(result, "receive an open file")
        return Answer(number: number, file: file)
    }
}

extension Descriptor {
    /// Up to `count` bytes of a file from `offset` on (pread(2)). Fewer only at the end of the file.
    package func read(at offset: Int, count: Int) throws(SystemError) -> [UInt8] {
        var failure: Int32 = 0
        let bytes = unsafe [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
            while initialized < count {
                let part = unsafe platform_read_at(
                    raw, buffer.baseAddress! + initialized, count - initialized, Int64(offset + initialized))
                if part < 0 { failure = Int32(-part) }
                if part <= 0 { break }
                initialized += Int(part)
            }
        }
        if failure != 0 { throw SystemError(code: failure, "read") }
        return bytes
    }
}
