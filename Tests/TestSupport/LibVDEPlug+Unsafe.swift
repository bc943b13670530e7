// SPDX-License-Identifier: Apache-2.0
import CLibrary
import Platform
import Timing

/// A client made of the libvdeplug that every other program uses (vde_open(3)), loaded at run time.
@safe
package final class LibVDEPlug {
    /// `struct vde_open_args`.
    @safe
    private struct OpenArguments {
        var port: Int32
        var group: UnsafePointer<CChar>?
        var mode: UInt32
    }

    private typealias Open =
        @convention(c) (UnsafePointer<CChar>, UnsafePointer<CChar>, Int32, UnsafeRawPointer?) -> OpaquePointer?
    private typealias Transfer = @convention(c) (OpaquePointer, UnsafeMutableRawPointer, Int, Int32) -> Int
    private typealias Ask = @convention(c) (OpaquePointer) -> Int32

    private static func symbol<Function>(_ name: String, _ type: Function.Type) -> Function? {
        let library = unsafe dlopen("libvdeplug.so.2", RTLD_NOW)
        guard let library = unsafe library, let found = unsafe dlsym(library, name) else { return nil }
        return unsafe unsafeBitCast(found, to: type)
    }

    package static var isAvailable: Bool { unsafe symbol("vde_open_real", Open.self) != nil }

    private let connection: OpaquePointer
    package let data: Int32
    package let control: Int32

    /// - Parameter port: 0 for any.
    package init(_ path: String, description: String, port: Int32 = 0) throws {
        var arguments = unsafe OpenArguments(port: port, group: nil, mode: 0o700)
        guard let open = unsafe LibVDEPlug.symbol("vde_open_real", Open.self),
            let connection = unsafe open(path, description, 1, &arguments)
        else {
            throw CommandFailed(description: "vde_open \(path): Errno.last \(Errno.last)")
        }
        unsafe self.connection = connection
        data = unsafe LibVDEPlug.symbol("vde_datafd", Ask.self)!(connection)
        control = unsafe LibVDEPlug.symbol("vde_ctlfd", Ask.self)!(connection)
    }

    deinit { unsafe _ = LibVDEPlug.symbol("vde_close", Ask.self)!(connection) }

    /// What `vde_send` returns.
    @discardableResult
    package func send(_ frame: [UInt8]) -> Int {
        var frame = frame
        let count = frame.count
        return unsafe frame.withUnsafeMutableBytes {
            unsafe LibVDEPlug.symbol("vde_send", Transfer.self)!(connection, $0.baseAddress!, count, 0)
        }
    }

    /// The next frame, if one comes within `seconds`.
    package func receive(seconds: Double) -> [UInt8]? {
        let socket = Descriptor(adopting: data)
        let ready = socket.wait(for: .readable, until: BootClock.now + .fractionalSeconds(seconds))
        _ = socket.release()
        guard ready.contains(.readable) else { return nil }
        var buffer = [UInt8](repeating: 0, count: 70_000)
        let length = unsafe buffer.withUnsafeMutableBytes {
            unsafe LibVDEPlug.symbol("vde_recv", Transfer.self)!(connection, $0.baseAddress!, 70_000, 0)
        }
        return length >= 0 ? Array(buffer.prefix(length)) : nil
    }

    /// True if the switch has closed the connection within `seconds`.
    package func isClosed(within seconds: Double) -> Bool {
        let socket = Descriptor(adopting: control)
        let ready = socket.wait(for: .readable, until: BootClock.now + .fractionalSeconds(seconds))
        _ = socket.release()
        return !ready.isEmpty
    }
}
