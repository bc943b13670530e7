// SPDX-License-Identifier: Apache-2.0

/// The network namespace this process runs in (Linux); one for all elsewhere.
package enum NetworkNamespace {
    /// Identifies this boot of the host.
    package static let boot = Files.text("/proc/sys/kernel/random/boot_id")?.prefix(8) ?? "0"

    /// Identifies the boot and the network namespace. Changes in another namespace are not undone from here.
    package static let identifier: String = {
        let cookie = NetworkInterfaces.namespaceCookie
        // The cookie is never reused, unlike the inode.
        return "\(boot)-" + (cookie != 0 ? String(cookie) : "i\((try? Files.status("/proc/self/ns/net"))?.inode ?? 0)")
    }()
}
