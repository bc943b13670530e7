// SPDX-License-Identifier: Apache-2.0
import Platform
import TestSupport
import Testing

/// Everything that runs the built command, in separate network namespaces, one test at a time.
@Suite(.serialized, .enabled(if: TestHost.isRoot, "\(TestHost.rootReason)"))
struct IntegrationTests {
    /// Our gateway on the default network.
    static let gateway = "192.168.105.1"
}
