// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Timing
import Wire

/// The form in which leases are kept in a file: a line each, appended whenever a lease changes; of several lines on one
/// address, or for one client, the last counts. Text, so that it can be read, with a checksum at the end of each line,
/// so that damage is noticed.
///
///     vde_vmnet leases 1
///     192.168.105.2 52:54:00:12:34:56 01525400123456 1790000000 76656e7573 #5d0c11aa
///
/// Fields: address, hardware address, client identifier, end in seconds since 1970, host name (both in hexadecimal, `-`
/// if empty). A sixth field follows where the client holds a name: that name, as text.
package enum LeaseJournal {
    package static let header = "vde_vmnet leases 1\n"

    /// A lease whose end is in seconds since 1970.
    package struct Record: Equatable, Sendable {
        package var lease: Lease
        package var ends: Int64

        package init(lease: Lease, ends: Int64) {
            self.lease = lease
            self.ends = ends
        }
    }

    package static func line(for record: Record) -> String {
        let lease = record.lease
        let body =
            "\(lease.address) \(lease.hardware) \(hexadecimal(lease.client.bytes)) \(record.ends) \(hexadecimal(Array(lease.hostName.utf8)))"
        // Without a name the line is as it was before there were names, so that earlier versions can read it.
        let full = lease.name.map { "\(body) \($0)" } ?? body
        return "\(full) #\(checksum(full))\n"
    }

    package struct Contents: Equatable, Sendable {
        package var records: [Record] = []
        /// Lines that are not as they were written. A last line without its end is not among them: that is how a crash
        /// leaves a file.
        package var damagedLines = 0
        /// The header is missing or of another version.
        package var isForeign = false

        package init() {}
    }

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

    /// The leases that records come to, in the order in which they were written: of several on one address, or for one
    /// client, the last counts.
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
        guard let mark = text.firstRange(of: " #") else { return nil }
        let body = String(text[..<mark.lowerBound])
        guard text[mark.upperBound...] == checksum(body) else { return nil }
        let fields = body.split(separator: " ", omittingEmptySubsequences: false)
        guard (5...6).contains(fields.count), let address = IPv4Address(fields[0]),
            let hardware = MACAddress(fields[1]),
            let client = bytes(fields[2]),
            let ends = Int64(fields[3]), let name = bytes(fields[4])
        else { return nil }
        // The checksum is right, so a text that is no name now was one to another version.
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

    /// FNV-1a, 32 bits: guards against accidents, not against malice.
    private static func checksum(_ text: String) -> String {
        var hash: UInt32 = 0x811c_9dc5
        for byte in text.utf8 { hash = (hash ^ UInt32(byte)) &* 0x0100_0193 }
        return Wire.hexadecimal(hash, digits: 8)
    }
}
