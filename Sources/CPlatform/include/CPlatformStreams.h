// SPDX-License-Identifier: Apache-2.0
// The standard streams (posix/process.c). Part of CPlatform.h.
#ifndef CPLATFORM_STREAMS_H
#define CPLATFORM_STREAMS_H

/// Opens /dev/null in place of every standard stream that is closed, so that no other file gets its number. Must be
/// called first.
void platform_open_standard_streams(void);
/// The size of the terminal at a descriptor (TIOCGWINSZ): rows << 16 | columns. -1 if it is none, or has no size.
int platform_terminal_size(int fd);
/// Points standard input, output and error at /dev/null.
void platform_detach_standard_streams(void);

#endif
