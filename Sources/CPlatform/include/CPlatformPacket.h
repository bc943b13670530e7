// SPDX-License-Identifier: Apache-2.0
// Packet sockets (linux/packet.c). Part of CPlatform.h.
#ifndef CPLATFORM_PACKET_H
#define CPLATFORM_PACKET_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/// A packet socket on an interface in promiscuous mode, with a 10-byte virtio header before each frame.
/// Frames that the host itself sends through the interface are not received.
int platform_packet_open(uint32_t index);
/// Receives one frame: `header` of 10 bytes, then the frame. `*tag` is the VLAN tag that the kernel took out (TPID <<
/// 16 | TCI), 0 if none. Returns the frame's length.
ssize_t platform_packet_receive(int fd, void *header, void *frame, size_t capacity, uint32_t *tag);

#endif
