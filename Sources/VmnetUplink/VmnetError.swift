// SPDX-License-Identifier: Apache-2.0

/// Why a call of vmnet.framework failed: one sentence with the cause and the next step.
package struct VmnetError: Error, Equatable, Sendable, CustomStringConvertible {
    /// vmnet_return_t; 0 if there was no answer.
    package let status: Int32
    package let description: String
    /// The right to use vmnet.framework may be missing.
    package let isPermission: Bool

    package init(status: Int32, description: String, isPermission: Bool = false) {
        self.status = status
        self.description = description
        self.isPermission = isPermission
    }
}
