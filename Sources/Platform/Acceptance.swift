// SPDX-License-Identifier: Apache-2.0

/// What became of an attempt to take a client in.
package enum Acceptance: ~Copyable {
    case client(Descriptor)
    /// There is none for now; the socket becomes readable when there is.
    case none
    /// One waits and cannot be had, mostly for want of descriptors. The socket stays readable all the while, so it must
    /// not be watched for `Acceptance.pause`.
    case failed(SystemError)

    /// How long a listening socket is left alone then, in nanoseconds.
    package static let pause = 100 * MonotonicClock.millisecond
}

extension Descriptor {
    /// Takes the first client in that waits at a listening socket. The caller owns its descriptor.
    package func acceptClient() -> Acceptance {
        while true {
            do throws(SystemError) {
                return .client(try accept())
            } catch {
                switch error.code {
                case Errno.again: return .none
                // That one has gone again (accept(2)); the next may be there.
                case Errno.connectionAborted, Errno.protocolError, Errno.interrupted: continue
                default: return .failed(error)
                }
            }
        }
    }
}
