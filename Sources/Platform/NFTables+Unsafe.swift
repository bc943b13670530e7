// SPDX-License-Identifier: Apache-2.0
import CPlatform

#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// libnftables with a netlink socket that stays open, so that tables can be this process's own (`flags owner`). One
/// thread at a time.
@safe
package final class NFTablesLibrary {
    private let handle: OpaquePointer

    /// - Throws: ENOENT if libnftables is not installed or has an interface that is not known.
    package init() throws(SystemError) {
        var opened: OpaquePointer?
        try SystemError.check(unsafe platform_nftables_open(&opened), "open", "libnftables")
        guard let opened = unsafe opened else { throw SystemError(code: Errno.noEntry, "open", "libnftables") }
        unsafe handle = opened
    }

    deinit { unsafe platform_nftables_close(handle) }

    /// Carries out commands in the syntax of nft(8), all or none.
    /// - Returns: whether it was done, and what nft(8) would print to standard output and standard error.
    package func run(_ commands: String) -> (succeeded: Bool, output: String, error: String) {
        var output: UnsafePointer<CChar>?, error: UnsafePointer<CChar>?
        let outcome = unsafe platform_nftables_run(handle, commands, &output, &error)
        return unsafe (
            outcome == 0, output.map { unsafe String(cString: $0) } ?? "",
            error.map { unsafe String(cString: $0) } ?? ""
        )
    }
}
