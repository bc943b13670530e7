// SPDX-License-Identifier: Apache-2.0
import Platform
import Timing

/// Something that a test waited for and that did not come.
package struct TimedOut: Error, CustomStringConvertible {
    package let description: String
    package init(_ description: String) { self.description = description }
}

/// Seconds to wait for what comes at once on an idle host; a wait ends with the event.
package let ampleTime = 20.0

/// Looks again and again until `condition` holds; throws when `seconds` have passed. For what announces itself in no
/// other way.
package func eventually(_ what: String, within seconds: Double = 10, _ condition: () throws -> Bool) throws {
    let deadline = BootClock.now + .fractionalSeconds(seconds)
    while !(try condition()) {
        guard BootClock.now < deadline else { throw TimedOut("not within \(seconds) s: \(what)") }
        BootClock.sleep(.milliseconds(10))
    }
}

/// What the host offers to tests.
package enum TestHost {
    package static let isRoot = CurrentProcess.effectiveUser == 0
    package static let rootReason = "needs root, for network namespaces"

    /// The package's folder: the nearest one above the running program with a Package.swift.
    package static let packageRoot: String = {
        var path = (try? Files.realPath("/proc/self/exe")) ?? Files.currentDirectory()
        while !Files.exists(path + "/Package.swift") {
            guard path != "/" else { return Files.currentDirectory() }
            path = Files.parent(path)
        }
        return path
    }()

    /// A product of this package, from the same build as the running program.
    package static func product(_ name: String) -> String {
        if let chosen = CurrentProcess.environment("VDE_VMNET_BIN"), name == "vde_vmnet" { return chosen }
        return Files.parent((try? Files.realPath("/proc/self/exe")) ?? "") + "/" + name
    }
}

/// A folder that is removed with everything in it.
package final class TemporaryFolder {
    private static let counter = Mutex(0)

    package let path: String

    package init() throws {
        let number = TemporaryFolder.counter.withLock { count in
            count += 1
            return count
        }
        path = "/tmp/vde_vmnet-test-\(CurrentProcess.identifier)-\(number)"
        try Files.makeDirectory(path)
    }

    deinit { _ = try? ChildProcess.run(["rm", "-rf", path]) }

    package func file(_ name: String) -> String { path + "/" + name }
}
