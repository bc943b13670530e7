// SPDX-License-Identifier: Apache-2.0
import Platform
import Wire

/// QEMU's `qemu-bridge-helper(8)`: a privileged program that makes a TAP, adds it to a bridge, and passes its
/// descriptor to any user that its access list allows.
enum BridgeHelper {
    /// Its path in several distributions.
    private static let paths = [
        "/usr/lib/qemu/qemu-bridge-helper", "/usr/libexec/qemu-bridge-helper", "/usr/lib/qemu-bridge-helper",
        "/usr/local/libexec/qemu-bridge-helper",
        "/run/wrappers/bin/qemu-bridge-helper",
    ]

    /// - Parameter program: nil for the first that is installed.
    /// - Throws: why there is no TAP, with the next step.
    static func open(_ bridge: String, program: String? = nil) throws(UnclassifiedError) -> TapDevice {
        guard let path = program ?? paths.first(where: { Files.exists($0) }) else {
            throw UnclassifiedError(
                """
                QEMU's qemu-bridge-helper, which can do it for users, is not installed (Debian: \
                qemu-system-common)
                """
            )
        }
        var reason = ""
        do throws(SystemError) {
            if let tap = try run([path, "--use-vnet", "--fd=0", "--br=\(bridge)"], reason: &reason) { return tap }
        } catch {
            throw UnclassifiedError("\(path): \(error)")
        }
        throw explain(reason, bridge: bridge, path: path)
    }

    /// Runs the helper. Returns nil, with its error output in `reason`, if it fails.
    private static func run(_ command: [String], reason: inout String) throws(SystemError) -> TapDevice? {
        let pair = try DescriptorPair.streamSockets()
        pair.second.setBlocking()
        let result = try ChildProcess.run(command, descriptor: pair.second.raw)
        reason = result.error
        return result.succeeded ? try TapDevice(adopting: try pair.first.receiveDescriptor()) : nil
    }

    /// Translates the helper's message, which is meant for QEMU's users, and adds the next step.
    static func explain(_ text: String, bridge: String, path: String) -> UnclassifiedError {
        let line = text.split(separator: "\n").first.map(String.init) ?? "no reason given"
        let list =
            line.split(separator: "`").dropFirst().first.flatMap { $0.split(separator: "'").first }.map(String.init)
            ?? "/etc/qemu/bridge.conf"
        let step: String
        if line.contains(text: "acl") || line.contains(text: "access denied") {
            step = "add this line to \(list): allow \(bridge)"
        } else if line.contains(text: "/dev/net/tun") {
            // The helper drops root before it opens the device, so only the mode of the device counts.
            step = "users must be able to open the device: sudo chmod 666 /dev/net/tun"
        } else if line.contains(text: "not permitted") {
            step = "it must belong to root and be set-user-id: sudo chmod u+s \(path)"
        } else {
            step = "see qemu-bridge-helper(8)"
        }
        return UnclassifiedError("\(path) failed (\(line)); \(step)")
    }
}
