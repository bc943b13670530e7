// SPDX-License-Identifier: Apache-2.0
import CPlatform
import Platform

/// A region of a guest's memory, as a front end describes it (QEMU docs/interop/vhost-user, memory region description).
package struct MemoryRegion: Equatable, Sendable {
    /// Where the guest has it.
    package var guestAddress: UInt64
    /// Bytes.
    package var size: UInt64
    /// Where the front end has mapped it.
    package var userAddress: UInt64
    /// Where it begins in the file that came with it.
    package var fileOffset: UInt64

    package init(guestAddress: UInt64, size: UInt64, userAddress: UInt64, fileOffset: UInt64) {
        self.guestAddress = guestAddress
        self.size = size
        self.userAddress = userAddress
        self.fileOffset = fileOffset
    }
}

/// Why a front end is not served any more: it, or its guest, has broken the protocol.
package struct VhostFault: Error, Equatable, Sendable, CustomStringConvertible {
    package let description: String

    package init(_ description: String) { self.description = description }
}

/// The memory that a front end shares, mapped here until this object goes.
///
/// The guest changes the memory at any time. Every word is read once, and checked after it was read.
@safe
package final class GuestMemory: @unchecked Sendable {
    /// Regions of one front end.
    package static let maximumRegions = 8
    /// Bytes that are mapped for one front end.
    static let maximumSize: UInt64 = 1 << 40

    @safe
    struct Mapping {
        let region: MemoryRegion
        /// Of the region's first byte.
        let base: UnsafeMutableRawPointer
        let mapping: platform_vhost_mapping
    }

    /// For rings, which keep it without a reference.
    let mappings: UnsafeMutablePointer<Mapping>
    private(set) var count = 0

    /// Maps the regions, each from the descriptor beside it.
    /// - Throws: which region cannot be used, and why. No region is mapped then.
    package init(_ regions: [MemoryRegion], from descriptors: borrowing DescriptorList) throws(VhostFault) {
        unsafe mappings = .allocate(capacity: GuestMemory.maximumRegions)
        guard !regions.isEmpty, regions.count <= GuestMemory.maximumRegions, regions.count == descriptors.count else {
            throw VhostFault("\(regions.count) memory regions came with \(descriptors.count) descriptors")
        }
        var total: UInt64 = 0
        for (index, region) in regions.enumerated() {
            let end = region.fileOffset.addingReportingOverflow(region.size)
            guard region.size > 0, !end.overflow, !region.guestAddress.addingReportingOverflow(region.size).overflow,
                !region.userAddress.addingReportingOverflow(region.size).overflow
            else { throw VhostFault("memory region \(index) has an impossible size") }
            for other in regions[..<index]
            where region.guestAddress < other.guestAddress + other.size
                && other.guestAddress < region.guestAddress + region.size
            {
                throw VhostFault("memory region \(index) overlaps another one")
            }
            let length = end.partialValue
            guard length <= GuestMemory.maximumSize - total else {
                throw VhostFault("more than \(GuestMemory.maximumSize >> 30) GiB of memory are shared")
            }
            total += length
            var mapping = unsafe platform_vhost_mapping()
            let result = unsafe platform_vhost_map(descriptors.raw(index), length, &mapping)
            guard result == 0 else { throw VhostFault("memory region \(index): \(GuestMemory.reason(result))") }
            unsafe (mappings + count).initialize(
                to: Mapping(region: region, base: mapping.base + Int(region.fileOffset), mapping: mapping))
            count += 1
        }
    }

    /// Why a file cannot be mapped.
    static func reason(_ result: Int32) -> String {
        switch -result {
        case Errno.wrongType: "it is no file in memory; QEMU needs -object memory-backend-memfd,share=on"
        case Errno.fileTooLarge: "its file is shorter than the region"
        default: SystemError(code: -result, "map").description
        }
    }

    deinit {
        for index in 0..<count {
            var mapping = unsafe mappings[index].mapping
            unsafe platform_vhost_unmap(&mapping)
        }
        unsafe mappings.deallocate()
    }

    /// The front end has shortened a file, and what was read from it is not the guest's.
    var isLost: Bool {
        for index in 0..<count {
            var mapping = unsafe mappings[index].mapping
            if unsafe platform_vhost_is_lost(&mapping) != 0 { return true }
        }
        return false
    }

    /// The address of the guest after the last byte.
    var limit: UInt64 {
        var limit: UInt64 = 0
        for index in 0..<count {
            let region = unsafe mappings[index].region
            limit = max(limit, region.guestAddress + region.size)
        }
        return limit
    }

    /// The `length` bytes at an address of the front end; nil if they are not in one region, or not aligned.
    func ringPart(at address: UInt64, length: Int, alignment: UInt64) -> UnsafeMutableRawPointer? {
        for index in 0..<count {
            let mapping = unsafe mappings[index]
            let offset = address &- mapping.region.userAddress
            guard address >= mapping.region.userAddress, offset < mapping.region.size,
                mapping.region.size - offset >= UInt64(length)
            else { continue }
            let part = unsafe mapping.base + Int(offset)
            return UInt(bitPattern: part) % UInt(alignment) == 0 ? unsafe part : nil
        }
        return nil
    }
}

/// The memory's mappings, for the data path: valid as long as the `GuestMemory` and the `DirtyLog`.
@safe
struct GuestMemoryView: BitwiseCopyable {
    private let mappings: UnsafeMutablePointer<GuestMemory.Mapping>
    private let count: Int
    private let log: Unmanaged<DirtyLog>?

    /// - Parameter log: where pages that are written are marked; nil: nowhere. It has a bit for each page.
    init(_ memory: GuestMemory, _ log: DirtyLog?) {
        unsafe mappings = memory.mappings
        count = memory.count
        unsafe self.log = log.map { unsafe Unmanaged.passUnretained($0) }
    }

    /// Pages that are written must be marked.
    var isLogged: Bool { unsafe log != nil }

    /// Marks the pages of bytes that lie in one region.
    func mark(_ start: UnsafeRawPointer, _ length: Int) {
        guard let log = unsafe log else { return }
        for index in 0..<count {
            let mapping = unsafe mappings + index
            let offset = unsafe start - UnsafeRawPointer(mapping.pointee.base)
            guard unsafe offset >= 0 && UInt64(offset) < mapping.pointee.region.size else { continue }
            unsafe log._withUnsafeGuaranteedRef {
                unsafe $0.mark(mapping.pointee.region.guestAddress + UInt64(offset), length)
            }
            return
        }
    }

    /// The bytes at a guest's address, up to `length` or to the end of their region. Nil if it is in no region.
    @inline(__always)
    func bytes(at address: UInt64, length: UInt64) -> (start: UnsafeMutableRawPointer, length: Int)? {
        for index in 0..<count {
            let mapping = unsafe mappings + index
            let offset = unsafe address &- mapping.pointee.region.guestAddress
            guard unsafe address >= mapping.pointee.region.guestAddress && offset < mapping.pointee.region.size else {
                continue
            }
            return unsafe (
                mapping.pointee.base + Int(offset), Int(min(length, mapping.pointee.region.size - offset))
            )
        }
        return nil
    }
}
