// SPDX-License-Identifier: Apache-2.0
import Timing

/// The outcome of `acceptClient`.
package enum Acceptance: ~Copyable {
    /// A connected client. The receiver owns the descriptor.
    case client(Descriptor)
    /// No client is waiting; the socket becomes readable when one connects.
    case none
    /// A client is waiting but cannot be accepted, mostly because no descriptor is free. The socket stays readable, so
    /// the caller must not watch it for `Acceptance.pause`.
    case failed(SystemError)

    /// How long the caller stops watching the listening socket after `failed`.
    package static let pause = TimeAmount.milliseconds(100)
}

extension Descriptor {
    /// Accepts the first waiting client of this listening socket (accept(2)).
    package func acceptClient() -> Acceptance {
        while true {
            do throws(SystemError) {
                return .client(try accept())
            } catch {
                switch error.code {
                case Errno.again: return .none
                // That client has disconnected already (accept(2)); another one may be waiting.
                case Errno.connectionAborted, Errno.protocolError, Errno.interrupted: continue
                default: return .failed(error)
                }
            }
        }
    }
}
