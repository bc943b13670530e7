// SPDX-License-Identifier: Apache-2.0

// What the program uses of Swift's Concurrency library, which the release build does not link: that library and
// libdispatch cost half a megabyte, and the program runs no task. ci/release-build compiles this file as a part of the
// module Swift (`-module-abi-name`), so that the names are those of the library. If the program comes to use more of
// the library, the linker reports an undefined symbol: leave this file out of ci/release-build then, and link
// swift_Concurrency and dispatch.

/// A value of a task. Without tasks it is always its default. `withValue`, which sets another one, is left out.
public final class TaskLocal<Value: Sendable>: Sendable {
    let defaultValue: Value

    /// - Parameter defaultValue: the value where no other was set.
    public init(wrappedValue defaultValue: Value) { self.defaultValue = defaultValue }

    /// The value.
    public func get() -> Value { defaultValue }
}

/// Stands for swift_task_alloc, swift_task_dealloc and swift_task_switch. The asynchronous functions of ArgumentParser
/// and swift-log call them, and nothing calls those functions.
@_cdecl("vde_vmnet_no_task")
public func noTask() { fatalError("an asynchronous function ran in a program without tasks") }
