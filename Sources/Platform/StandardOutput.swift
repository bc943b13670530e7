// SPDX-License-Identifier: Apache-2.0
#if canImport(Darwin)
    import Darwin
#elseif canImport(Musl)
    import Musl
#else
    import Glibc
#endif

/// Text to the standard streams, unbuffered. Where nobody reads any more, it is lost without complaint.
package enum StandardOutput {
    package static func write(_ text: String) { write(text, to: 1) }

    package static func writeError(_ text: String) { write(text, to: 2) }

    private static func write(_ text: String, to number: Int32) {
        let stream = Descriptor(adopting: number)
        try? stream.write(Array(text.utf8))
        _ = stream.release()
    }
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
