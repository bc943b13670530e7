// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing
import Wire

// Theory of operation: the client's side of the VDE protocol.
//
// A switch is a directory with a stream socket `ctl`. The handshake has four steps:
//
//   1. The client connects to `ctl`.
//   2. It binds its own datagram socket, in the switch's directory or, if it cannot write there, in one that
//      libvdeplug uses too, and sends one request with that socket's path, the requested port and a description.
//   3. The switch makes a datagram socket, connects it to the client's, and answers with its address
//      (`sockaddr_un`). A switch refuses by closing the connection; older ones of vde_switch do not answer at all.
//   4. The client connects its datagram socket to that address, and removes its own name.
//
// From then on one datagram carries one Ethernet frame. The control connection carries nothing more: each side closes
// it to end the session. `PlugHandshake` is the state machine of steps 1 to 4 and does not block; its caller waits and
// keeps the time limit. `Plug.join` waits by itself. All of it runs on one thread.

/// A client's session at a port of a VDE switch.
package struct Plug: ~Copyable {
    /// The control connection: readable (end of file) once the switch closes the session.
    package let control: Descriptor
    /// Connected to the switch's socket: one frame per datagram.
    package var data: Descriptor
    /// The switch's control directory without symbolic links.
    package let directory: String
    /// The path of the switch as the caller gave it.
    package let path: String
}

extension Plug {
    /// Joins a switch, waiting for the answer until `deadline`.
    package static func join(path: String, port: Int, options: PlugOptions, deadline: Instant) throws(PlugError) -> Plug
    {
        var handshake = try PlugHandshake(path: path, port: port, options: options)
        while true {
            guard !handshake.control.wait(for: .readable, until: deadline).isEmpty else { throw handshake.timeoutError }
            if let plug = try handshake.finish() { return plug }
        }
    }

    /// Joins the first of several switches that answers.
    /// - Throws: the error of the last one that has a switch, or else one that lists all paths.
    package static func join(anyOf candidates: [String], port: Int, options: PlugOptions) throws(PlugError) -> Plug {
        var failure: PlugError?
        for candidate in candidates {
            do throws(PlugError) {
                return try join(
                    path: candidate, port: port, options: options, deadline: BootClock.now + PlugHandshake.timeout
                )
            } catch {
                if failure == nil || failure?.cause == .noSwitch { failure = error }
            }
        }
        guard candidates.count > 1, failure?.cause == .noSwitch else { throw failure! }
        throw PlugError(
            .noSwitch,
            "no VDE switch in any of the usual places (\(candidates.joined(separator: ", "))); "
                + "to start a network with a new switch: vde_vmnet --switch /tmp/vde"
        )
    }
}
