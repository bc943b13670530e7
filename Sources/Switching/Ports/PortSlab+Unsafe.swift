// SPDX-License-Identifier: Apache-2.0

/// The ports of a switch: a slot for each port number, and a dense list of the attached ones.
///
/// A port stays in its slot, so that several threads can use its parts at the same time, each under the lock that
/// `Port` names. Ports are attached and detached under the exclusive lock only. Handles are copied freely; they are
/// valid as long as the `Fabric` that made the slab.
@safe
struct PortSlab: @unchecked Sendable {
    static let capacity = SwitchControl.portCapacity

    private let ports: UnsafeMutablePointer<Port>
    /// Numbers of the attached ports, in no order, and how many there are.
    private let attached: UnsafeMutablePointer<PortNumber>
    private let attachedCount: UnsafeMutablePointer<Int>
    /// Index of each port in `attached`; -1 for a port that is not attached.
    private let indices: UnsafeMutablePointer<Int32>

    init() {
        unsafe ports = .allocate(capacity: PortSlab.capacity)
        unsafe attached = .allocate(capacity: PortSlab.capacity)
        unsafe attachedCount = .allocate(capacity: 1)
        unsafe attachedCount.initialize(to: 0)
        unsafe indices = .allocate(capacity: PortSlab.capacity)
        unsafe indices.initialize(repeating: -1, count: PortSlab.capacity)
    }

    /// Destroys all ports. No handle may be used afterwards.
    func deallocate() {
        for index in 0..<count { unsafe (ports + Int(attached[index])).deinitialize(count: 1) }
        unsafe ports.deallocate()
        unsafe attached.deallocate()
        unsafe attachedCount.deallocate()
        unsafe indices.deallocate()
    }

    /// A port in place.
    /// - Precondition: the port is attached; checked in debug builds, its number is checked always.
    subscript(number: Int) -> Port {
        @inline(__always) unsafeAddress {
            check(number)
            return unsafe UnsafePointer(ports + number)
        }
        @inline(__always) nonmutating unsafeMutableAddress {
            check(number)
            return unsafe ports + number
        }
    }

    subscript(number: PortNumber) -> Port {
        @inline(__always) unsafeAddress {
            check(Int(number))
            return unsafe UnsafePointer(ports + Int(number))
        }
        @inline(__always) nonmutating unsafeMutableAddress {
            check(Int(number))
            return unsafe ports + Int(number)
        }
    }

    @inline(__always)
    private func check(_ number: Int) {
        precondition(number >= 0 && number < PortSlab.capacity)
        unsafe assert(indices[number] >= 0)
    }

    // MARK: Attached ports

    /// How many ports are attached.
    var count: Int { @inline(__always) get { unsafe attachedCount.pointee } }

    /// The number of an attached port, by its index in a list without order.
    @inline(__always)
    func number(at index: Int) -> PortNumber {
        precondition(index >= 0 && index < PortSlab.capacity)
        return unsafe attached[index]
    }

    @inline(__always)
    func isAttached(_ number: PortNumber) -> Bool {
        unsafe Int(number) < PortSlab.capacity && indices[Int(number)] >= 0
    }

    /// Attaches a port whose number is free. Under the exclusive lock.
    func attach(_ port: consuming Port) {
        let number = port.number
        precondition(Int(number) < PortSlab.capacity && !isAttached(number))
        unsafe (ports + Int(number)).initialize(to: port)
        unsafe indices[Int(number)] = Int32(count)
        unsafe attached[count] = number
        unsafe attachedCount.pointee += 1
    }

    /// Destroys an attached port, which closes its descriptors. Under the exclusive lock.
    func detach(_ number: PortNumber) {
        precondition(isAttached(number))
        unsafe (ports + Int(number)).deinitialize(count: 1)
        unsafe attachedCount.pointee -= 1
        let index = unsafe Int(indices[Int(number)]), last = unsafe attached[count]
        unsafe attached[index] = last
        unsafe indices[Int(last)] = Int32(index)
        unsafe indices[Int(number)] = -1
    }
}
