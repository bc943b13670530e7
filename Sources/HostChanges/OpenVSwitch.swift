// SPDX-License-Identifier: Apache-2.0
import Platform

/// Bridges of Open vSwitch, by `ovs-vsctl(8)`.
package enum OpenVSwitch {
    /// Runs ovs-vsctl with a timeout, because it waits for a database that may not run.
    private static func run(_ arguments: String...) -> ChildProcess.Output? {
        guard let tool = Programs.find("ovs-vsctl") else { return nil }
        return try? ChildProcess.run([tool, "--timeout=5"] + arguments)
    }

    /// Whether `interface` is a bridge of Open vSwitch; false where that is not installed.
    package static func isBridge(_ interface: String) -> Bool { run("br-exists", interface)?.succeeded ?? false }

    /// Adds a port to a bridge.
    /// - Returns: why that failed; nil if it succeeded.
    package static func addPort(_ port: String, to bridge: String) -> String? {
        guard let result = run("--may-exist", "add-port", bridge, port) else { return "ovs-vsctl is not installed" }
        return result.succeeded ? nil : result.error.split(separator: "\n").first.map(String.init) ?? "no reason given"
    }

    /// Removes a port from a bridge, if it is there.
    /// - Returns: whether ovs-vsctl succeeded.
    @discardableResult
    package static func removePort(_ port: String, from bridge: String) -> Bool {
        run("--if-exists", "del-port", bridge, port)?.succeeded ?? false
    }
}
