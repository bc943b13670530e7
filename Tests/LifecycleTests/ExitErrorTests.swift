// SPDX-License-Identifier: Apache-2.0
import Lifecycle
import Platform
import Testing

@Suite struct ExitErrorTests {
    /// A lack of something is reported with what ends it, whatever was to be made.
    @Test func lackHasNextStep() {
        let full = SystemError(code: Errno.noSpace, "bind", "/run/a")
        let files = SystemError(code: Errno.tooManyFiles, "socket")
        for (error, step) in [(full, "make room on that disk"), (files, "raise the limit of open files")] {
            #expect {
                try orUnavailable { () throws(SystemError) in throw error }
            } throws: {
                "\($0)".contains(step)
            }
        }
    }
}
