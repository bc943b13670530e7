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

    /// The descriptors that systemd passes, from 3 on, with their names (sd_listen_fds_with_names(3)); empty if they
    /// are meant for another process.
    package static func fromSystemd() -> [(raw: Int32, name: String)] {
        guard let process = CurrentProcess.environment("LISTEN_PID"), Int32(process) == CurrentProcess.identifier,
            let text = CurrentProcess.environment("LISTEN_FDS"), let count = Int32(text),
            (1...64).contains(count)
        else { return [] }
        let names = (CurrentProcess.environment("LISTEN_FDNAMES") ?? "").split(
            separator: ":", omittingEmptySubsequences: false)
        return (0..<Int(count)).map { index in (3 + Int32(index), index < names.count ? String(names[index]) : "") }
    }

    /// The path that a unix socket is bound to; empty for none.
    package static func path(of raw: Int32) -> String {
        var path = [UInt8](repeating: 0, count: 128)
        let length = unsafe platform_unix_bound_path(raw, &path, path.count)
        return String(decoding: path.prefix(max(0, Int(length))), as: UTF8.self)
    }
}
