// SPDX-License-Identifier: Apache-2.0

// Functions that the release build links in place of others, by the linker's --wrap. ci/release-build has the reasons.

import Glibc

/// Replaces the standard library's table of the names of Unicode's characters, half a megabyte. Only
/// `Unicode.Scalar.Properties.name` reads it, which this program does not use.
/// - Returns: 0: the character has no name.
@_cdecl("__wrap__swift_stdlib_getScalarName")
public func scalarName(_ scalar: UInt32, _ buffer: UnsafeMutablePointer<UInt8>?, _ capacity: Int) -> Int { 0 }

/// Replaces the hypotf of glibc, whose newest version needs glibc 2.35. A double holds the
/// square of a float exactly, so the result differs from glibc's by less than a millionth of its last place.
@_cdecl("__wrap_hypotf")
public func hypotenuse(_ x: Float, _ y: Float) -> Float {
    if x.isInfinite || y.isInfinite { return .infinity }
    let (width, height) = (Double(x), Double(y))
    return Float((width * width + height * height).squareRoot())
}

/// Replaces the search for unwind tables in libgcc, whose newest version needs glibc 2.35. The program has no such
/// tables (link.ld), so the search would find none.
/// - Returns: -1: there is no table for the address.
@_cdecl("__wrap__dl_find_object")
public func unwindTable(_ address: UnsafeRawPointer?, _ result: UnsafeMutableRawPointer?) -> Int32 { -1 }

/// Replaces libstdc++'s reader of the mangled names of C++, 60 KB. It names a C++ exception that nothing catches, and
/// the program has none (link.ld).
/// - Returns: nil, with -2 (not a mangled name) in `status`: the callers print the mangled name then.
@_cdecl("__wrap___cxa_demangle")
public func demangledName(
    _ name: UnsafePointer<CChar>?, _ buffer: UnsafeMutablePointer<CChar>?, _ length: UnsafeMutablePointer<Int>?,
    _ status: UnsafeMutablePointer<Int32>?
) -> UnsafeMutablePointer<CChar>? {
    status?.pointee = -2
    return nil
}
