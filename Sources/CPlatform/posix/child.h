// SPDX-License-Identifier: Apache-2.0
#ifndef CHILD_H
#define CHILD_H

/// Has a child process call `work`, which changes what the process may do, and returns a negative errno if it fails.
/// Returns 0 or that errno.
int child_result(int (*work)(const void *), const void *context);
/// The same with a descriptor that `work` returns. Returns the descriptor as one of this process.
int child_descriptor(int (*work)(const void *), const void *context);

#endif
