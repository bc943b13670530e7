// SPDX-License-Identifier: Apache-2.0

/// A value on the heap that several threads use in place, each access under a lock that the owner of the cell names
/// (`Fabric`). Handles are copied freely; they are valid as long as the object that called `deallocate` in its
/// `deinit`.
@safe
struct SharedCell<Value: ~Copyable>: @unchecked Sendable {
    private let pointer: UnsafeMutablePointer<Value>

    init(_ value: consuming Value) {
        unsafe pointer = .allocate(capacity: 1)
        unsafe pointer.initialize(to: value)
    }

    /// Destroys the value. No handle may be used afterwards.
    func deallocate() {
        unsafe pointer.deinitialize(count: 1)
        unsafe pointer.deallocate()
    }

    var value: Value {
        @inline(__always) unsafeAddress { unsafe UnsafePointer(pointer) }
        @inline(__always) nonmutating unsafeMutableAddress { unsafe pointer }
    }
}
