// SPDX-License-Identifier: Apache-2.0

/// Finds the process that has locked a file (flock(2)).
package enum FileLocks {
    /// The process that holds the lock of an open file; nil if there is none, or the system does not report it (macOS).
    package static func holder(of file: borrowing Descriptor) -> Int32? {
        guard let status = try? file.status(), let list = Files.text("/proc/locks") else { return nil }
        return holder(of: (device: status.device, inode: status.inode), in: list)
    }

    /// Lines such as `1: FLOCK  ADVISORY  WRITE 4711 00:1a:12345 0 EOF` (proc_locks(5)).
    package static func holder(of file: (device: UInt64, inode: UInt64), in list: String) -> Int32? {
        for line in list.split(separator: "\n") {
            let words = line.split(separator: " ")
            guard words.count >= 6, words[1] == "FLOCK", let process = Int32(words[4]) else { continue }
            let place = words[5].split(separator: ":")
            guard place.count == 3, let major = UInt64(place[0], radix: 16), let minor = UInt64(place[1], radix: 16),
                UInt64(place[2]) == file.inode
            else { continue }
            // Linux's encoding of a device's two numbers (makedev(3)).
            if file.device == (minor & 0xff) | (major & 0xfff) << 8 | (minor & ~0xff) << 12 | (major & ~0xfff) << 32 {
                return process
            }
        }
        return nil
    }
}
