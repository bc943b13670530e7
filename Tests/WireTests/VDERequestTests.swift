// SPDX-License-Identifier: Apache-2.0
import TestSupport
import Testing
import Wire

@Suite struct VDERequestTests {
    private let path = Array("/tmp/vde/.4711-00000".utf8)

    @Test func linuxLayoutIsThatOfTheReference() throws {
        let request = VDERequest(kind: .newControl(port: 3), path: path, description: "QEMU user=me")
        let bytes = try #require(request.encode(.linux))
        #expect(bytes.count == 122 + 12)
        #expect(Array(bytes[0..<12]) == [0xce, 0xfa, 0xed, 0xfe, 3, 0, 0, 0, 0, 3, 0, 0])
        #expect(Array(bytes[12..<14]) == [1, 0])
        #expect(Array(bytes[14..<14 + path.count]) == path)
        #expect(Array(bytes[122...]) == Array("QEMU user=me".utf8))
    }

    @Test func darwinLayoutIsFourBytesShorter() throws {
        let request = VDERequest(kind: .newPort0, path: path, description: "x")
        let bytes = try #require(request.encode(.darwin))
        #expect(bytes.count == 118 + 1)
        #expect(Array(bytes[8..<14]) == [1, 0, 0, 0, 0, 1])
    }

    @Test(arguments: [UnixAddressLayout.linux, .darwin])
    func requestsRoundTrip(layout: UnixAddressLayout) throws {
        for kind in [VDERequest.Kind.newControl(port: 0), .newControl(port: 0xff_ffff), .newPort0] {
            for description in ["", "a guest", String(repeating: "x", count: 127)] {
                let request = VDERequest(kind: kind, path: path, description: description)
                let bytes = try #require(request.encode(layout))
                #expect(bytes.count <= 256)
                #expect(try VDERequest(parsing: bytes.rawSpan, layout: layout) == request)
                for length in 0..<12 + layout.length {
                    #expect(throws: WireError.truncated) {
                        try VDERequest(parsing: bytes.rawSpan.extracting(0..<length), layout: layout)
                    }
                }
            }
        }
    }

    @Test func longDescriptionsAreCutAtACharacter() throws {
        let request = VDERequest(kind: .newPort0, path: path, description: String(repeating: "é", count: 100))
        let bytes = try #require(request.encode(.linux))
        #expect(bytes.count == 122 + 126)
        #expect(try VDERequest(parsing: bytes.rawSpan, layout: .linux).description == String(repeating: "é", count: 63))
    }

    @Test func pathsThatDoNotFitAreRefused() {
        for (layout, limit) in [(UnixAddressLayout.linux, 107), (.darwin, 103)] {
            #expect(
                VDERequest(kind: .newPort0, path: [UInt8](repeating: 0x61, count: limit), description: "").encode(
                    layout) != nil)
            #expect(
                VDERequest(kind: .newPort0, path: [UInt8](repeating: 0x61, count: limit + 1), description: "").encode(
                    layout) == nil)
            #expect(VDERequest(kind: .newPort0, path: [], description: "").encode(layout) == nil)
        }
    }

    @Test func wrongMagicVersionAndKindAreRefused() throws {
        let good = try #require(VDERequest(kind: .newControl(port: 0), path: path, description: "").encode(.linux))
        for (offset, value, error) in [
            (0, 0, WireError.badField), (4, 2, .badVersion), (4, 4, .badVersion), (8, 2, .badField), (12, 2, .badField),
        ] as [(Int, UInt8, WireError)] {
            var bytes = good
            bytes[offset] = value
            #expect(throws: error) { try VDERequest(parsing: bytes.rawSpan, layout: .linux) }
        }
        fuzz(good) { _ = try? VDERequest(parsing: $0.rawSpan, layout: .linux) }
        fuzz(good) { _ = try? VDERequest(parsing: $0.rawSpan, layout: .darwin) }
    }

    @Test func repliesNameASocket() throws {
        let reply = try #require(UnixAddressLayout.linux.encode(path: Array("/tmp/vde/001.7".utf8)))
        #expect(reply.count == 110)
        #expect(try UnixAddressLayout.linux.decodePath(reply.rawSpan) == Array("/tmp/vde/001.7".utf8))
        #expect(throws: WireError.badField) {
            try UnixAddressLayout.linux.decodePath([UInt8](repeating: 0, count: 110).rawSpan)
        }
        #expect(throws: WireError.truncated) {
            try UnixAddressLayout.linux.decodePath(reply.rawSpan.extracting(0..<109))
        }
    }

    @Test func abstractSocketNamesAreKeptWhole() throws {
        var bytes = [UInt8](repeating: 0, count: 110)
        bytes[0] = 1
        bytes[3] = 0x61
        #expect(try UnixAddressLayout.linux.decodePath(bytes.rawSpan).count == 108)
    }
}
