// SPDX-License-Identifier: Apache-2.0
import Platform

/// The pollers of a switch's workers, by worker. Only its worker waits in a poller; any worker may change what is
/// watched there. Handles are copied freely; they are valid as long as the `Fabric` that made the set.
@safe
struct PollerSet: @unchecked Sendable {
    private let pollers: UnsafeMutablePointer<Poller>
    private let count: Int

    init(count: Int) throws(SystemError) {
        self.count = count
        unsafe pollers = .allocate(capacity: count)
        for index in 0..<count {
            do throws(SystemError) {
                let poller = try Poller()
                unsafe (pollers + index).initialize(to: poller)
            } catch {
                unsafe pollers.deinitialize(count: index)
                unsafe pollers.deallocate()
                throw error
            }
        }
    }

    /// Closes the pollers. No handle may be used afterwards.
    func deallocate() {
        unsafe pollers.deinitialize(count: count)
        unsafe pollers.deallocate()
    }

    subscript(worker: Int) -> Poller {
        @inline(__always) unsafeAddress {
            precondition(worker >= 0 && worker < count)
            return unsafe UnsafePointer(pollers + worker)
        }
    }
}
