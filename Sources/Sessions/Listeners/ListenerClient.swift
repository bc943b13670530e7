// SPDX-License-Identifier: Apache-2.0
import EventLoop
import Platform
import Switching

/// A client of a listener.
package struct ListenerClient {
    /// For the console and messages, such as `stream /tmp/vm.sock, process 1234 of alice`.
    let description: String
    /// The console's name for this kind of port.
    let module: String
    let user: UInt32
    /// The client's process, where the system reports it.
    var process: Int32?
    /// The system does not report that the client has closed its socket, so it is probed regularly.
    var needsProbes = false
    /// For a client that is a network namespace.
    var namespace: NamespaceFile?
    /// The name that a datagram client has bound, and its listener.
    var name: [UInt8] = []
    var listener: PortNumber?
    /// Reserves the client's descriptors.
    var admission: ClientQuota.Admission?
    /// Called when the client has left, or was disconnected.
    var onEnd: () -> Void = {}
}
