// SPDX-License-Identifier: Apache-2.0
import DHCPService
import NetworkModel
import TestSupport
import Testing
import Timing
import Wire

@Suite struct LeaseJournalTests {
    private let records = [
        LeaseJournal.Record(
            lease: Lease(
                address: IPv4Address("192.168.105.2")!, client: ClientIdentity(bytes: [255, 0, 1, 2]),
                hardware: MACAddress("52:54:00:12:34:56")!, hostName: "venus", expires: .distantPast),
            ends: 1_790_000_000),
        LeaseJournal.Record(
            lease: Lease(
                address: IPv4Address("192.168.105.3")!, client: ClientIdentity(hardware: MACAddress(7)),
                hardware: MACAddress(7), hostName: "", expires: .distantPast),
            ends: -5),
        LeaseJournal.Record(
            lease: Lease(
                address: IPv4Address("192.168.105.4")!, client: ClientIdentity(hardware: MACAddress(8)),
                hardware: MACAddress(8), hostName: "Mars", name: GuestName("mars"), expires: .distantPast),
            ends: 1_790_000_001),
    ]

    private var text: [UInt8] { Array((LeaseJournal.header + records.map(LeaseJournal.line).joined()).utf8) }

    @Test func recordsRoundTrip() {
        let contents = LeaseJournal.parse(text)
        #expect(contents.records == records)
        #expect(contents.damagedLines == 0 && !contents.isForeign)
    }

    @Test func emptyFileHasNoRecords() {
        #expect(LeaseJournal.parse([]) == LeaseJournal.Contents())
        #expect(LeaseJournal.parse(Array(LeaseJournal.header.utf8)).records.isEmpty)
    }

    @Test func incompleteLastLineIsNotDamage() {
        let last = text.dropLast().lastIndex(of: UInt8(ascii: "\n"))! + 1
        for cut in last..<text.count {
            let contents = LeaseJournal.parse(Array(text[..<cut]))
            #expect(contents.records == Array(records.dropLast()) && contents.damagedLines == 0)
        }
    }

    /// A file of a version without names is read, and a lease without a name is written as that version did.
    @Test func fileWithoutNamesIsRead() {
        let file = """
            vde_vmnet leases 1
            192.168.105.2 52:54:00:12:34:56 ff000102 1790000000 76656e7573 #cd66c1a6
            192.168.105.3 00:00:00:00:00:07 01000000000007 -5 - #e15feb4d

            """
        let contents = LeaseJournal.parse(Array(file.utf8))
        #expect(contents.records == Array(records.dropLast()) && contents.damagedLines == 0 && !contents.isForeign)
        #expect(LeaseJournal.header + records.dropLast().map(LeaseJournal.line).joined() == file)
        #expect(
            LeaseJournal.line(for: records[2])
                == "192.168.105.4 00:00:00:00:00:08 01000000000008 1790000001 4d617273 mars #3e63089e\n")
    }

    /// Another number of fields is damage, whatever the checksum.
    @Test func lineWithAFieldTooManyIsDamaged() {
        let line = LeaseJournal.line(for: records[2])
        for body in [line.dropLast(11) + " x", line.dropLast(11).dropLast(10)] {
            var hash: UInt32 = 0x811c_9dc5
            for byte in body.utf8 { hash = (hash ^ UInt32(byte)) &* 0x0100_0193 }
            let text = LeaseJournal.header + body + " #" + hexadecimal(hash, digits: 8) + "\n"
            #expect(LeaseJournal.parse(Array(text.utf8)).damagedLines == 1, "\(text)")
        }
    }

    @Test func checksumDetectsEveryChangedByte() {
        let first = LeaseJournal.header.utf8.count
        for index in first..<text.count - 1 {
            var bytes = text
            bytes[index] ^= 0x01
            let contents = LeaseJournal.parse(bytes)
            #expect(contents.damagedLines > 0, "byte \(index)")
            #expect(contents.records.allSatisfy { records.contains($0) })
        }
    }

    /// A client that has moved to an address with a shorter lease stays there, whatever its old lease would have
    /// lasted.
    @Test func lastLineCounts() {
        func record(_ last: Int, _ client: UInt64, _ ends: Int64) -> LeaseJournal.Record {
            LeaseJournal.Record(
                lease: Lease(
                    address: ip(last), client: ClientIdentity(hardware: MACAddress(client)),
                    hardware: MACAddress(client), hostName: "", expires: .distantPast), ends: ends)
        }
        let moved = [record(2, 1, 900), record(3, 1, 300)]
        #expect(LeaseJournal.settled(moved) == [record(3, 1, 300)])
        let given = [record(2, 1, 900), record(2, 2, 300), record(3, 1, 100)]
        #expect(LeaseJournal.settled(given) == [record(3, 1, 100), record(2, 2, 300)])
        // An address that another has got does not come back to its client.
        let lost = [record(2, 1, 900), record(2, 2, 300)]
        #expect(LeaseJournal.settled(lost) == [record(2, 2, 300)])
    }

    @Test func filesOfOtherFormatAreForeign() {
        #expect(LeaseJournal.parse(Array("vde_vmnet leases 2\n".utf8)).isForeign)
        #expect(LeaseJournal.parse([0, 1, 2, 3]).isForeign)
        fuzz(text, rounds: 5000) { _ = LeaseJournal.parse($0) }
    }
}
