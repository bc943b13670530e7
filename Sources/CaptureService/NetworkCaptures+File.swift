// SPDX-License-Identifier: Apache-2.0
import Lifecycle
import Logging
import Platform

extension NetworkCaptures {
    /// Starts the capture of `--pcap`, of all ports.
    /// - Throws: `noPermission` or `cannotCreate` if the file cannot be written.
    package func start(toFile path: String, logger: Logger) throws(ExitError) {
        do throws(SystemError) {
            let file = try PrivateOutput.open(path)
            guard try file.status().kind == .regular else {
                throw SystemError(code: Errno.invalid, "write to a FIFO or device", path)
            }
            try start(to: file, path, logger)
        } catch {
            let isDenied = [Errno.accessDenied, Errno.notPermitted].contains(error.code)
            throw ExitError(
                isDenied ? .noPermission : .cannotCreate,
                """
                --pcap: \(error); give a file in a directory that exists and is writable, or use vde_vmnet capture for \
                a pipe
                """)
        }
    }

    private func start(to file: consuming Descriptor, _ path: String, _ logger: Logger) throws(SystemError) {
        file.setBlocking()
        try start(Request(), to: file, .file) { end in
            guard case .failed(let error) = end else { return }
            let remedy = error.isFullDisk ? "make room" : "check the disk"
            logger.warning(
                """
                the capture of --pcap has ended: \(path): \(error.reason); the network goes on without it; \(remedy), \
                and start another one by vde_vmnet capture
                """)
        }
    }
}
