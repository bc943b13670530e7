// SPDX-License-Identifier: Apache-2.0
import NetworkCheck
import Platform
import Timing
import VDEPlug

/// A VDE network that `check` has joined, as a guest's VMM does.
final class CheckConnection: GuestLink {
    private enum Kind: ~Copyable {
        case plug(Plug)
        case cable(PointToPoint)
    }

    private let kind: Kind
    private let link: DatagramLink
    let name: String

    init(_ locator: VirtualNetworkLocator) throws(PlugError) {
        let options = PlugOptions(
            description:
                """
                vde_vmnet check user=\(UserDatabase.userName(CurrentProcess.effectiveUser)) \
                pid=\(CurrentProcess.identifier)
                """
        )
        let candidates: [String], port: Int
        switch locator {
        case .pointToPoint(let path):
            let cable = try PointToPoint(path: path, group: nil)
            guard !cable.isFirst else {
                throw PlugError(
                    .noSwitch, "the cable at \(path) has no other end; start vde_vmnet '\(path)[]' first")
            }
            link = try CheckConnection.link(cable.socket)
            name = path
            kind = .cable(cable)
            return
        case .switchDirectory(let path, let number): (candidates, port) = ([path], number)
        case .defaultSwitch(let paths, let number): (candidates, port) = (paths, number)
        }
        let plug = try Plug.join(anyOf: candidates, port: port, options: options)
        link = try CheckConnection.link(plug.data)
        name = plug.path
        kind = .plug(plug)
    }

    private static func link(_ socket: borrowing Descriptor) throws(PlugError) -> DatagramLink {
        do throws(SystemError) {
            return DatagramLink(try socket.duplicate())
        } catch {
            throw PlugError(.system, error.explanation)
        }
    }

    func send(_ frame: [UInt8]) { link.send(frame) }

    func receive(until deadline: Instant) -> [UInt8]? { link.receive(until: deadline) }
}
