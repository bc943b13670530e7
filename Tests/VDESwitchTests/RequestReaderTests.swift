// SPDX-License-Identifier: Apache-2.0
import TestSupport
import Testing
import VDESwitch
import Wire

@Suite struct RequestReaderTests {
    private let path = Array("/tmp/vde/.4711-00000".utf8)

    private func request(_ description: String = "a guest", port: Int = 3) -> [UInt8] {
        VDERequest(kind: .newControl(port: port), path: path, description: description).encode()!
    }

    private func taken(_ bytes: [UInt8]) -> RequestReader.Outcome {
        var reader = RequestReader()
        return reader.take(bytes)
    }

    @Test func requestInOnePieceIsComplete() {
        #expect(
            taken(request()) == .complete(VDERequest(kind: .newControl(port: 3), path: path, description: "a guest")))
        #expect(taken(request("")) == .complete(VDERequest(kind: .newControl(port: 3), path: path, description: "")))
    }

    @Test(arguments: [1, 3, 50, 121, 122, 125])
    func requestInPiecesIsAssembled(first: Int) {
        let bytes = request()
        var reader = RequestReader()
        let half = reader.take(Array(bytes[..<first]))
        if first < 12 + UnixAddressLayout.native.length { #expect(half == .incomplete) }
        #expect(reader.take(Array(bytes[first...])) == .settling)
        #expect(
            reader.finish() == .complete(VDERequest(kind: .newControl(port: 3), path: path, description: "a guest")))
    }

    @Test func invalidRequestIsDetectedEarly() {
        guard case .invalid(let magic) = taken([1, 2, 3, 4]),
            case .invalid(let version) = taken(Array(request()[..<4]) + [2, 0, 0, 0])
        else {
            Issue.record("accepted")
            return
        }
        #expect(magic.contains("not a VDE request"))
        #expect(version.contains("version"))
        #expect(taken([0xce, 0xfa]) == .incomplete)
    }

    @Test func versionOneIsParsed() {
        let address = UnixAddressLayout.native.encode(path: path)!
        for (type, kind) in [(UInt8(0), VDERequest.Kind.newControl(port: 0)), (1, .newPort0)] {
            let bytes = request()[..<4] + [type, 0, 0, 0] + [2, 0, 0, 0, 0, 1] + address + Array("old".utf8)
            #expect(taken(Array(bytes)) == .complete(VDERequest(kind: kind, path: path, description: "old")))
            for length in 8..<14 + address.count { #expect(taken(Array(bytes.prefix(length))) == .incomplete) }
        }
    }

    @Test func descriptionsArePrintable() {
        guard case .complete(let request) = taken(request() + Array("\n.\n1000 Success\u{1b}[2J\u{7f}".utf8)) else {
            Issue.record("refused")
            return
        }
        #expect(request.description == "a guest?.?1000 Success?[2J?")
        // One of 300 bytes is cut, and one with a zero ends there.
        guard case .complete(let long) = taken(self.request() + [UInt8](repeating: 0x78, count: 300)),
            case .complete(let zero) = taken(self.request() + [0, 0x78])
        else {
            Issue.record("refused")
            return
        }
        #expect(long.description.utf8.count == 127)
        #expect(zero.description == "a guest")
    }

    @Test func requestLengthIsBounded() {
        var reader = RequestReader()
        var outcome = RequestReader.Outcome.incomplete
        var sent = 0
        while sent < 100_000, reader.room > 0 {
            outcome = reader.take(request() + [UInt8](repeating: 0x78, count: min(reader.room, 200)))
            sent += 200
            if case .invalid = outcome { break }
        }
        guard case .invalid = outcome else {
            Issue.record("\(outcome)")
            return
        }
    }

    @Test func randomBytesDoNotCrash() {
        fuzz(request()) { bytes in
            var reader = RequestReader()
            for piece in stride(from: 0, to: bytes.count, by: 40) {
                if case .invalid = reader.take(Array(bytes[piece..<min(bytes.count, piece + 40)])) { return }
            }
            _ = reader.finish()
        }
    }
}

@Suite struct SwitchAccessTests {
    /// The table of vde_switch's rules.
    @Test(
        arguments: [
            (nil, nil, 0o2700, 0o600), (0o660, nil, 0o2770, 0o660), (0o666, nil, 0o2777, 0o666),
            (0o600, nil, 0o2700, 0o600), (0o640, nil, 0o2750, 0o640), (nil, 0o755, 0o755, 0o644),
            (nil, 0o2770, 0o2770, 0o660), (0o600, 0o711, 0o711, 0o600), (0o622, nil, 0o2733, 0o622),
        ] as [(UInt16?, UInt16?, UInt16, UInt16)])
    func modesFollowFromEachOther(mode: UInt16?, directoryMode: UInt16?, directory: UInt16, control: UInt16) {
        let access = SwitchAccess(mode: mode, directoryMode: directoryMode)
        #expect(access.effectiveDirectoryMode == directory)
        #expect(access.controlMode == control)
    }
}
