// SPDX-License-Identifier: Apache-2.0
#include "CPlatform.h"

#if PLATFORM_IS_DARWIN
// There is no eventfd: front ends for macOS do not exist.
int platform_vhost_supported(void) { return 0; }
ssize_t platform_vhost_receive(
    int fd, void *bytes, size_t length, int descriptors[PLATFORM_VHOST_DESCRIPTORS], int *count) {
    (void)fd, (void)bytes, (void)length, (void)descriptors;
    *count = 0;
    return -ENOTSUP;
}
void platform_vhost_open_signaller(struct platform_vhost_signaller *signaller) {
    *signaller = (struct platform_vhost_signaller){0};
}
void platform_vhost_close_signaller(struct platform_vhost_signaller *signaller) { (void)signaller; }
void platform_vhost_signal(struct platform_vhost_signaller *signaller, int event) { (void)signaller, (void)event; }
int platform_vhost_prepare_event(int fd) { return (void)fd, -ENOTSUP; }
int platform_vhost_watch(int poller, int event) { return (void)poller, (void)event, -ENOTSUP; }
void platform_vhost_drain(int poller) { (void)poller; }
int platform_vhost_map(int fd, uint64_t length, struct platform_vhost_mapping *mapping) {
    return (void)fd, (void)length, (void)mapping, -ENOTSUP;
}
void platform_vhost_unmap(const struct platform_vhost_mapping *mapping) { (void)mapping; }
int platform_vhost_is_lost(const struct platform_vhost_mapping *mapping) { return (void)mapping, 0; }
#endif
