// SPDX-License-Identifier: Apache-2.0
import Platform

/// Reports the daemon's state to systemd (sd_notify(3)).
package enum SystemdNotifier {
    /// Sends `state`, such as `READY=1`. Has no effect if systemd did not start this process.
    package static func notify(_ state: String) {
        guard let name = CurrentProcess.environment("NOTIFY_SOCKET"), let first = name.utf8.first,
            first == UInt8(ascii: "/") || first == UInt8(ascii: "@")
        else { return }
        // An @ stands for the zero byte at the start of an abstract name.
        let path = first == UInt8(ascii: "@") ? [0] + Array(name.utf8.dropFirst()) : Array(name.utf8)
        guard let socket = try? Socket.unixDatagram(), (try? socket.connect(to: UnixPath(path))) != nil else { return }
        _ = try? socket.send(Array(state.utf8))
    }
}
