// SPDX-License-Identifier: Apache-2.0
// Interfaces in other network namespaces (linux/namespace.c). Part of CPlatform.h.
#ifndef CPLATFORM_NAMESPACE_H
#define CPLATFORM_NAMESPACE_H

#include <stdint.h>

/// Whether the open file is a network namespace other than this process's: 1, or 0 for this process's. -ENOTTY or
/// -EINVAL if it is none.
int platform_namespace_is_other(int fd);
/// Creates a TAP in the network namespace `fd` as platform_tap_open does, with an MTU, and brings it up. Returns its
/// descriptor. -EPERM without CAP_SYS_ADMIN and CAP_NET_ADMIN in the user namespace that owns `fd`, which this process
/// enters if it has made it.
int platform_namespace_tap(int fd, const char *name, uint32_t mtu);

#endif
