// SPDX-License-Identifier: Apache-2.0
import CPlatform

/// What this program was built from.
package enum ProgramBuild {
    /// The commit, with `-modified` if files differed from it; nil if the build could not find it.
    package static var commit: String? {
        let commit = unsafe String(cString: platform_commit())
        return commit.isEmpty ? nil : commit
    }
}
