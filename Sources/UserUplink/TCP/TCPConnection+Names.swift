// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Timing
import Wire

// `--check-names`: see NameCheck.

extension TCPConnection {
    /// Clears what the guest has sent as far as its names are allowed, or resets the connection.
    func checkNames(_ context: inout TCPContext) {
        guard context.policy.restrictsNames else {
            check = nil
            checkDeadline = .distantFuture
            return
        }
        while let held = check.map({ _ in toSocket.count - cleared }), held > 0 {
            let policy = context.policy, port = endpoints.key.remotePort
            let step = check!.step(held, beginning: { beginning(held) }) { name in
                DNSName(name).map { policy.allowsTCP(named: $0, port) } == true
            }
            switch step {
            case .pass(let count):
                cleared += count
                if count > 0 { checkDeadline = .distantFuture }
            case .passAll:
                check = nil
                checkDeadline = .distantFuture
            case .refuse(let reason, let name):
                return refuse(reason, name: name, &context)
            case .wait:
                if receiver.isFinReceived { return refuse(.late, name: nil, &context) }
                if checkDeadline == .distantFuture { checkDeadline = context.now + NameCheck.timeout }
                return
            }
        }
    }

    private func beginning(_ held: Int) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: min(held, NameCheck.limit))
        bytes.withMutableRawSpan { toSocket.copy(cleared..<cleared + $0.byteCount, to: &$0, at: 0) }
        return bytes
    }

    /// Resets a connection that may not go on, and reports it.
    func refuse(_ reason: NameCheck.Reason, name: String?, _ context: inout TCPContext) {
        let key = endpoints.key
        context.refused.append(
            EgressRefusal(
                hardware: endpoints.guestHardware, name: name.map { String($0.prefix(255)) },
                address: key.isIPv6 ? .ipv6(key.remote) : .ipv4(key.remoteIPv4), transport: "tcp", port: key.remotePort,
                reason: reason.rawValue))
        reset(&context)
    }
}
