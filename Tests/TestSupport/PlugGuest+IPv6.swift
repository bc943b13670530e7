// SPDX-License-Identifier: Apache-2.0
import Wire

extension PlugGuest {
    /// The guest's own address from a router advertisement, as soon as it has one.
    package func address6(within seconds: Double = 15) throws -> IPv6Address {
        var found: IPv6Address?
        try eventually("an address by router advertisement", within: seconds) {
            let words = try namespace.run(
                "ip", "-6", "-o", "addr", "show", "dev", PlugGuest.interface, "scope", "global", "-tentative"
            ).split { $0 == " " || $0 == "/" }
            guard let place = words.firstIndex(of: "inet6"), place + 1 < words.count else { return false }
            found = IPv6Address(words[place + 1])
            return found != nil
        }
        return found!
    }

    /// The address of the default router on the link.
    package func router() throws -> IPv6Address {
        let words = try namespace.run("ip", "-6", "route", "show", "default").split { $0 == " " || $0 == "\n" }
        guard let place = words.firstIndex(of: "via"), place + 1 < words.count,
            let found = IPv6Address(words[place + 1])
        else { throw CommandFailed(description: "no default router: \(words)") }
        return found
    }

    /// Waits for a default route over IPv6, or for its end.
    package func waitForRouter(_ isThere: Bool = true) throws {
        try eventually(isThere ? "a default route over IPv6" : "the end of the default route", within: 15) {
            try namespace.run("ip", "-6", "route", "show", "default").isEmpty != isThere
        }
    }
}
