// SPDX-License-Identifier: Apache-2.0
import Platform

/// Why a call of vmnet.framework failed: one sentence with the cause and the next step.
package typealias VmnetError = DescribedError<VmnetFailure>

/// What vmnet.framework has answered.
package struct VmnetFailure: Equatable, Sendable {
    /// vmnet_return_t; 0 if there was no answer.
    package let status: Int32
    /// The right to use vmnet.framework may be missing.
    package let isPermission: Bool
}

extension VmnetError {
    /// - Parameters:
    ///   - status: vmnet_return_t; 0 if there was no answer.
    ///   - isPermission: the right to use vmnet.framework may be missing.
    package init(status: Int32, description: String, isPermission: Bool = false) {
        self.init(VmnetFailure(status: status, isPermission: isPermission), description)
    }

    /// vmnet_return_t; 0 if there was no answer.
    package var status: Int32 { cause.status }
    /// The right to use vmnet.framework may be missing.
    package var isPermission: Bool { cause.isPermission }
}
