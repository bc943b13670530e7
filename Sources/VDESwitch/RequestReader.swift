// SPDX-License-Identifier: Apache-2.0
import Platform
import Wire

/// Puts a client's request together, however its bytes arrive.
///
/// The request has no length of its own: real clients write it at once, and its end is the end of what was read. So
/// what comes in the first read is taken for the whole if it is long enough; if it came in pieces, the rest of the
/// description is waited for a moment.
package struct RequestReader: Sendable {
    package enum Outcome: Equatable, Sendable {
        /// Wait for more.
        case incomplete
        /// All that must be there is. Wait a moment for the rest of a description, then call `finish`.
        case settling
        case complete(VDERequest)
        /// Close the connection, which is all that the protocol knows of refusals.
        case invalid(String)
    }

    /// Bytes of the longest request; vde_switch reads 256.
    package static let maximumLength = 4096

    private var bytes: [UInt8] = []
    private var reads = 0

    package init() {}

    /// How many bytes may still come.
    package var room: Int { RequestReader.maximumLength - bytes.count }

    /// Takes what was read.
    package mutating func take(_ more: [UInt8]) -> Outcome {
        bytes += more
        reads += 1
        guard bytes.count < RequestReader.maximumLength else {
            return .invalid("a request of more than \(RequestReader.maximumLength) bytes")
        }
        let outcome = finish()
        if case .complete = outcome, reads > 1 { return .settling }
        return outcome
    }

    /// Takes what is there for the whole.
    package func finish() -> Outcome {
        do throws(WireError) {
            var request = try VDERequest(parsing: bytes.rawSpan)
            request.description = PrintableText.line(request.description, limit: VDERequest.maximumDescription)
            return .complete(request)
        } catch {
            switch error {
            case .truncated: return .incomplete
            case .badVersion: return .invalid("an unknown version of the VDE protocol")
            default: return .invalid("not a VDE request")
            }
        }
    }
}
