// SPDX-License-Identifier: Apache-2.0

/// Which target may import which. A target imports targets of lower layers only; targets of one layer do not know
/// each other. A new target gets a place in `layers`, as low as its imports allow.
package enum Layers {
    /// From the bottom to the top.
    package static let layers: [[String]] = [
        ["CPlatform", "CLibrary", "CVmnetAPI", "ControlProtocol", "Timing", "Wire"],
        ["Platform", "CVmnet", "VmnetSimulator"],
        ["Capture", "FrameIO", "NetworkModel", "EventLoop", "Lifecycle"],
        ["Switching", "VDEPlug", "Listeners", "HostFirewall", "VirtioRing"],
        [
            "VDESwitch", "NetworkCheck", "HostChanges", "DHCPService", "TFTPService", "RouterService", "ControlSocket",
            "VhostUser",
        ],
        ["Uplink"],
        ["TapUplink", "UserUplink", "VmnetUplink", "Sessions"],
        ["VmnetFramework", "NameService", "TapWithNAT", "CaptureService"],
        ["NetworkConfiguration", "NetworkReports"],
        ["NetworkControl"],
        ["Daemon", "Doctor"],
        ["Commands"],
        ["vde_vmnet", "vde_vmnet_simulated"],
    ]

    /// Libraries of tests, which no source may import.
    static let testOnly: Set<String> = ["Testing", "XCTest", "TestSupport", "SourceRules"]

    static let ranks: [String: Int] = Dictionary(
        uniqueKeysWithValues: layers.enumerated().flatMap { rank, names in names.map { ($0, rank) } })

    static func offences(_ tree: SourceTree) -> [Offence] {
        var offences: [Offence] = []
        let targets = Set(tree.sources.compactMap(\.target))
        for target in targets.sorted() where ranks[target] == nil {
            let file = tree.sources.first { $0.target == target }!
            offences.append(
                file.offence(
                    .imports,
                    "target \(target) has no layer; add it to `Layers.layers` in Tests/SourceRules/Layers.swift, "
                        + "as low as its imports allow"))
        }
        for file in tree.sources where file.isSwift {
            guard let target = file.target, let rank = ranks[target] else { continue }
            for (index, line) in file.lines.enumerated() {
                guard let name = importedModule(line) else { continue }
                let complaint: String? =
                    if testOnly.contains(name) {
                        "\(name) is for tests"
                    } else if let other = ranks[name], name != target, other >= rank {
                        "\(target) (layer \(rank)) imports \(name) (layer \(other)); only lower layers may be imported"
                    } else {
                        nil
                    }
                if let complaint { offences.append(file.offence(.imports, line: index + 1, complaint)) }
            }
        }
        return offences
    }

    /// The module that an import line names, attributes and kinds of declaration aside.
    static func importedModule(_ line: String) -> String? {
        var words = line.split(separator: " ")[...]
        while let word = words.first,
            word.hasPrefix("@") || ["package", "internal", "public", "private"].contains(word)
        { words.removeFirst() }
        guard words.first == "import", line.first != " " || line.contains("  import") else { return nil }
        words.removeFirst()
        if let kind = words.first, ["struct", "func", "enum", "class", "let", "var"].contains(kind) {
            words.removeFirst()
        }
        return words.first.map { String($0.prefix { $0 != "." }) }
    }
}
