// SPDX-License-Identifier: Apache-2.0
import CPlatform

/// What this program was built from, and the optional libraries that it finds.
package enum ProgramBuild {
    /// The commit, with `-modified` if files differed from it; nil if the build did not know it.
    package static var commit: String? {
        let commit = unsafe String(cString: platform_commit())
        return commit.isEmpty ? nil : commit
    }

    /// The version of libslirp, such as `4.7.0`; nil if it is not installed, or of an interface that is not known.
    package static var slirpVersion: String? {
        guard let version = unsafe platform_slirp_installed() else { return nil }
        return unsafe String(cString: version)
    }
}
