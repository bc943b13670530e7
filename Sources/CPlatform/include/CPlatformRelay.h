// SPDX-License-Identifier: Apache-2.0
// Relayed TCP connections: their sockets and their memory (posix/relay.c). Part of CPlatform.h.
#ifndef CPLATFORM_RELAY_H
#define CPLATFORM_RELAY_H

#include <stddef.h>
#include <stdint.h>

/// Sets the options of a relayed TCP connection: no delay for small segments, urgent data in line.
void platform_stream_prepare(int fd);
/// Shuts down the sending direction of a stream; receiving goes on.
int platform_stream_finish(int fd);
/// Makes close(2) of a TCP socket reset the connection.
void platform_stream_reset(int fd);
/// Has the kernel probe the peer of a TCP socket (SO_KEEPALIVE) after `idle` seconds without a segment from it, at once
/// if that time has passed, and then every `interval` seconds; after `count` probes without an answer, the socket fails
/// with ETIMEDOUT. `idle` 0 ends it.
int platform_stream_keepalive(int fd, int idle, int interval, int count);
/// Pages of `length` bytes, all zero; NULL if the system has none. `platform_pages_free` returns them to the system.
void *platform_pages_allocate(size_t length);
void platform_pages_free(void *memory, size_t length);
/// Returns free memory of the C library's allocator to the system.
void platform_memory_trim(void);
/// The milliseconds since a TCP socket has received a segment; -ENOTSUP where the system does not report them.
int64_t platform_stream_silence(int fd);

#endif
