// SPDX-License-Identifier: Apache-2.0
import Platform

/// A kernel that forwards IPv6 between all interfaces or none, as far as a program sees it.
package enum OldKernel {
    /// The words before a command with separate mounts, in which `conf/all` has no `force_forwarding`, as
    /// before Linux 6.17.
    package static func hidingForwarding(_ folder: TemporaryFolder) throws -> [String] {
        let copy = folder.file("conf"),
            script = """
                set -e
                all=/proc/sys/net/ipv6/conf/all
                mkdir -p \(copy)
                mount --bind $all \(copy)
                mount -t tmpfs none $all
                for setting in forwarding disable_ipv6 accept_ra; do
                    touch $all/$setting
                    mount --bind \(copy)/$setting $all/$setting
                done
                exec "$@"
                """
        return ["sh", "-c", script, "sh"]
    }
}
