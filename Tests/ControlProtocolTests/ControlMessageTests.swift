// SPDX-License-Identifier: Apache-2.0
import ControlProtocol
import TestSupport
import Testing

@Suite struct ControlMessageTests {
    private func refusal(_ line: String) -> ControlRequest.Refusal? {
        do throws(ControlRequest.Refusal) {
            _ = try ControlRequest(parsing: Array(line.utf8))
            return nil
        } catch {
            return error
        }
    }

    @Test func requestHasIdMethodAndParameters() throws {
        let request = try ControlRequest(parsing: Array(#"{"id":"a","method":"status","params":{"x":1},"y":2}"#.utf8))
        #expect(request.id == .string("a") && request.method == "status" && request.params["x"] == .integer(1))
        let short = try ControlRequest(parsing: Array(#"{"method":"status"}"#.utf8))
        #expect(short.id == .null && short.params == .object([]))
    }

    @Test(arguments: [
        ("garbage", ControlError.Code.parse, JSON.null), ("[]", .request, .null), ("3", .request, .null),
        (#"{"id":1}"#, .request, .integer(1)), (#"{"id":1,"method":2}"#, .request, .integer(1)),
        (#"{"id":[],"method":"status"}"#, .request, .null), (#"{"id":1.5,"method":"status"}"#, .request, .null),
        (#"{"id":7,"method":"status","params":[]}"#, .parameters, .integer(7)),
    ])
    func otherLinesAreRefused(line: String, code: ControlError.Code, id: JSON) {
        let refusal = refusal(line)
        #expect(refusal?.error.code == code && refusal?.id == id)
    }

    @Test func longNamesAreRefused() {
        let long = String(repeating: "x", count: 65)
        #expect(refusal("{\"id\":\"\(long)\",\"method\":\"status\"}")?.error.code == .request)
        #expect(refusal("{\"id\":1,\"method\":\"\(long)\"}")?.error.code == .request)
    }

    @Test func repliesAreLines() {
        #expect(ControlReply.line(id: .integer(1), result: .object([])) == "{\"id\":1,\"result\":{}}\n")
        let refusal = ControlReply.line(id: .null, error: ControlError(.denied, "no\nline"))
        #expect(refusal == "{\"id\":null,\"error\":{\"code\":\"denied\",\"message\":\"no\\nline\"}}\n")
    }

    @Test func parametersAreChecked() throws {
        let params: JSON = .object([("text", .string("a")), ("number", .integer(5)), ("flag", .bool(true))])
        #expect(try params.requiredString("text") == "a")
        #expect(try params.optionalString("none") == nil)
        #expect(try params.requiredInteger("number", in: 1...5) == 5)
        #expect(try params.requiredBool("flag"))
        #expect(throws: ControlError.self) { try params.requiredString("number") }
        #expect(throws: ControlError.self) { try params.requiredInteger("number", in: 6...9) }
        #expect(throws: ControlError.self) { try params.requiredInteger("none", in: 0...9) }
        #expect(throws: ControlError.self) { try params.requiredBool("text") }
    }
}
