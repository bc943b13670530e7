// SPDX-License-Identifier: Apache-2.0
import NetworkModel
import Wire

/// The contents of `/etc/hosts` (hosts(5)), as far as they concern guests: addresses of the host itself are left out,
/// because a guest would reach itself at them.
package struct HostsTable: Equatable, Sendable {
    /// Bytes of the longest file.
    package static let maximumLength = 1 << 20
    /// Names in the table, and addresses of one name.
    private static let maximumNames = 32_768, maximumAddresses = 16

    private var addresses: [DNSName: [DNSReverseName.Address]] = [:]
    private var names: [DNSReverseName.Address: DNSName] = [:]

    /// An empty table.
    package init() {}

    /// Lines that are no address with names are skipped, as are names that exceed the bounds.
    package init(parsing text: [UInt8]) {
        for line in text.prefix(HostsTable.maximumLength).split(separator: UInt8(ascii: "\n")) {
            let words = line.prefix { $0 != UInt8(ascii: "#") }.split(whereSeparator: HostsTable.isSpace)
            guard words.count >= 2, let address = HostsTable.address(words[0]) else { continue }
            for word in words.dropFirst() {
                guard let name = HostsTable.name(word) else { continue }
                add(address, name)
            }
        }
        collectGuestNames()
    }

    /// Names with at least one address.
    package var count: Int { addresses.count }

    private mutating func add(_ address: DNSReverseName.Address, _ name: DNSName) {
        let before = addresses[name] ?? []
        guard !before.isEmpty || addresses.count < HostsTable.maximumNames else { return }
        if !before.contains(address), before.count < HostsTable.maximumAddresses {
            addresses[name, default: []].append(address)
        }
        // The first name is the canonical one.
        if names[address] == nil { names[address] = name }
    }

    private static func isSpace(_ byte: UInt8) -> Bool {
        byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") || byte == UInt8(ascii: "\r")
    }

    /// An address that guests can reach; nil for one that stands for the host itself or for none.
    private static func address(_ word: ArraySlice<UInt8>) -> DNSReverseName.Address? {
        let text = String(decoding: word, as: UTF8.self)
        if let address = IPv4Address(text) {
            return address.isLoopback || address == .any || address.isMulticastOrBroadcast ? nil : .ipv4(address)
        }
        guard let address = IPv6Address(text), !address.isLoopback, address != .unspecified, !address.isMulticast,
            !address.isLinkLocal
        else { return nil }
        return .ipv6(address)
    }

    private static func name(_ word: ArraySlice<UInt8>) -> DNSName? {
        let isPlain = word.allSatisfy { (0x21...0x7e).contains($0) }
        return isPlain ? DNSName(String(decoding: word, as: UTF8.self)) : nil
    }

    /// IPv4 addresses of the names without a domain that a guest could have; none for a name with IPv6 addresses only.
    package private(set) var guestNames: [GuestName: [IPv4Address]] = [:]

    private mutating func collectGuestNames() {
        for (name, found) in addresses where name.labels.count == 1 {
            guard let guest = GuestName(String(decoding: name.labels[0], as: UTF8.self)) else { continue }
            guestNames[guest] = found.compactMap { address -> IPv4Address? in
                guard case .ipv4(let address) = address else { return nil }
                return address
            }
        }
    }

    /// The answer to a question; nil if the table has no record of the name, or the question is for other types than
    /// addresses and names.
    package func answer(_ question: DNSQuestion) -> LocalAnswer? {
        guard question.recordClass == DNSQuestion.internet else { return nil }
        switch question.type {
        case DNSType.a, DNSType.aaaa:
            guard let found = addresses[question.name] else { return nil }
            return .records(found.map(HostsTable.record).filter { $0.type == question.type })
        case DNSType.pointer:
            guard let reverse = DNSReverseName(question.name), reverse.isExact, let name = names[reverse.address] else {
                return nil
            }
            return .records([DNSRecord(pointer: name)])
        default: return nil
        }
    }

    private static func record(_ address: DNSReverseName.Address) -> DNSRecord {
        switch address {
        case .ipv4(let address): DNSRecord(address)
        case .ipv6(let address): DNSRecord(address)
        }
    }
}
