// SPDX-License-Identifier: Apache-2.0

// Theory of operation: the control protocol
// =========================================
//
// A client and a network exchange lines of JSON over a unix stream socket. docs/control.md describes every message.
//
//     client    {"id":1,"method":"status","params":{}}
//     network   {"id":1,"result":{...}}              or {"id":1,"error":{"code":"denied","message":"..."}}
//     network   {"event":"lease","time":...,"data":{...}}       to clients that have subscribed
//
// Replies have the order of the requests. Events come between replies. Unknown members of any object are ignored, so
// that members can be added; a change that breaks clients gets another version.

/// The protocol's constants.
package enum ControlProtocol {
    /// Grows when older clients could not understand newer networks.
    package static let version = 1
    /// Bytes of the longest request, its line end included.
    package static let maximumRequest = 65_536
    /// Bytes of the longest reply or event that a client accepts, its line end included.
    package static let maximumReply = 4 << 20
}

/// Why a request failed: a code for programs, a sentence for people.
package struct ControlError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The codes of the protocol.
    package enum Code: String, CaseIterable, Sendable {
        /// The line is no JSON.
        case parse
        /// The line is too long. The connection ends.
        case tooLong = "too_long"
        /// The line is JSON and no request.
        case request
        /// There is no such method.
        case method
        /// A parameter is missing, of the wrong type, or has an impossible value.
        case parameters
        /// The user has no right to do this.
        case denied
        /// What the request names does not exist.
        case notFound = "not_found"
        /// What the request would make exists, or contradicts something that does.
        case conflict
        /// This network cannot do it: its uplink, mode or switch lacks the function.
        case unsupported
        /// Too many clients, or too little of another resource. The request may be repeated later.
        case busy
        /// The host has refused a step.
        case failed
    }

    /// For programs.
    package let code: Code
    package let description: String

    /// - Parameter description: the thing, the cause, and the next step.
    package init(_ code: Code, _ description: String) {
        self.code = code
        self.description = description
    }

    /// The value of `error` in a reply.
    package var json: JSON {
        .object([("code", .string(code.rawValue)), ("message", .string(description))])
    }
}

/// A client's request.
package struct ControlRequest: Equatable, Sendable {
    /// Returned in the reply: a number, a string of up to 64 bytes, or null.
    package let id: JSON
    /// The method's name.
    package let method: String
    /// The object with the parameters; empty if the request has none.
    package let params: JSON

    /// - Throws: a reply's error, with the request's id if it could be read.
    package init(parsing line: [UInt8]) throws(Refusal) {
        let value: JSON
        do throws(JSONParser.Failure) {
            value = try JSONParser.parse(line)
        } catch {
            throw Refusal(id: .null, error: ControlError(.parse, "the line is not JSON: \(error)"))
        }
        guard value.members != nil else {
            throw Refusal(id: .null, error: ControlError(.request, "a request is an object: {\"id\":1,\"method\":...}"))
        }
        id = value["id"] ?? .null
        switch id {
        case .null, .integer: break
        case .string(let text) where text.utf8.count <= 64: break
        default:
            throw Refusal(
                id: .null, error: ControlError(.request, "the id must be an integer, or a string of 64 bytes at most"))
        }
        guard let name = value["method"]?.string, name.utf8.count <= 64 else {
            throw Refusal(id: id, error: ControlError(.request, "method is missing, or no name"))
        }
        method = name
        params = value["params"] ?? .object([])
        guard params.members != nil else {
            throw Refusal(id: id, error: ControlError(.parameters, "the member params must be an object"))
        }
    }

    /// An error with the id of the request that it belongs to.
    package struct Refusal: Error, Equatable, Sendable {
        /// The request's id; null if it could not be read.
        package let id: JSON
        /// What is wrong with the request.
        package let error: ControlError
    }
}

/// The lines that a network sends.
package enum ControlReply {
    /// The reply to a request that succeeded, with its line end.
    package static func line(id: JSON, result: JSON) -> String {
        JSON.object([("id", id), ("result", result)]).text + "\n"
    }

    /// The reply to a request that failed, with its line end.
    package static func line(id: JSON, error: ControlError) -> String {
        JSON.object([("id", id), ("error", error.json)]).text + "\n"
    }
}

extension JSON {
    /// A parameter that must be a string.
    package func requiredString(_ name: String) throws(ControlError) -> String {
        guard let value = try optionalString(name) else {
            throw ControlError(.parameters, "the parameter \(name) is missing")
        }
        return value
    }

    /// A parameter that may be a string; nil if it is missing or null.
    package func optionalString(_ name: String) throws(ControlError) -> String? {
        switch self[name] {
        case nil, .null?: return nil
        case .string(let value)?: return value
        default: throw ControlError(.parameters, "the parameter \(name) is not a string")
        }
    }

    /// A parameter that must be an integer in `range`.
    package func requiredInteger(_ name: String, in range: ClosedRange<Int>) throws(ControlError) -> Int {
        guard let value = try optionalInteger(name, in: range) else {
            throw ControlError(.parameters, "the parameter \(name) is missing")
        }
        return value
    }

    /// A parameter that may be an integer in `range`; nil if it is missing or null.
    package func optionalInteger(_ name: String, in range: ClosedRange<Int>) throws(ControlError) -> Int? {
        switch self[name] {
        case nil, .null?: return nil
        case .integer(let value)? where range.contains(value): return value
        default:
            throw ControlError(
                .parameters,
                "the parameter \(name) is not an integer from \(range.lowerBound) to \(range.upperBound)")
        }
    }

    /// A parameter that must be a boolean.
    package func requiredBool(_ name: String) throws(ControlError) -> Bool {
        guard let value = self[name]?.bool else {
            throw ControlError(.parameters, "the parameter \(name) is missing, or not true or false")
        }
        return value
    }
}
