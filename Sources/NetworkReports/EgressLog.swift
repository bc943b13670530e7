// SPDX-License-Identifier: Apache-2.0
import DHCPService
import EventLoop
import Logging
import NameService
import NetworkModel
import Platform
import Timing
import Uplink
import Wire

/// Logs what the egress policy refuses: each refusal once a minute, ten lines a minute for each guest, and one with the
/// number of further ones.
struct EgressLog {
    private static let window = TimeAmount.minutes(1)
    private static let linesPerGuest = 10
    /// Lines of all guests in a window, and guests that are counted. A guest may forge hardware addresses.
    private static let lines = 600, guestLimit = 1024

    private struct Guest {
        /// Those that were logged in this window.
        var logged: Set<EgressRefusal> = []
        /// Those that were not.
        var further = 0
    }

    private let logger: Logger
    private var guests: [MACAddress?: Guest] = [:]
    private var logged = 0
    private var windowEnd = Instant.distantPast

    init(logger: Logger) { self.logger = logger }

    /// - Parameter label: names a guest.
    mutating func log(
        _ refusals: [EgressRefusal], _ further: [MACAddress?: Int], now: Instant, label: (MACAddress) -> String?
    ) {
        if now >= windowEnd {
            end(label: label)
            windowEnd = now + EgressLog.window
        }
        for refusal in refusals {
            guard guests.count < EgressLog.guestLimit || guests[refusal.hardware] != nil else { continue }
            var guest = guests[refusal.hardware] ?? Guest()
            if guest.logged.contains(refusal) { continue }
            if guest.logged.count < EgressLog.linesPerGuest, logged < EgressLog.lines {
                guest.logged.insert(refusal)
                logged += 1
                logger.notice("egress refused: \(EgressLog.text(refusal, label))")
            } else {
                guest.further += 1
            }
            guests[refusal.hardware] = guest
        }
        for (hardware, count) in further where guests[hardware] != nil { guests[hardware]!.further += count }
    }

    /// Logs how many refusals were not logged since the last call.
    mutating func end(label: (MACAddress) -> String?) {
        for (hardware, guest) in guests where guest.further > 0 {
            let times = guest.further == 1 ? "once more" : "\(guest.further) further times"
            logger.notice("egress refused: \(times) to \(EgressLog.name(hardware, label))")
        }
        (guests, logged) = ([:], 0)
    }

    /// The guest, and what it may not reach.
    static func text(_ refusal: EgressRefusal, _ label: (MACAddress) -> String?) -> String {
        let name = refusal.name.map { PrintableText.line($0) }
        var text = "\(EgressLog.name(refusal.hardware, label)): "
        if refusal.transport == "dns" {
            text += "the name \(name ?? "?")"
            if let address = refusal.address { text += ", which leads to \(address)" }
            return text
        }
        text += "\(refusal.transport) to \(refusal.address.map { "\($0)" } ?? "?")"
        if let port = refusal.port { text += " port \(port)" }
        if let name { text += " (\(name))" }
        if let reason = refusal.reason { text += ": \(reason)" }
        return text
    }

    private static func name(_ hardware: MACAddress?, _ label: (MACAddress) -> String?) -> String {
        guard let hardware else { return "an unknown guest" }
        return label(hardware).map { "\(hardware) (\($0))" } ?? "\(hardware)"
    }
}
