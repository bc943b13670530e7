// SPDX-License-Identifier: Apache-2.0

/// Programs of the system's administration, which are often not in a user's PATH.
package enum Programs {
    /// The path of a program, from `PATH` and the directories of system administration; nil if it is not installed.
    package static func find(_ name: String) -> String? {
        let path = (CurrentProcess.environment("PATH") ?? "") + ":/usr/sbin:/sbin:/usr/local/sbin:/usr/bin:/bin"
        for directory in path.split(separator: ":") where Files.isExecutable("\(directory)/\(name)") {
            return "\(directory)/\(name)"
        }
        return nil
    }
}
