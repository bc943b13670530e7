// SPDX-License-Identifier: Apache-2.0
import CLibrary

@testable import Capture

/// The interpreter and the validator of libpcap, loaded at run time.
enum LibpcapFilter {
    private typealias Run =
        @convention(c) (UnsafeRawPointer, UnsafePointer<UInt8>, UInt32, UInt32) -> UInt32
    private typealias Validate = @convention(c) (UnsafeRawPointer, Int32) -> Int32

    private static func symbol<Function>(_ name: String, _ type: Function.Type) -> Function? {
        guard let library = unsafe dlopen("libpcap.so.0.8", RTLD_NOW), let found = unsafe dlsym(library, name) else {
            return nil
        }
        return unsafe unsafeBitCast(found, to: type)
    }

    static var isInstalled: Bool { unsafe symbol("bpf_filter", Run.self) != nil }

    /// struct bpf_insn.
    private static func encoded(_ instructions: [FilterProgram.Instruction]) -> [UInt64] {
        instructions.map {
            UInt64($0.code) | UInt64($0.jumpTrue) << 16 | UInt64($0.jumpFalse) << 24 | UInt64($0.constant) << 32
        }
    }

    static func run(_ program: [FilterProgram.Instruction], _ frame: [UInt8]) -> UInt32 {
        let words = encoded(program)
        return unsafe words.withUnsafeBytes { program in
            unsafe symbol("bpf_filter", Run.self)!(
                program.baseAddress!, frame, UInt32(frame.count), UInt32(frame.count))
        }
    }

    static func accepts(_ program: [FilterProgram.Instruction]) -> Bool {
        let words = encoded(program)
        return unsafe words.withUnsafeBytes {
            unsafe symbol("bpf_validate", Validate.self)!($0.baseAddress!, Int32(program.count)) != 0
        }
    }
}
