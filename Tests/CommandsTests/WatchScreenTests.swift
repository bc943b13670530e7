// SPDX-License-Identifier: Apache-2.0
import Testing
import Wire

@testable import Commands

@Suite struct WatchScreenTests {
    /// Ports of guests, the first one the uplink; `load` is the last rate of each.
    private func ports(_ count: Int, load: (Int) -> Double = { _ in 0 }) -> [WatchScreen.Port] {
        (0..<count).map { number in
            WatchScreen.Port(
                name: number == 0 ? "uplink" : "\(number)",
                guest: number == 0
                    ? ("96:4d:6e:b0:47:de", "96:4d:6e:b0:47:de")
                    : ("guest\(number) 192.168.105.\(number) 52:54:00:00:00:09", "guest\(number)"),
                rate: StatusView.Rate(fromClient: load(number), toClient: 2 * load(number)), queue: number,
                drops: (number == 2 ? "12 isolated, 3 queue" : "", number == 2 ? 15 : 0),
                history: [load(number)], client: "QEMU user=root pid=\(number)")
        }
    }

    private static let facts = [
        "network       lab of root, process 9171, up 4s", "switch        /run/vde/lab", "uplink        tap vmnet0",
        "gateway       192.168.105.1 on 192.168.105.0/24", "resolvers     203.0.113.1:53",
        "DHCP          192.168.105.2 to 192.168.105.254, 3 of 253 leased",
    ]

    private func screen(
        _ rows: Int, _ columns: Int, _ ports: [WatchScreen.Port], further: [String] = [], hasColours: Bool = false
    ) -> [String] {
        let text = WatchScreen(hasColours: hasColours, rows: rows, columns: columns).text(
            facts: WatchScreenTests.facts, ports: ports, further: further)
        #expect(text.hasSuffix("\n"))
        return text.split(separator: "\n", omittingEmptySubsequences: false).dropLast().map(String.init)
    }

    @Test func wideTerminalHasAllColumns() {
        let lines = screen(40, 200, ports(3) { Double($0) * 500_000 }, further: ["", "LEASE", "192.168.105.1"])
        #expect(Array(lines.prefix(6)) == WatchScreenTests.facts)
        let table = """
            PORT    GUEST                                            IN          OUT  QUEUE  DROPS                 LOAD
            uplink  96:4d:6e:b0:47:de                           0 bit/s      0 bit/s      0
            1       guest1 192.168.105.1 52:54:00:00:00:09   500 kbit/s   1.0 Mbit/s      1
            2       guest2 192.168.105.2 52:54:00:00:00:09   1.0 Mbit/s   2.0 Mbit/s      2  12 isolated, 3 queue
            """.split(separator: "\n").map(String.init)
        let ends = ["█=1.0 Mbit/s         CLIENT", "", "▅  QEMU user=root pid=1", "█  QEMU user=root pid=2"]
        for (line, (start, end)) in zip(lines[7...], zip(table, ends)) {
            #expect(line.hasPrefix(start) && line.hasSuffix(end), "\(line)")
        }
        // The graphs and the clients are one below the other.
        let places = lines[8..<11].map { line in line.split(separator: "Q").first?.count }
        #expect(Set(places).count == 1, "\(lines)")
        #expect(lines[11...] == ["", "LEASE", "192.168.105.1"])
    }

    /// The graph, the rates and the guest are there, on a terminal of usual width and on a narrow one.
    @Test func narrowTerminalKeepsWhatMattersMost() {
        let usual = screen(24, 80, ports(3) { Double($0) * 500_000 })
        #expect(usual[7].hasPrefix("PORT    GUEST") && usual[7].contains("DROPS") && usual[7].contains("LOAD"))
        #expect(usual[9].contains("guest1") && usual[9].contains("500 kbit/s") && usual[9].hasSuffix("▅"))
        let narrow = screen(24, 40, ports(3) { Double($0) * 500_000 })
        #expect(narrow[7].hasPrefix("PORT    GUEST") && narrow[7].hasSuffix("OUT"))
        #expect(narrow[9].contains("guest1") && narrow[9].contains(" 500k   1.0M"))
    }

    @Test(arguments: [1, 2, 3, 5, 10, 24, 40, 60], [1, 10, 40, 60, 80, 120, 300])
    func everySizeIsKept(rows: Int, columns: Int) {
        for count in [0, 1, 2, 30] {
            for further in [[], ["", "PUBLISHED  LEADS TO"] + Array(repeating: "8080:web:80/tcp", count: 9)] {
                let lines = screen(rows, columns, ports(count) { Double($0) }, further: further, hasColours: true)
                #expect(lines.count <= max(1, rows - 1))
                for line in lines {
                    let plain = line.replacing(text: "\u{1b}[1m", with: "").replacing(text: "\u{1b}[0m", with: "")
                    #expect(TerminalText.width(of: plain) <= columns, "\(line)")
                }
            }
        }
    }

    @Test func smallTerminalShowsPortsBeforeFacts() {
        let lines = screen(10, 80, ports(5), further: ["", "LEASE", "192.168.105.2"])
        #expect(lines.count == 9 && lines[0] == WatchScreenTests.facts[0])
        #expect(lines.contains { $0.hasPrefix("uplink") } && lines.contains { $0.hasPrefix("4 ") }, "\(lines)")
    }

    @Test func busiestPortsAreShownIfThereAreTooMany() {
        let lines = screen(12, 80, ports(30) { $0 == 17 || $0 == 29 ? 1_000_000 : 0 })
        for port in ["uplink", "1 ", "17 ", "29 "] {
            #expect(lines.count { $0.hasPrefix(port) } == 1, "\(port): \(lines)")
        }
        let last = lines[lines.count - 1]
        #expect(last.hasPrefix("... and ") && last.hasSuffix(" ports with less load"), "\(lines)")
        #expect(!lines.contains { $0.hasPrefix("28 ") })
    }

    /// The graph is as wide from the first second on, so that nothing moves to the right.
    @Test func graphGrowsFromTheRight() {
        #expect(WatchScreen.graph([], 8, length: 4) == "    ")
        #expect(WatchScreen.graph([8], 8, length: 4) == "   █")
        #expect(WatchScreen.graph([0, 1, 4, 8, 0.5], 8, length: 4) == "▂▅█▁")
    }

    /// The cursor stays below the text, and a line that ends at the last column stays whole.
    @Test func screenIsRedrawnLineByLine() {
        #expect(Status.redrawn("one\ntwo\n") == "\u{1b}[H\u{1b}[2Kone\n\u{1b}[2Ktwo\n\u{1b}[2K\u{1b}[J")
    }
}
