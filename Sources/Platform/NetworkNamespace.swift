// SPDX-License-Identifier: Apache-2.0

/// The network namespace this process runs in (Linux); one for all elsewhere.
package enum NetworkNamespace {
    /// Identifies this boot of the host.
    package static let boot = Files.text("/proc/sys/kernel/random/boot_id")?.prefix(8) ?? "0"

    /// Identifies the boot and the network namespace. Changes in another namespace are not undone from here.
    package static let identifier: String = {
        let cookie = NetworkInterfaces.namespaceCookie
        // The cookie is never reused, unlike the inode.
        return "\(boot)-" + (cookie != 0 ? String(cookie) : "i\(inode ?? 0)")
    }()

    /// The number of this process's namespace in the file system of namespaces (namespaces(7)). The kernel reuses it
    /// once the namespace is gone. nil elsewhere than on Linux.
    package static let inode: UInt64? = (try? Files.status("/proc/self/ns/net"))?.inode

    /// The numbers of all network namespaces in which a thread runs, which are mounted somewhere, or of which a process
    /// has a descriptor; nil if this process does not see all processes. It takes milliseconds.
    package static func inodes() -> Set<UInt64>? {
        // Processes of the first namespace see all others (PROC_PID_INIT_INO of the kernel).
        guard (try? Files.status("/proc/self/ns/pid"))?.inode == 0xEFFF_FFFC, CurrentProcess.effectiveUser == 0,
            let entries = try? Files.entries("/proc")
        else { return nil }
        var found: Set<UInt64> = [], mounts: Set<String> = []
        for process in entries where Int32(process) != nil {
            let directory = "/proc/\(process)"
            // A process that ends meanwhile keeps no namespace. One that this process may not see might.
            guard let threads = try? Files.entries("\(directory)/task") else { continue }
            for thread in threads {
                guard
                    note(Files.linkTarget("\(directory)/task/\(thread)/ns/net"), in: &found)
                        || !Files.exists("\(directory)/task/\(thread)")
                else { return nil }
            }
            for file in (try? Files.entries("\(directory)/fd")) ?? [] {
                note(Files.linkTarget("\(directory)/fd/\(file)"), in: &found)
            }
            guard let mount = Files.linkTarget("\(directory)/ns/mnt"), mounts.insert(mount).inserted else { continue }
            for line in (Files.text("\(directory)/mountinfo") ?? "").split(separator: "\n") {
                // The fourth field is the root of the mount (proc_pid_mountinfo(5)).
                note(line.split(separator: " ", maxSplits: 4).dropFirst(3).first.map(String.init), in: &found)
            }
        }
        return found
    }

    /// Notes the inode of a link such as `net:[4026531840]`. Returns false if it is none of a network namespace.
    @discardableResult
    private static func note(_ link: String?, in found: inout Set<UInt64>) -> Bool {
        guard let link, link.hasPrefix("net:["), let inode = UInt64(link.dropFirst(5).dropLast()) else { return false }
        found.insert(inode)
        return true
    }
}
