// SPDX-License-Identifier: Apache-2.0
import Platform
import Wire

/// Assembles a client's request from the bytes that arrive.
///
/// The request has no length field: clients write it at once, and a switch takes what it reads for the whole. If the
/// first read returns all mandatory fields, the request is complete. If the request arrives in pieces, the caller waits
/// a short time for the rest of the description.
package struct RequestReader: Sendable {
    /// What the caller must do next.
    package enum Outcome: Equatable, Sendable {
        /// More bytes are needed.
        case incomplete
        /// All mandatory fields are there. Wait a short time for the rest of the description, then call `finish`.
        case settling
        case complete(VDERequest)
        /// The request is invalid: close the connection, because the protocol has no error answer.
        case invalid(String)
    }

    /// The longest request in bytes; vde_switch reads 256.
    package static let maximumLength = 4096

    private var bytes: [UInt8] = []
    private var reads = 0

    package init() {}

    /// The number of bytes that may still be received.
    package var room: Int { RequestReader.maximumLength - bytes.count }

    /// Appends received bytes.
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

    /// Parses the received bytes as the whole request.
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
