// SPDX-License-Identifier: Apache-2.0
import TestSupport
import Testing
import VirtioRing

@testable import VhostUser

@Suite struct VhostMessageTests {
    @Test func headerIsRead() throws {
        let (message, length) = try VhostMessage.parse(header: VhostGuest.words32(5, 9, 40))
        #expect(message.request == .setMemoryTable && message.needsAcknowledgement && length == 40)
        #expect(try VhostMessage.parse(header: VhostGuest.words32(99, 1, 0)).message.request == nil)
        for header in [[1, 2, 0], [1, 5, 0], [1, 1, 265], [1, 1, .max]] as [[UInt32]] {
            #expect(throws: VhostFault.self) {
                try VhostMessage.parse(header: VhostGuest.words32(header[0], header[1], header[2]))
            }
        }
    }

    @Test func replyHasFlagsThatFrontEndsExpect() {
        let message = VhostMessage(1, payload: [])
        #expect(message.reply(UInt64(0x1_0000_0002)) == VhostGuest.words32(1, 5, 8, 2, 1))
        #expect(message.reply([7]) == VhostGuest.words32(1, 5, 4, 7))
    }

    @Test func payloadsAreRead() throws {
        let table = VhostMessage(5, payload: VhostGuest.memoryTable)
        #expect(
            try table.memoryRegions() == [
                MemoryRegion(
                    guestAddress: VhostGuest.guestBase, size: UInt64(VhostGuest.memoryLength),
                    userAddress: VhostGuest.userBase, fileOffset: 0)
            ])
        let addresses = VhostMessage(9, payload: VhostGuest.words32(1, 0) + VhostGuest.words(1, 2, 3, 4))
        let (ring, place) = try addresses.ringAddresses()
        #expect(ring == 1 && place.descriptors == 1 && place.used == 2 && place.available == 3)
        #expect(throws: VhostFault.self) { try VhostMessage(8, payload: VhostGuest.words32(16, 64)).ringState() }
        #expect(throws: VhostFault.self) { try VhostMessage(8, payload: VhostGuest.words32(0)).ringState() }
        #expect(throws: VhostFault.self) {
            try VhostMessage(5, payload: VhostGuest.words32(2, 0) + VhostGuest.words(1, 2, 3, 4)).memoryRegions()
        }
        let event = try VhostMessage(12, payload: VhostGuest.words(0x101)).ringDescriptor()
        #expect(event.ring == 1 && !event.hasDescriptor)
    }

    @Test func anyPayloadIsReadOrRefused() {
        fuzz(VhostGuest.memoryTable, rounds: 2000) { bytes in
            let message = VhostMessage(5, payload: bytes)
            _ = try? message.memoryRegions()
            _ = try? message.ringState()
            _ = try? message.ringAddresses()
            _ = try? message.ringDescriptor()
            _ = try? message.number64()
            _ = try? VhostMessage.parse(header: Array(bytes.prefix(12)))
        }
    }
}
