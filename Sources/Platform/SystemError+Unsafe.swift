// SPDX-License-Identifier: Apache-2.0
import CLibrary

extension SystemError {
    /// The system's text for the error (strerror(3)), such as `No such file or directory`.
    package var reason: String { unsafe String(cString: strerror(code)) }
}
