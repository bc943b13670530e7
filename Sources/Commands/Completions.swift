// SPDX-License-Identifier: Apache-2.0
import ArgumentParser

/// What a shell proposes for values that only the host has.
enum Completions {
    /// The interfaces that `--vmnet-interface` accepts.
    static let interfaces = CompletionKind.shellCommand("vde_vmnet interfaces 2>/dev/null | cut -d ' ' -f 1")
    /// The groups of this host.
    static let groups = CompletionKind.shellCommand("cut -d : -f 1 /etc/group")
}
