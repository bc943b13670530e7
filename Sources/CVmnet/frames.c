// SPDX-License-Identifier: Apache-2.0
// Frames to and from an interface.
#include <errno.h>
#include <string.h>

#include "internal.h"

/// Halves the number of frames per call, because vmnet rejected a call with `count` frames. False if it cannot get
/// smaller.
static int halve(int *batch, int count) {
    if (count <= 1) return 0;
    *batch = count / 2;
    return 1;
}

/// Describes where frames are to go. Sizes are the framework's to change, so all of them are set again each time.
/// Returns how many there is room for.
static int prepare_reads(struct cvmnet *it, const struct iovec *frames, int count) {
    int limit = count < it->read_batch ? count : it->read_batch;
    size_t offered = 0;
    for (int i = 0; i < limit; i++) {
        size_t room = frames[i].iov_len < it->room ? frames[i].iov_len : it->room;
        offered += room;
        if (i > 0 && offered > MAXIMUM_READ) return i;
        it->read_pieces[i] = (struct iovec){.iov_base = frames[i].iov_base, .iov_len = room};
        it->reads[i] = (struct vmpktdesc){.vm_pkt_size = room, .vm_pkt_iov = &it->read_pieces[i], .vm_pkt_iovcnt = 1};
    }
    return limit;
}

int cvmnet_receive(void *interface, struct iovec *frames, int count) {
    struct cvmnet *it = interface;
    int limit, filled;
    vmnet_return_t status;
    do {
        limit = prepare_reads(it, frames, count);
        filled = limit;
        status = vmnet_read(it->interface, it->reads, &filled);
    } while (status == VMNET_TOO_MANY_PACKETS && halve(&it->read_batch, limit));
    // A temporary error: another event will follow.
    if (status == VMNET_BUFFER_EXHAUSTED || status == VMNET_SETUP_INCOMPLETE) return 0;
    if (status != VMNET_SUCCESS) return -(int)status;
    if (filled < 0 || filled > limit) return -EIO;
    for (int i = 0; i < filled; i++) {
        // vm_pkt_size is the only source of a frame's length. A length beyond the buffer marks an invalid frame.
        frames[i].iov_len = it->reads[i].vm_pkt_size <= it->room && it->reads[i].vm_pkt_size <= frames[i].iov_len
            ? it->reads[i].vm_pkt_size
            : 0;
    }
    return filled;
}

static vmnet_return_t write_one(struct cvmnet *it, const struct iovec *frame, int *written) {
    *written = 1;
    it->write_pieces[0] = *frame;
    it->writes[0].vm_pkt_size = frame->iov_len;
    return vmnet_write(it->interface, it->writes, written);
}

/// Writes one frame of a batch that was refused.
static int send_one(struct cvmnet *it, const struct iovec *frame) {
    int written;
    vmnet_return_t status = write_one(it, frame, &written);
    if (status == VMNET_INVALID_ARGUMENT && frame->iov_len < sizeof it->padded) {
        // Either the frame is too short or the interface is gone: a retry with the minimum Ethernet length decides.
        memset(it->padded, 0, sizeof it->padded);
        memcpy(it->padded, frame->iov_base, frame->iov_len);
        status = write_one(it, &(struct iovec){.iov_base = it->padded, .iov_len = sizeof it->padded}, &written);
    }
    switch (status) {
    case VMNET_SUCCESS: return written == 1 ? 0 : -ENOBUFS;
    case VMNET_BUFFER_EXHAUSTED: return -ENOBUFS;
    case VMNET_PACKET_TOO_BIG: return -EMSGSIZE;
    default: return -(int)status;
    }
}

int cvmnet_send(void *interface, const struct iovec *frames, int stride, int count) {
    struct cvmnet *it = interface;
    int sent = 0;
    while (sent < count) {
        int prepared = 0;
        size_t bytes = 0;
        while (sent + prepared < count && prepared < it->write_batch) {
            const struct iovec *frame = &frames[(sent + prepared) * stride];
            if (prepared > 0 && bytes + frame->iov_len > MAXIMUM_WRITE) break;
            bytes += frame->iov_len;
            it->write_pieces[prepared] = *frame;
            it->writes[prepared].vm_pkt_size = frame->iov_len;
            it->writes[prepared].vm_pkt_iovcnt = 1;
            it->writes[prepared].vm_flags = 0;
            prepared++;
        }
        int written = prepared;
        vmnet_return_t status = vmnet_write(it->interface, it->writes, &written);
        if (written < 0 || written > prepared) written = 0;
        if (status == VMNET_SUCCESS) {
            // Fewer than there were, without an error: there was no room for the rest.
            sent += written;
            if (written < prepared) return sent > 0 ? sent : -ENOBUFS;
            continue;
        }
        // Some frames may have been sent; a count equal to all means that the framework did not update it.
        if (written > 0 && written < prepared) return sent + written;
        if (status == VMNET_TOO_MANY_PACKETS && halve(&it->write_batch, prepared)) continue;
        // Sends the others even if one of them is invalid.
        int error = status == VMNET_BUFFER_EXHAUSTED ? -ENOBUFS : send_one(it, &frames[sent * stride]);
        if (error) return sent > 0 ? sent : error;
        sent++;
    }
    return sent;
}
