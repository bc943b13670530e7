// SPDX-License-Identifier: Apache-2.0
// Interfaces in other network namespaces (linux/namespace.c). Part of CPlatform.h.
#ifndef CPLATFORM_NAMESPACE_H
#define CPLATFORM_NAMESPACE_H

#include <stdint.h>

/// Opens the file of a network namespace. -EINVAL for any other file, which is not opened: that could change a device.
int platform_namespace_open(const char *path);
/// Whether a network namespace is another one than this process's. A negative errno if that is not known.
int platform_namespace_is_other(int fd);
/// A descriptor that is readable when the process has ended (pidfd_open(2), Linux 5.3).
int platform_process_handle(int32_t process);
/// Creates a TAP in the network namespace `fd` as platform_tap_open does, with a hardware address and an MTU, and
/// brings it up. Returns its descriptor. -EPERM without CAP_SYS_ADMIN and CAP_NET_ADMIN in the user namespace that owns
/// `fd`, which this process enters if it has made it.
int platform_namespace_tap(int fd, const char *name, const uint8_t hardware[6], uint32_t mtu);
/// Gives an interface of the network namespace `fd` an IPv4 address, brings the loopback interface up, and adds a
/// default route by `gateway` unless that is 0; in host order.
int platform_namespace_configure(int fd, const char *name, uint32_t address, uint8_t prefix_length, uint32_t gateway);

#endif
