// SPDX-License-Identifier: Apache-2.0
import CPlatform
import NetworkModel
import Platform
import Wire

/// One instance of libslirp, which is loaded at run time. All calls but `init` and `version` are for one thread at a
/// time; every one of them may block as long as libslirp does.
@safe
final class SlirpStack: @unchecked Sendable {
    /// What libslirp calls back. The instance holds its address, so it lives as long as the stack.
    private typealias Callback = Box<((inout MutableRawSpan) -> Void)?>

    private let stack: OpaquePointer
    private let callback = Callback(nil)
    /// libslirp's version, such as `4.7.0`.
    let version: String

    /// Loads libslirp and starts an instance for the guests' network.
    /// - Throws: `noLibrary`, `unusableLibrary`.
    init(_ options: NATGateway.Options) throws(UserNATError) {
        var raw = unsafe platform_slirp_options()
        unsafe raw.network = options.network.network.base.value
        unsafe raw.mask = options.network.network.mask.value
        unsafe raw.host = options.network.gateway.value
        unsafe raw.mtu = UInt32(options.mtu)
        if let prefix = options.prefix {
            unsafe raw.prefix_length = 64
            unsafe withUnsafeMutableBytes(of: &raw.prefix) { unsafe $0.copyBytes(from: IPv6Address(prefix, 0).bytes) }
            unsafe withUnsafeMutableBytes(of: &raw.host6) { unsafe $0.copyBytes(from: IPv6Address(prefix, 1).bytes) }
        }
        unsafe raw.context = Unmanaged.passUnretained(callback).toOpaque()
        unsafe raw.send = { context, bytes, length in
            guard let context = unsafe context, let bytes = unsafe bytes else { return }
            var frame = unsafe MutableRawSpan(
                _unsafeStart: UnsafeMutableRawPointer(mutating: bytes), byteCount: length)
            unsafe Unmanaged<Callback>.fromOpaque(context)._withUnsafeGuaranteedRef { $0.value?(&frame) }
        }
        var started: OpaquePointer?
        let result = unsafe platform_slirp_open(&raw, &started)
        guard result == 0, let opened = unsafe started else {
            throw result == -Errno.noEntry
                ? .noLibrary : .unusableLibrary(SystemError(code: -result, "start libslirp").reason)
        }
        unsafe stack = opened
        version = unsafe String(cString: platform_slirp_version(opened))
    }

    /// Sets what takes libslirp's frames for guests; it is called during `input` and `run`. The frame may be changed in
    /// place, and is not valid afterwards.
    func onFrame(_ body: @escaping (inout MutableRawSpan) -> Void) { callback.value = body }

    /// Hands libslirp a frame of a guest.
    func input(_ frame: RawSpan) {
        unsafe frame.withUnsafeBytes { unsafe platform_slirp_input(stack, $0.baseAddress, $0.count) }
    }

    /// Waits for libslirp's sockets and timers, and serves them.
    /// - Parameters:
    ///   - wakeup: a descriptor that ends the wait when it becomes readable.
    ///   - timeout: milliseconds.
    /// - Returns: whether `wakeup` was readable.
    func run(wakeup: Int32, timeout: UInt32) -> Bool { unsafe platform_slirp_run(stack, wakeup, timeout) != 0 }

    /// Ends the instance, which is not to be used afterwards.
    func close() {
        unsafe platform_slirp_close(stack)
        callback.value = nil
    }
}
