// SPDX-License-Identifier: Apache-2.0
// Liveness of relayed TCP connections (socket.c). Part of CPlatform.h.
#ifndef CPLATFORM_RELAY_H
#define CPLATFORM_RELAY_H

#include <stdint.h>

/// Has the kernel probe the peer of a TCP socket (SO_KEEPALIVE) after `idle` seconds without a segment from it, at once
/// if that time has passed, and then every `interval` seconds; after `count` probes without an answer, the socket fails
/// with ETIMEDOUT. `idle` 0 ends it.
int platform_stream_keepalive(int fd, int idle, int interval, int count);
/// The milliseconds since a TCP socket has received a segment; -ENOTSUP where the system does not report them.
int64_t platform_stream_silence(int fd);

#endif
