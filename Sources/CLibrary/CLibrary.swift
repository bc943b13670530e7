// SPDX-License-Identifier: Apache-2.0

// The system's C library under one name. No other file depends on which one that is.
#if canImport(Darwin)
    @_exported import Darwin
#elseif canImport(Musl)
    @_exported import Musl
#else
    @_exported import Glibc
#endif
