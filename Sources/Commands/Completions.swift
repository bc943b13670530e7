// SPDX-License-Identifier: Apache-2.0
import ArgumentParser

/// What a shell proposes for values that only the host has.
enum Completions {
    /// The interfaces that `--vmnet-interface` accepts.
    static let interfaces = CompletionKind.shellCommand("vde_vmnet interfaces 2>/dev/null | cut -d ' ' -f 1")
    /// All interfaces of this host.
    static let allInterfaces = CompletionKind.shellCommand(
        "ls /sys/class/net 2>/dev/null || ifconfig -l 2>/dev/null | xargs -n 1")
    /// The groups of this host.
    static let groups = CompletionKind.shellCommand("cut -d : -f 1 /etc/group")

    /// The network namespaces that have names.
    static let namespaces = CompletionKind.shellCommand("ls /run/netns 2>/dev/null")

    // What is on the networks that run; nothing if the user may not use them. Those below need the only one.

    /// The names of networks.
    static let networks = CompletionKind.shellCommand("vde_vmnet list 2>/dev/null | sed 1d | cut -d ' ' -f 1")
    /// The names and hardware addresses of guests with leases.
    static let guests = CompletionKind.shellCommand(
        "vde_vmnet lease list 2>/dev/null | sed 1d | tr -s ' ' | cut -d ' ' -f 2-3 | xargs -n 1 | grep -v '^-'")
    /// The hardware addresses of guests with leases or reserved addresses.
    static let hardware = CompletionKind.shellCommand(
        "vde_vmnet lease list 2>/dev/null | sed 1d | tr -s ' ' | cut -d ' ' -f 2")
    /// The addresses that are leased or reserved.
    static let leases = CompletionKind.shellCommand("vde_vmnet lease list 2>/dev/null | sed 1d | cut -d ' ' -f 1")
    /// The published ports, as they were published.
    static let published = CompletionKind.shellCommand("vde_vmnet publish list 2>/dev/null | sed 1d | cut -d ' ' -f 1")
    /// The destinations of `--allow` and `allow add`.
    static let allowed = CompletionKind.shellCommand("vde_vmnet allow list 2>/dev/null | sed -n 's/^allowed: //p'")
    /// The numbers of the switch's ports in use.
    static let ports = CompletionKind.shellCommand(
        "vde_vmnet port list 2>/dev/null | sed 1d | cut -d ' ' -f 1 | grep '^[0-9]'")
    /// The same, and the uplink.
    static let capturedPorts = CompletionKind.shellCommand(
        "vde_vmnet port list 2>/dev/null | sed 1d | cut -d ' ' -f 1 | grep -v '^-'")
}
