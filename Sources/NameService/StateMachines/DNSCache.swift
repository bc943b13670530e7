// SPDX-License-Identifier: Apache-2.0
import Timing
import Wire

/// Responses of resolvers, for as long as their records may be kept. It has no clock.
///
///     response                              kept for
///     with records of the type              the shortest time to live of all its records, one day at most
///     no such name, no such record          as its SOA record has it (RFC 2308 section 5), three hours at most;
///                                           not at all without one
///     truncated, any other response code,   not at all
///     above 4 KiB, with a signature of the
///     transaction
///
/// Queries have the same response if they differ in nothing but the id, the letters' case and the announced length: the
/// flags RD, AD and CD, the presence of EDNS and its flag DO count. Queries with options of EDNS pass by: their
/// responses may depend on the client. A response from here has the letters of the query, the times to live that are
/// left, and no AA.
///
/// Entries are bounded. When the cache is full, the guest with the most behind the port with the most loses its oldest
/// one (`GuestShares`). A hit does not depend on the guest: a guest can find out what others have resolved, as with any
/// resolver that they share.
package struct DNSCache: Sendable {
    /// Seconds for which a response is kept at most.
    private static let longest: UInt32 = 86_400, longestNegative: UInt32 = 10_800
    /// Bytes of the longest response that is kept.
    private static let maximumLength = 4096
    /// Records of a response that is read.
    private static let recordLimit = 256
    /// Types of queries that are no types of records (RFC 6895 section 3.1).
    private static let metaTypes = 128...255 as ClosedRange<UInt16>

    /// What a response depends on.
    package struct Key: Hashable, Sendable {
        fileprivate let bytes: [UInt8]
        /// Where the type of the question is in the query.
        fileprivate let nameEnd: Int

        /// Nil for a query whose response is not kept.
        package init?(_ query: [UInt8]) {
            guard let view = try? DNSView(query.rawSpan), view.operation == 0, view.hasOnlyQuestion,
                let (question, end) = try? view.questionAndEnd(), !DNSCache.metaTypes.contains(question.type)
            else { return nil }
            nameEnd = end - DNSView.typeAndClassLength
            var bytes = Array(query[DNSView.Field.flags..<DNSView.Field.questionCount])
            bytes += query[DNSView.headerLength..<nameEnd].map {
                (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0) ? $0 | 0x20 : $0
            }
            bytes += query[nameEnd..<end]
            if query.count > end {
                guard let flags = ExtendedDNS.codeAndFlags(ofBare: query.rawSpan.from(end)) else { return nil }
                bytes += flags
            }
            self.bytes = bytes
        }
    }

    private struct Entry: Sendable {
        let key: Key
        let message: [UInt8]
        /// Where times to live begin in `message`.
        let timesToLive: [Int]
        let stored: Instant
        let end: Instant
        let guest: DNSGuest
        /// The entry of the same guest that was stored before, and after; nil if there is none.
        var older: Int?
        var newer: Int?
    }

    private let limit: Int
    private var entries: [Entry?] = []
    private var free: [Int] = []
    private var positions: [Key: Int] = [:]
    /// Of each guest, the oldest entry and the newest.
    private var ends: [DNSGuest: (oldest: Int, newest: Int)] = [:]
    private var shares = GuestShares()

    /// - Parameter limit: entries; 0 keeps nothing.
    package init(limit: Int = 1000) { self.limit = limit }

    /// Entries.
    package var count: Int { positions.count }

    /// The response to `query`, with its id; nil if there is none.
    package mutating func response(to query: [UInt8], _ key: Key, now: Instant) -> [UInt8]? {
        guard let position = positions[key], let entry = entries[position] else { return nil }
        guard now < entry.end else {
            remove(position)
            return nil
        }
        var message = entry.message
        message[0] = query[0]
        message[1] = query[1]
        message[DNSView.Field.flags] &= ~UInt8(DNSView.Flags.authoritative >> 8)
        for index in DNSView.headerLength..<key.nameEnd { message[index] = query[index] }
        let elapsed = UInt32(clamping: (now - entry.stored).nanoseconds / 1_000_000_000)
        for offset in entry.timesToLive {
            DNSMessage.put(message.rawSpan.big32(at: offset) &- elapsed, into: &message, at: offset)
        }
        return message
    }

    /// Keeps the response to a query, if it may be kept.
    /// - Parameter guest: in whose share it counts.
    package mutating func store(_ message: [UInt8], _ key: Key, of guest: DNSGuest, now: Instant) {
        guard limit > 0, message.count <= DNSCache.maximumLength, let view = try? DNSView(message.rawSpan),
            !view.isTruncated, let (question, end) = try? view.questionAndEnd(),
            end - DNSView.typeAndClassLength == key.nameEnd,
            let records = try? view.records(limit: DNSCache.recordLimit),
            let seconds = DNSCache.lifetime(view, question, records), seconds > 0
        else { return }
        if let old = positions[key] { remove(old) }
        makeRoom(for: guest)
        var kept = message
        let timed = records.filter { $0.type != DNSType.opt }
        // The SOA record of a negative response has the time to live that is left (RFC 2308 section 5).
        DNSMessage.limitTimesToLive(of: &kept, records: timed.filter { $0.type == DNSType.authority }, to: seconds)
        insert(
            Entry(
                key: key, message: kept, timesToLive: timed.map(\.timeToLiveOffset), stored: now,
                end: now + .seconds(Int64(seconds)), guest: guest))
    }

    /// Removes all entries.
    package mutating func removeAll() { self = DNSCache(limit: limit) }

    /// Seconds for which a response may be kept; nil if it must not be.
    private static func lifetime(
        _ view: DNSView, _ question: DNSQuestion, _ records: [DNSRecordView]
    ) -> UInt32? {
        let code = view.responseCode
        guard code == DNSResponseCode.noError.rawValue || code == DNSResponseCode.nameError.rawValue,
            !records.contains(where: { metaTypes.contains($0.type) })
        else { return nil }
        // A value with the highest bit set stands for zero (RFC 2181 section 8).
        let times = records.lazy.filter { $0.type != DNSType.opt }.map { $0.timeToLive > .max / 2 ? 0 : $0.timeToLive }
        guard let shortest = times.min() else { return nil }
        let isPositive =
            code == DNSResponseCode.noError.rawValue
            && records.contains { $0.section == .answer && $0.type == question.type }
        if isPositive { return min(shortest, longest) }
        guard
            let authority = records.first(where: { $0.section == .authority && $0.type == DNSType.authority }),
            let negative = authority.minimumTimeToLive(in: view.bytes)
        else { return nil }
        return min(shortest, negative, longestNegative)
    }

    // MARK: Entries

    private mutating func makeRoom(for guest: DNSGuest) {
        guard positions.count >= limit, let oldest = ends[shares.victim(for: guest) ?? guest]?.oldest else { return }
        remove(oldest)
    }

    private mutating func insert(_ entry: Entry) {
        let position = free.popLast() ?? entries.count
        if position == entries.count { entries.append(nil) }
        var entry = entry
        entry.older = ends[entry.guest]?.newest
        if let older = entry.older { entries[older]!.newer = position }
        ends[entry.guest] = (ends[entry.guest]?.oldest ?? position, position)
        positions[entry.key] = position
        shares.add(entry.guest)
        entries[position] = entry
    }

    private mutating func remove(_ position: Int) {
        guard let entry = entries[position] else { return }
        if let older = entry.older { entries[older]!.newer = entry.newer }
        if let newer = entry.newer { entries[newer]!.older = entry.older }
        if let own = ends[entry.guest] {
            let oldest = own.oldest == position ? entry.newer : own.oldest
            let newest = own.newest == position ? entry.older : own.newest
            ends[entry.guest] = oldest.flatMap { oldest in newest.map { (oldest, $0) } }
        }
        positions[entry.key] = nil
        shares.remove(entry.guest)
        entries[position] = nil
        free.append(position)
    }
}
