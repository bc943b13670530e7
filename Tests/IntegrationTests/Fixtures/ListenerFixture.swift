// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import Wire

/// A host with our daemon, to which guests connect by several listeners.
final class ListenerFixture {
    let network: TestNetwork
    var daemon: VMNetDaemon
    let vde: String
    let stream: String
    let dgram: String
    /// The socket of sequenced packets, if there is one.
    let packets: String
    /// The socket for front ends, if there is one.
    let vhostUser: String
    private let arguments: [String]

    /// - Parameters:
    ///   - offload: of the clients of the sockets.
    ///   - options: what is requested besides the listeners.
    init(
        vde hasVDE: Bool = false, packets hasPackets: Bool = false, vhostUser hasFrontEnds: Bool = false,
        offload: Bool = false, _ options: [String] = [], internet: Bool = false
    ) throws {
        network = try TestNetwork()
        if internet { try network.startInternet() }
        vde = network.folder.file("vde")
        stream = network.folder.file("stream")
        dgram = network.folder.file("dgram")
        packets = network.folder.file("packets")
        vhostUser = network.folder.file("vhost")
        let word = offload ? ",offload" : ""
        arguments =
            (hasVDE ? ["--switch", vde] : []) + ["--stream", stream + word, "--dgram", dgram + word]
            + (hasPackets ? ["--seqpacket", packets + word] : []) + (hasFrontEnds ? ["--vhost-user", vhostUser] : [])
            + options
        daemon = try VMNetDaemon(in: network.host, arguments, folder: network.folder)
    }

    /// Another daemon with the same options.
    func restart() throws { daemon = try VMNetDaemon(in: network.host, arguments, folder: network.folder) }

    var host: Namespace { network.host }
    var folder: TemporaryFolder { network.folder }

    var streamNetdev: String { "stream,id=net0,server=off,addr.type=unix,addr.path=\(stream)" }

    func dgramNetdev(_ name: String) -> String {
        "dgram,id=net0,local.type=unix,local.path=\(folder.file(name)),remote.type=unix,remote.path=\(dgram)"
    }

    /// A guest by vhost-user, which connects again after a restart of the daemon.
    /// - Parameter pairs: queue pairs, one for each processor of the guest.
    func vhostVM(
        _ name: String, _ number: Int, pairs: Int = 1, device: String = "", options: [String] = []
    ) throws -> VirtualMachine {
        try VirtualMachine.vhostUser(
            name, socket: "path=\(vhostUser),reconnect=1", mac: "52:54:00:00:00:0\(number)", pairs: pairs,
            device: device, options: options, in: host, folder: folder)
    }

    func vm(_ name: String, _ netdev: String, _ number: Int) throws -> VirtualMachine {
        try VirtualMachine.qemu(name, netdev: netdev, mac: "52:54:00:00:00:0\(number)", in: host, folder: folder)
    }
}
