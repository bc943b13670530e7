// SPDX-License-Identifier: Apache-2.0
import CPlatform

#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// Lines to the system's log (syslog(3)).
package enum SystemLog {
    /// - Parameter priority: 0 (emergency) to 7 (debug).
    package static func write(_ text: String, priority: Int32) { unsafe platform_syslog(priority, text) }
}

/// Text to the standard streams, unbuffered. Where nobody reads any more, it is lost without complaint.
package enum StandardOutput {
    /// Makes sure that the three streams are open, if only to nowhere, before anything else gets their numbers.
    package static func ensureOpen() { platform_open_standard_streams() }

    package static func write(_ text: String) { write(text, to: 1) }

    package static func writeError(_ text: String) { write(text, to: 2) }

    private static func write(_ text: String, to number: Int32) {
        let stream = Descriptor(adopting: number)
        try? stream.write(Array(text.utf8))
        _ = stream.release()
    }
}

extension Descriptor {
    /// Another descriptor of standard input.
    package static func standardInput() throws(SystemError) -> Descriptor {
        Descriptor(adopting: try SystemError.checkErrno(platform_fcntl(0, F_DUPFD_CLOEXEC, 3), "dup"))
    }

    package var isTerminal: Bool { isatty(raw) == 1 }
}

package enum ProcessExit {
    /// Ends the process.
    package static func exit(_ status: Int32) -> Never {
        #if canImport(Darwin)
            Darwin.exit(status)
        #elseif canImport(Musl)
            Musl.exit(status)
        #else
            Glibc.exit(status)
        #endif
    }
}
