// SPDX-License-Identifier: Apache-2.0

/// A reference to a value that cannot be copied, so that arrays, enumerations and closures can hold it. To take the
/// value out again, box an optional: `box.value.take()`. For one thread; `Mutex` is for several.
package final class Box<Value: ~Copyable> {
    /// The value, which everything that has the box may change.
    package var value: Value

    package init(_ value: consuming Value) { self.value = value }
}
