// SPDX-License-Identifier: Apache-2.0
import CPlatform
import Platform

/// The front end's map of the guest's pages that the device has written, for the migration of a running guest
/// (vhost-user, "Migration"): one bit for each page of 4096 bytes, by its address in the guest.
@safe
package final class DirtyLog: @unchecked Sendable {
    /// Bytes of a page of the map, whatever the host's pages are.
    private static let pageLength: UInt64 = 4096
    /// Bytes that are mapped: enough for the greatest memory of a front end, and holes in its addresses.
    private static let maximumLength: UInt64 = 1 << 30

    private let mapping: platform_vhost_mapping
    private let bits: UnsafeMutableRawPointer
    private let byteCount: UInt64

    /// Maps `length` bytes of a file, from `offset` on.
    /// - Throws: why it cannot be used.
    package init(_ descriptor: borrowing Descriptor, length: UInt64, offset: UInt64) throws(VhostFault) {
        let end = offset.addingReportingOverflow(length)
        guard length > 0, !end.overflow, end.partialValue <= DirtyLog.maximumLength else {
            throw VhostFault("its dirty log has an impossible size")
        }
        var mapping = unsafe platform_vhost_mapping()
        let result = unsafe platform_vhost_map(descriptor.raw, end.partialValue, &mapping)
        guard result == 0 else { throw VhostFault("its dirty log: \(GuestMemory.reason(result))") }
        unsafe self.mapping = mapping
        unsafe bits = mapping.base + Int(offset)
        byteCount = length
    }

    deinit {
        var mapping = unsafe mapping
        unsafe platform_vhost_unmap(&mapping)
    }

    /// The front end has shortened the file, and what was marked is lost.
    var isLost: Bool {
        var mapping = unsafe mapping
        return unsafe platform_vhost_is_lost(&mapping) != 0
    }

    /// There is a bit for each page below this address of the guest.
    var limit: UInt64 { byteCount * 8 * DirtyLog.pageLength }

    /// Marks the pages of `length` bytes from an address of the guest on. Call it after they were written: the front
    /// end may copy a page as soon as it is marked.
    /// - Precondition: they lie below `limit`.
    @inline(__always)
    func mark(_ address: UInt64, _ length: Int) {
        guard length > 0 else { return }
        for page in address / DirtyLog.pageLength...(address + UInt64(length) - 1) / DirtyLog.pageLength {
            unsafe platform_set_bits(bits + Int(page / 8), 1 << UInt8(page % 8))
        }
    }
}
