// SPDX-License-Identifier: Apache-2.0
import TestSupport
import Testing
import Wire

@Suite struct DHCPv4Tests {
    private var sample: DHCPv4Message {
        var message = DHCPv4Message(
            isReply: true, transactionID: 0x1234_5678, clientHardware: MACAddress("52:54:00:12:34:56")!)
        message.secondsElapsed = 9
        message.hasBroadcastFlag = true
        message.clientAddress = IPv4Address("192.168.105.9")!
        message.yourAddress = IPv4Address("192.168.105.2")!
        message.nextServer = IPv4Address("192.168.105.1")!
        message.relay = IPv4Address("10.0.0.1")!
        message[.messageType] = [DHCPv4Message.Kind.ack.rawValue]
        message.set(.router, [IPv4Address("192.168.105.1")!])
        message.set(.domainNameServer, [IPv4Address("192.168.105.1")!, IPv4Address("9.9.9.9")!])
        message.set(.leaseTime, seconds: 1800)
        message.set(.interfaceMTU, short: 1500)
        message[.domainName] = Array("example.org".utf8)
        return message
    }

    @Test func messagesRoundTrip() throws {
        let bytes = sample.bytes()
        #expect(bytes.count == 300)
        let parsed = try DHCPv4Message(parsing: bytes.rawSpan)
        #expect(parsed == sample)
        #expect(parsed.kind == .ack)
        #expect(parsed.addresses(.domainNameServer).count == 2)
        #expect(parsed.seconds(.leaseTime) == 1800)
        #expect(parsed.short(.interfaceMTU) == 1500)
    }

    @Test func fieldsLieWhereRFC2131PutsThem() {
        let bytes = sample.bytes()
        #expect(Array(bytes[0..<4]) == [2, 1, 6, 0])
        #expect(Array(bytes[4..<8]) == [0x12, 0x34, 0x56, 0x78])
        #expect(Array(bytes[8..<12]) == [0, 9, 0x80, 0])
        #expect(Array(bytes[12..<16]) == [192, 168, 105, 9])
        #expect(Array(bytes[16..<20]) == [192, 168, 105, 2])
        #expect(Array(bytes[20..<24]) == [192, 168, 105, 1])
        #expect(Array(bytes[24..<28]) == [10, 0, 0, 1])
        #expect(Array(bytes[28..<34]) == [0x52, 0x54, 0, 0x12, 0x34, 0x56])
        #expect(Array(bytes[236..<243]) == [99, 130, 83, 99, 53, 1, 5])
    }

    @Test func everyTruncationIsRefusedOrKeepsWholeOptions() {
        let bytes = sample.bytes()
        for length in 0..<DHCPv4Message.fixedLength {
            #expect(throws: WireError.truncated) { try DHCPv4Message(parsing: bytes.rawSpan.extracting(0..<length)) }
        }
        for length in DHCPv4Message.fixedLength..<bytes.count {
            guard let parsed = try? DHCPv4Message(parsing: bytes.rawSpan.extracting(0..<length)) else { continue }
            for option in parsed.options {
                #expect(sample.options.contains { $0.code == option.code && $0.value == option.value })
            }
        }
    }

    @Test func splitOptionsAreJoined() throws {
        var message = sample
        message[.domainName] = [UInt8](repeating: 0x61, count: 600)
        #expect(try DHCPv4Message(parsing: message.bytes().rawSpan)[.domainName]?.count == 600)
    }

    @Test func overloadedFieldsAreRead() throws {
        var bytes = sample.bytes()
        // Replace the options by: message type, overload of both fields.
        bytes.replaceSubrange(240..., with: [53, 1, 3, 52, 1, 3, 255] + [UInt8](repeating: 0, count: 53))
        bytes.replaceSubrange(108..<114, with: [50, 4, 192, 168, 105, 5])
        bytes[114] = 255
        bytes.replaceSubrange(44..<49, with: [12, 2, 0x76, 0x6d, 255])
        let message = try DHCPv4Message(parsing: bytes.rawSpan)
        #expect(message.kind == .request)
        #expect(message.address(.requestedAddress)?.description == "192.168.105.5")
        #expect(message[.hostName] == Array("vm".utf8))
    }

    @Test func limitOmitsLastOptions() throws {
        var message = sample
        message[.domainName] = [UInt8](repeating: 0x61, count: 400)
        let bytes = message.bytes(limit: 548)
        #expect(bytes.count <= 548)
        let parsed = try DHCPv4Message(parsing: bytes.rawSpan)
        #expect(parsed[.domainName] == nil)
        #expect(parsed.seconds(.leaseTime) == 1800)
    }

    @Test func otherHardwareAndCookiesAreRefused() {
        for (offset, value) in [(0, 3), (1, 6), (2, 16), (236, 0)] as [(Int, UInt8)] {
            var bytes = sample.bytes()
            bytes[offset] = value
            #expect(throws: WireError.badField) { try DHCPv4Message(parsing: bytes.rawSpan) }
        }
    }

    @Test func optionsOfWrongLengthHaveNoValue() throws {
        var message = sample
        message[.leaseTime] = [1, 2, 3]
        message[.router] = [1, 2, 3]
        message[.messageType] = [1, 2]
        let parsed = try DHCPv4Message(parsing: message.bytes().rawSpan)
        #expect(parsed.seconds(.leaseTime) == nil)
        #expect(parsed.address(.router) == nil)
        #expect(parsed.kind == nil)
    }

    @Test func hostileMessagesDoNotTrap() {
        fuzz(sample.bytes()) { bytes in
            guard let message = try? DHCPv4Message(parsing: bytes.rawSpan) else { return }
            _ = (message.kind, message.addresses(.router), message.bytes(limit: 576))
        }
    }
}
