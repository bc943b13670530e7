// SPDX-License-Identifier: Apache-2.0
import Platform

/// The kernel's limits for the buffers of guests' sockets.
struct BufferCheck: HostCheck {
    static let name = "buffers"
    /// What this program sets on its sockets, in bytes.
    private static let send = 1 << 20, receive = 4 << 20
    /// Datagrams that a burst of a guest has.
    private static let queue = 64

    /// CAP_NET_ADMIN lifts the first two limits.
    let isPrivileged: Bool
    /// Bytes; nil if the setting is not visible, as in some namespaces.
    let sendLimit: Int?
    let receiveLimit: Int?
    /// Datagrams that a unix socket queues.
    let queueLimit: Int?

    static func gathered(_ scene: Scene) -> BufferCheck {
        func setting(_ path: String) -> Int? { Files.text("/proc/sys/" + path).flatMap { Int($0) } }
        return BufferCheck(
            isPrivileged: scene.capabilities.contains(.netAdmin), sendLimit: setting("net/core/wmem_max"),
            receiveLimit: setting("net/core/rmem_max"), queueLimit: setting("net/unix/max_dgram_qlen"))
    }

    var diagnoses: [Diagnosis] {
        var found: [Diagnosis] = []
        if !isPrivileged, (sendLimit ?? .max) < Self.send || (receiveLimit ?? .max) < Self.receive {
            found.append(
                Self.warning(
                    .buffersSmall,
                    """
                    sockets get at most \(sendLimit ?? Self.send) bytes to send and \(receiveLimit ?? Self.receive) to \
                    receive: bursts of guests are dropped
                    """,
                    Remedy.sudo(
                        "sysctl", "-w", "net/core/wmem_max=\(Self.send)", "net/core/rmem_max=\(Self.receive)")))
        }
        if let queueLimit, queueLimit < Self.queue {
            found.append(
                Self.warning(
                    .datagramQueueShort,
                    "a unix socket queues \(queueLimit) datagrams only: bursts of guests wait or are dropped",
                    Remedy.set("net/unix/max_dgram_qlen", "512")))
        }
        return found.isEmpty ? Self.ok("large enough for bursts of guests") : found
    }
}
