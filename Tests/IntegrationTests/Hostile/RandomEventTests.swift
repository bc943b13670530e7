// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing
import VDEPlug

extension IntegrationTests {
    /// A long life in short: guests, clients and the host change in random order, a steady guest keeps its network, and
    /// nothing grows. `make prove` runs it for longer.
    @Suite struct RandomEvents {
        /// What may happen beside the steady guest.
        private enum Event: CaseIterable {
            case guestJoins, guestLeaves, guestStops, guestContinues, guestSendsGarbage
            case clientsSendGarbage, portIsPublished, portIsWithdrawn, egressChanges
            case hostLosesLink, hostLosesRoute, hostReturns
        }

        /// A network in the middle of its life.
        private final class Life {
            let fixture: ControlFixture
            let steady: PlugGuest
            let address: String
            private var visitors: [PlugGuest] = []
            private var stopped: [PlugGuest] = []
            private var published: [String] = []
            private(set) var hasInternet = true
            private var random: SeededGenerator
            private var counter = 0

            init(_ uplink: ControlFixture.Uplink, seed: UInt64) throws {
                fixture = try ControlFixture(uplink.rawValue, internet: true)
                steady = try fixture.guest("steady")
                address = try steady.lease()["ip"] ?? ""
                random = SeededGenerator(seed: seed)
            }

            /// Returns nil if the event is not possible now.
            func happen() throws -> Event? {
                let event = Event.allCases.randomElement(using: &random)!
                counter += 1
                switch event {
                case .guestJoins where visitors.count + stopped.count < 6:
                    let visitor = try fixture.guest("visitor\(counter)")
                    if Bool.random(using: &random) { try visitor.lease() }
                    visitors.append(visitor)
                case .guestLeaves where !visitors.isEmpty: take(&visitors).stop()
                case .guestStops where !visitors.isEmpty:
                    stopped.append(take(&visitors))
                    kill(Signal.stop, stopped.last!)
                case .guestContinues where !stopped.isEmpty:
                    visitors.append(take(&stopped))
                    kill(Signal.resume, visitors.last!)
                case .guestSendsGarbage:
                    let port = try PlugPort(path: fixture.path)
                    for _ in 0..<200 { port.send(random.bytes(Int.random(in: 1...1514, using: &random))) }
                case .clientsSendGarbage:
                    for _ in 0..<20 {
                        let client = try Socket.unixStream()
                        try client.connect(to: UnixPath(fixture.socket))
                        _ = try? client.send(random.bytes(200) + [10])
                    }
                case .portIsPublished where published.count < 8:
                    let port = String(20_000 + counter)
                    try fixture.run("publish", "add", "\(port):\(address):22")
                    published.append(port)
                case .portIsWithdrawn where !published.isEmpty:
                    let port = published.remove(at: Int.random(in: published.indices, using: &random))
                    try fixture.run("publish", "remove", "\(port):\(address):22")
                case .egressChanges:
                    try fixture.run("egress", "deny")
                    try fixture.run("egress", "allow")
                case .hostLosesLink: try setLink("down")
                case .hostLosesRoute where hasInternet:
                    try fixture.host.ip("route", "del", "default")
                    hasInternet = false
                case .hostReturns: try setLink("up")
                default: return nil
                }
                return event
            }

            /// The host has its link and its route again.
            func recover() throws { try setLink("up") }

            /// Ends the visitors and published ports.
            func settle() throws {
                for guest in stopped { kill(Signal.resume, guest) }
                for guest in visitors + stopped { guest.stop() }
                visitors = []
                stopped = []
                for port in published { try fixture.run("publish", "remove", "\(port):\(address):22") }
                published = []
            }

            private func setLink(_ state: String) throws {
                try fixture.host.ip("link", "set", "wan", state)
                hasInternet = state == "up"
                if hasInternet {
                    try fixture.host.ip("route", "replace", "default", "via", TestNetwork.internetAddress)
                }
            }

            private func take(_ guests: inout [PlugGuest]) -> PlugGuest {
                guests.remove(at: Int.random(in: guests.indices, using: &random))
            }

            private func kill(_ signal: Int32, _ guest: PlugGuest) {
                _ = ProcessTable.signal(guest.process, signal)
            }

            /// The steady guest reaches its gateway, and the Internet if the host does.
            func check() throws {
                try eventually("the gateway", within: ampleTime) {
                    try steady.namespace.attempt(["ping", "-c", "1", "-W", "1", gateway]).succeeded
                }
                guard hasInternet else { return }
                try eventually("the Internet", within: ampleTime) {
                    (try? steady.namespace.fetch(TestNetwork.internetAddress)) == "Hello from the Internet"
                }
            }

            var descriptors: Int {
                get throws { try Files.entries("/proc/\(fixture.daemon.program.identifier)/fd").count }
            }

            /// Resident memory, in KiB.
            var memory: Int {
                let text = Files.text("/proc/\(fixture.daemon.program.identifier)/status") ?? ""
                let line = text.split(separator: "\n").first { $0.hasPrefix("VmRSS:") } ?? ""
                return line.split(separator: " ").compactMap { Int($0) }.first ?? 0
            }
        }

        @Test(arguments: ControlFixture.Uplink.allCases)
        func steadyGuestKeepsItsNetwork(uplink: ControlFixture.Uplink) throws {
            let life = try Life(uplink, seed: 17)
            try life.check()
            let descriptors = try life.descriptors, memory = life.memory
            var events: [Event] = []
            do {
                for _ in 0..<Rounds.of(12) {
                    guard let event = try life.happen() else { continue }
                    events.append(event)
                    try life.check()
                }
                try life.recover()
                try life.check()
            } catch {
                Issue.record("\(error) after \(events.suffix(12))")
            }
            if Rounds.factor >= 10 { #expect(Set(events).count == Event.allCases.count) }
            try life.settle()
            // The steady guest's own connections end with their timers.
            try eventually("the descriptors of before", within: 60) { try life.descriptors <= descriptors + 8 }
            #expect(life.memory < memory + 32_768, "KiB, from \(memory)")
            #expect(try life.fixture.run("status", "--json").contains(life.address))
            #expect(try life.fixture.daemon.stop() == .exited(0))
            #expect(try life.fixture.host.run("nft", "list", "ruleset").isEmpty)
        }
    }
}
