// SPDX-License-Identifier: Apache-2.0
import TestSupport
import Testing
import Wire

@Suite struct TFTPTests {
    private static let request = TFTPRequest("dir/pxelinux.0", [TFTPOption("blksize", 1432), TFTPOption("tsize", 0)])
    static let messages: [TFTPMessage] = [
        .read(request), .write(TFTPRequest("a")), .data(block: 65_535, [1, 2, 3]), .data(block: 1, []),
        .acknowledgement(block: 0), .error(1, text: Array("no such file".utf8)),
        .optionAcknowledgement([TFTPOption("blksize", 1432)]),
    ]

    @Test(arguments: messages)
    func messageRoundTrips(message: TFTPMessage) throws {
        #expect(try TFTPMessage(parsing: message.bytes.rawSpan) == message)
    }

    @Test func fieldsLieWhereRFC1350PutsThem() {
        #expect(TFTPMessage.read(TFTPRequest("ab")).bytes == [0, 1, 97, 98, 0] + Array("octet".utf8) + [0])
        #expect(TFTPMessage.data(block: 258, [9]).bytes == [0, 3, 1, 2, 9])
        #expect(TFTPMessage.error(2, text: [97]).bytes == [0, 5, 0, 2, 97, 0])
    }

    @Test func everyTruncationIsRefusedOrHasFewerOptions() throws {
        let bytes = TFTPMessage.read(TFTPTests.request).bytes
        let shortest = TFTPMessage.read(TFTPRequest("dir/pxelinux.0")).bytes.count
        for length in 0..<bytes.count {
            let part = bytes.rawSpan.extracting(0..<length)
            guard length >= shortest else {
                #expect(throws: WireError.truncated) { try TFTPMessage(parsing: part) }
                continue
            }
            guard case .read(let request) = try TFTPMessage(parsing: part) else {
                Issue.record("no request")
                continue
            }
            #expect(request.name == TFTPTests.request.name && request.options.count < 2)
        }
    }

    @Test func requestIsReadWithoutRegardToCase() throws {
        let bytes: [UInt8] = [0, 1, 97, 0] + Array("OcTeT".utf8) + [0] + Array("BLKSIZE".utf8) + [0, 0x38, 0, 1, 2]
        guard case .read(let request) = try TFTPMessage(parsing: bytes.rawSpan) else { throw WireError.badField }
        #expect(request.mode == Array("octet".utf8) && request.options == [TFTPOption("blksize", 8)])
    }

    @Test func numbersOfOptionsAreDecimal() {
        #expect(TFTPOption("blksize", 65_464).number == 65_464)
        let request: [UInt8] = [0, 1, 97, 0, 98, 0]
        for value in ["", "-1", "+1", "1x", " 1", "9999999999999999999"] {
            let bytes = request + Array("blksize".utf8) + [0] + Array(value.utf8) + [0]
            guard case .read(let parsed)? = try? TFTPMessage(parsing: bytes.rawSpan) else { continue }
            #expect(parsed.options.allSatisfy { $0.number == nil }, "\(value)")
        }
    }

    @Test func tooLongRequestIsRefused() {
        let bytes = TFTPMessage.read(TFTPRequest(String(repeating: "a", count: 600))).bytes
        #expect(throws: WireError.badLength) { try TFTPMessage(parsing: bytes.rawSpan) }
    }

    @Test func hostileMessagesDoNotTrap() {
        for message in TFTPTests.messages {
            fuzz(message.bytes, rounds: 5000) { bytes in
                guard let parsed = try? TFTPMessage(parsing: bytes.rawSpan) else { return }
                #expect((try? TFTPMessage(parsing: parsed.bytes.rawSpan)) == parsed)
            }
        }
    }
}
