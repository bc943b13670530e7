// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Timing
import Wire

/// The format of the lease file: a line for each change of a lease, appended. The last line for an address, and for a
/// client, counts. It is text, so that an operator can read it; a checksum at the end of each line detects damage.
///
///     vde_vmnet leases 1
///     192.168.105.2 52:54:00:12:34:56 01525400123456 1790000000 76656e7573 #5d0c11aa
///
/// Fields: address, hardware address, client identifier, end in seconds since 1970, host name (both in hexadecimal, `-`
/// if empty). A sixth field follows if the client holds a name: the name as text.
package enum LeaseJournal {
    /// The first line of the file.
    package static let header = "vde_vmnet leases 1\n"

    /// A lease and its end on the wall clock.
    package struct Record: Equatable, Sendable {
        /// Its `expires` is not part of the file.
        package var lease: Lease
        /// Seconds since 1970.
        package var ends: Int64

        /// A record to write.
        package init(lease: Lease, ends: Int64) {
            self.lease = lease
            self.ends = ends
        }
    }

    /// The line for a record, with its line feed.
    package static func line(for record: Record) -> String {
        let lease = record.lease
        let body =
            "\(lease.address) \(lease.hardware) \(hexadecimal(lease.client.bytes)) \(record.ends) "
            + "\(hexadecimal(Array(lease.hostName.utf8)))"
        // A line without a name has the form of earlier versions, so that they can read it.
        let full = lease.name.map { "\(body) \($0)" } ?? body
        return "\(full) #\(checksum(full))\n"
    }

    /// The result of parsing a file.
    package struct Contents: Equatable, Sendable {
        /// The valid lines in their order.
        package var records: [Record] = []
        /// Lines with a wrong checksum or form. A last line without a line feed is not counted: a crash while it was
        /// written leaves it.
        package var damagedLines = 0
        /// The header is missing or belongs to another version.
        package var isForeign = false

        /// The contents of an empty file.
        package init() {}
    }

    /// The records of a file. A file that cannot be parsed at all is reported as foreign.
    package static func parse(_ bytes: [UInt8]) -> Contents {
        var contents = Contents()
        guard !bytes.isEmpty else { return contents }
        guard bytes.starts(with: Array(header.utf8)) else {
            contents.isForeign = true
            return contents
        }
        let end = bytes.lastIndex(of: UInt8(ascii: "\n"))! + 1
        for line in bytes[header.utf8.count..<end].split(separator: UInt8(ascii: "\n")) {
            if let record = parse(line: line) { contents.records.append(record) } else { contents.damagedLines += 1 }
        }
        return contents
    }

    /// The last record of each address and each client, sorted by the end of the lease.
    package static func settled(_ records: [Record]) -> [Record] {
        var byAddress: [IPv4Address: Record] = [:]
        var addresses: [ClientIdentity: IPv4Address] = [:]
        for record in records {
            let address = record.lease.address, client = record.lease.client
            if let before = addresses[client], before != address { byAddress[before] = nil }
            if let other = byAddress[address]?.lease.client, other != client { addresses[other] = nil }
            byAddress[address] = record
            addresses[client] = address
        }
        return byAddress.values.sorted { ($0.ends, $0.lease.address) < ($1.ends, $1.lease.address) }
    }

    private static func parse(line: ArraySlice<UInt8>) -> Record? {
        let text = String(decoding: line, as: UTF8.self)
        guard let mark = text.firstRange(ofText: " #") else { return nil }
        let body = String(text[..<mark.lowerBound])
        guard text[mark.upperBound...] == checksum(body) else { return nil }
        let fields = body.split(separator: " ", omittingEmptySubsequences: false)
        guard (5...6).contains(fields.count), let address = IPv4Address(fields[0]),
            let hardware = MACAddress(fields[1]),
            let client = bytes(fields[2]),
            let ends = Int64(fields[3]), let name = bytes(fields[4])
        else { return nil }
        // The checksum is right: another version accepted this text as a name.
        let held = fields.count == 6 ? GuestName(fields[5]) : nil
        let lease = Lease(
            address: address, client: ClientIdentity(bytes: client), hardware: hardware,
            hostName: String(decoding: name, as: UTF8.self), name: held, expires: .distantPast)
        return Record(lease: lease, ends: ends)
    }

    private static func hexadecimal(_ bytes: [UInt8]) -> String {
        bytes.isEmpty ? "-" : bytes.map { Wire.hexadecimal($0, digits: 2) }.joined()
    }

    private static func bytes(_ text: Substring) -> [UInt8]? {
        if text == "-" { return [] }
        let digits = Array(text.utf8)
        guard digits.count % 2 == 0 else { return nil }
        var bytes: [UInt8] = []
        for index in stride(from: 0, to: digits.count, by: 2) {
            guard let byte = UInt8(String(decoding: digits[index..<index + 2], as: UTF8.self), radix: 16) else {
                return nil
            }
            bytes.append(byte)
        }
        return bytes
    }

    /// FNV-1a, 32 bits: detects accidental damage, not forgery.
    private static func checksum(_ text: String) -> String {
        var hash: UInt32 = 0x811c_9dc5
        for byte in text.utf8 { hash = (hash ^ UInt32(byte)) &* 0x0100_0193 }
        return Wire.hexadecimal(hash, digits: 8)
    }
}
