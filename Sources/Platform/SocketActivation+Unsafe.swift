// SPDX-License-Identifier: Apache-2.0
import CPlatform

/// Socket activation: sockets that the service manager, which started this process, has made for it.
package enum SocketActivation {
    /// The descriptors that launchd passes under a key of `Sockets` in the property list (launchd.plist(5)). launchd
    /// hands them out once: the caller keeps them.
    package static func fromLaunchd(_ name: String) -> [Int32] {
        var found = [Int32](repeating: -1, count: 16)
        let count = unsafe platform_launchd_sockets(name, &found, Int32(found.count))
        return Array(found.prefix(Int(count)))
    }

    /// The descriptors that systemd passes (sd_listen_fds(3)), from 3 on; empty if they are meant for another process.
    package static func fromSystemd() -> [Int32] {
        guard let process = CurrentProcess.environment("LISTEN_PID"), Int32(process) == CurrentProcess.identifier,
            let text = CurrentProcess.environment("LISTEN_FDS"), let count = Int32(text),
            (1...64).contains(count)
        else { return [] }
        return Array(3..<3 + count)
    }

    /// The path that a unix socket is bound to; empty for none.
    package static func path(of raw: Int32) -> String {
        var path = [UInt8](repeating: 0, count: 128)
        let length = unsafe platform_unix_bound_path(raw, &path, path.count)
        return String(decoding: path.prefix(max(0, Int(length))), as: UTF8.self)
    }
}
