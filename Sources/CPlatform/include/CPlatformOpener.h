// SPDX-License-Identifier: Apache-2.0
// A process that opens files (posix/opener.c). Part of CPlatform.h.
#ifndef CPLATFORM_OPENER_H
#define CPLATFORM_OPENER_H

#include <stddef.h>
#include <stdint.h>

/// A user with its groups.
struct platform_identity {
    uint32_t user, group;
    const uint32_t *groups;
    int group_count;
};
/// A path below the directory, with a terminator, and a number that the answer repeats.
struct platform_opener_request {
    uint32_t number;
    char path[512];
};
/// Starts a process that opens regular files below `directory` for reading, without following links. It has the rights
/// of `identity` (NULL: of this process's user), no capabilities, and no other descriptor of this process. Returns a
/// socket to it; the process ends when that is closed. Must be called before any thread is started.
int platform_opener_start(int directory, const struct platform_identity *identity);
/// Sends a request. The socket has room for 8 unanswered ones.
int platform_opener_send(int socket, const struct platform_opener_request *request);
/// Receives an answer: its number, and the open file or a negative errno. -EAGAIN if there is none and `waits` is 0;
/// -EPIPE if the process has ended.
int platform_opener_receive(int socket, int waits, uint32_t *number, int *file);
/// pread(2), repeated after a signal. Returns the bytes that were read.
int64_t platform_read_at(int fd, void *bytes, size_t count, int64_t offset);

#endif
