// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import ControlSocket
import NetworkConfiguration
import Platform

/// The options of `join` about what clients and files get of the network while it runs.
struct ControlOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            """
            Name of the network for vde_vmnet list, status and the like. (default: from the switch's directory or the \
            gateway, with a number if another network has that name)
            """,
            valueName: "name"))
    var name: String?

    @Option(
        help: ArgumentHelp(
            """
            Where to create the control socket: a path, or off for none. (default: the network's name in \
            /run/vde_vmnet for root, else in $XDG_RUNTIME_DIR/vde_vmnet or /tmp/vde_vmnet-UID/vde_vmnet)
            """,
            valueName: "path|off"))
    var control: String?

    @Option(
        help: ArgumentHelp("Group that may read the network's counters.", valueName: "group"),
        completion: Completions.groups)
    var controlGroup: String?

    @Option(
        help: ArgumentHelp(
            """
            What the owner, the user that called sudo, may do on a network of root besides what the start allows: \
            publish (at any address and port), egress (loosen the policy and isolation), capture (read frames). A list \
            with commas.
            """,
            valueName: "rights"),
        completion: .list(["publish", "egress", "capture"]))
    var controlAllow: String?

    @Option(
        help: ArgumentHelp(
            """
            Capture the frames of all ports to this file, in pcapng, from the start to the end of the network. See \
            vde_vmnet capture for more.
            """,
            valueName: "file"),
        completion: .file())
    var pcap: String?

    private var allowedWords: [Substring] {
        controlAllow?.split(separator: ",", omittingEmptySubsequences: false) ?? []
    }

    func note(in given: inout GivenOptions) {
        given.note(.name, name != nil)
        given.note(.control, control != nil && control != "off")
        given.note(.controlOff, control == "off")
        given.note(.controlGroup, controlGroup != nil)
        given.note(.controlAllow, controlAllow != nil)
        given.note(.controlAllowPublish, allowedWords.contains(ControlGrant.publish.rawValue[...]))
    }

    /// Stores them in `configuration`.
    func apply(to configuration: inout Configuration) throws {
        if let name {
            guard let valid = NetworkName(name) else {
                throw ValidationError(
                    """
                    --name: '\(PrintableText.line(name, limit: 64))' is not 1 to \(NetworkName.maximumLength) letters, \
                    digits, dots, hyphens and underscores that begin with a letter or digit
                    """)
            }
            configuration.control.name = valid
        }
        if let pcap {
            guard !pcap.isEmpty else { throw ValidationError("--pcap needs a file") }
            if pcap == "-" {
                throw ValidationError(
                    """
                    --pcap writes a file, because standard output has the ready line; capture to standard output by: \
                    vde_vmnet capture -w -
                    """)
            }
            configuration.pcap = Files.absolute(pcap)
        }
        switch control {
        case nil: break
        case "off"?: configuration.control.place = .off
        case ""?: throw ValidationError("--control needs a path, or off")
        case "on"?:
            throw ValidationError("--control on is the default; leave it out, or write ./on for a file of that name")
        case let path?: configuration.control.place = .path(Files.absolute(path))
        }
        if let controlGroup {
            guard let group = UserDatabase.group(named: controlGroup) else {
                throw ValidationError(
                    "--control-group: there is no group '\(controlGroup)'; getent group lists those there are")
            }
            configuration.control.access.group = group
        }
        if let controlAllow {
            let grants = allowedWords.map { ControlGrant(rawValue: String($0)) }
            guard !grants.contains(nil) else {
                throw ValidationError(
                    """
                    --control-allow: '\(controlAllow)' is not a list of \
                    \(ControlGrant.allCases.map(\.rawValue).joined(separator: ", ")), such as publish,egress
                    """)
            }
            configuration.control.access.grants = Set(grants.compactMap(\.self))
        }
    }
}
