// SPDX-License-Identifier: Apache-2.0
import CPlatform

/// Random numbers from the kernel, fit for transaction ids and hash seeds.
package enum Random {
    /// A number with all values of its type equally likely (getentropy(3)).
    package static func value<Value: FixedWidthInteger>(_ type: Value.Type = Value.self) -> Value {
        var value: Value = 0
        unsafe withUnsafeMutableBytes(of: &value) { unsafe platform_random($0.baseAddress, $0.count) }
        return value
    }
}
