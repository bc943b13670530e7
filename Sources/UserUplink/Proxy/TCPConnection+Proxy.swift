// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing
import Uplink
import Wire

// `--proxy`: see ProxyHandshake.

extension TCPConnection {
    /// Goes on with the dialogue with the proxy.
    /// - Returns: 0, or the positive errno with which the connection cannot be made.
    func proxyReady(_ ready: Readiness, _ context: inout TCPContext) -> Int32 {
        guard proxy?.isAtStart == false else {
            guard ready.contains(.writable) else { return 0 }
            timer = context.now + ProxyHandshake.timeout
            return sendToProxy(proxy!.begin(), &context)
        }
        // A dialogue has fewer steps.
        for _ in 0..<8 {
            let bytes: [UInt8]
            do throws(SystemError) {
                bytes = try socket?.receive(limit: proxy!.needed) ?? []
            } catch {
                return error.code == Errno.again ? 0 : proxyFailed(.closed, &context)
            }
            switch proxy!.receive(bytes) {
            case .receive: continue
            case .send(let answer):
                let error = sendToProxy(answer, &context)
                if error != 0 { return error }
            case .failed(let failure): return proxyFailed(failure, &context)
            case .connected(let rest):
                guard toGuest.reserve(rest.count, &context.memory, by: owner) >= rest.count else {
                    return Errno.noBuffers
                }
                toGuest.write(rest.rawSpan, at: 0)
                toGuest.extend(rest.count)
                proxy = nil
                accepted(&context)
                return 0
            }
        }
        return 0
    }

    private func sendToProxy(_ bytes: [UInt8], _ context: inout TCPContext) -> Int32 {
        // The buffer of a new socket holds far more.
        bytes.rawSpan.send(to: raw) == bytes.count ? 0 : proxyFailed(.closed, &context)
    }

    /// Notes why the proxy has not connected. The guest gets a RST: after an ICMP error, Linux sends its SYN again.
    /// - Returns: the errno for that.
    func proxyFailed(_ failure: ProxyFailure, _ context: inout TCPContext) -> Int32 {
        context.proxyFailed(failure)
        return Errno.refused
    }
}
