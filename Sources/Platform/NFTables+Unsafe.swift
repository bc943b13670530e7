// SPDX-License-Identifier: Apache-2.0
import CLibrary
import CPlatform

/// libnftables with a netlink socket that stays open, so that this process can own tables (`flags owner`). For one
/// thread at a time.
@safe
package final class NFTablesLibrary {
    private let handle: OpaquePointer

    /// - Throws: ENOENT if libnftables is not installed or has an unknown interface version.
    package init() throws(SystemError) {
        var opened: OpaquePointer?
        try SystemError.check(unsafe platform_nftables_open(&opened), "open", "libnftables")
        guard let opened = unsafe opened else { throw SystemError(code: Errno.noEntry, "open", "libnftables") }
        unsafe handle = opened
    }

    deinit { unsafe platform_nftables_close(handle) }

    /// Executes commands in the syntax of nft(8), all or none.
    /// - Returns: whether they succeeded, and what nft(8) would print to standard output and standard error.
    package func run(_ commands: String) -> (succeeded: Bool, output: String, error: String) {
        var output: UnsafePointer<CChar>?, error: UnsafePointer<CChar>?
        let outcome = unsafe platform_nftables_run(handle, commands, &output, &error)
        return unsafe (
            outcome == 0, output.map { unsafe String(cString: $0) } ?? "",
            error.map { unsafe String(cString: $0) } ?? ""
        )
    }
}
