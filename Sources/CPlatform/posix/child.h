// SPDX-License-Identifier: Apache-2.0
#ifndef CHILD_H
#define CHILD_H

/// Has a child process call `open_it`, which changes what the process may do, and receives the descriptor that it
/// returns. Returns the descriptor, or the negative errno that `open_it` has returned.
int child_descriptor(int (*open_it)(const void *), const void *context);

#endif
