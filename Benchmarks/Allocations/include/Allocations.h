// SPDX-License-Identifier: Apache-2.0
#ifndef ALLOCATIONS_H
#define ALLOCATIONS_H
#include <stdint.h>

/// How often this thread has requested memory so far: malloc and its relatives are counted in a program that has this
/// linked in.
uint64_t allocations_so_far(void);

#endif
