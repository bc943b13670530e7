// SPDX-License-Identifier: Apache-2.0
import CLibrary

/// A signal's number under its usual name.
package enum Signal {
    package static var hangup: Int32 { SIGHUP }
    package static var interrupt: Int32 { SIGINT }
    package static var terminate: Int32 { SIGTERM }
    package static var kill: Int32 { SIGKILL }
    package static var stop: Int32 { SIGSTOP }
    package static var resume: Int32 { SIGCONT }
    package static var user1: Int32 { SIGUSR1 }
    /// A child has ended.
    package static var child: Int32 { SIGCHLD }
    package static var pipe: Int32 { SIGPIPE }
    /// A write beyond the limit of a file's size (`ulimit -f`). Ignored, the write fails with EFBIG.
    package static var fileSize: Int32 { SIGXFSZ }
}
