// SPDX-License-Identifier: Apache-2.0
// Beside the headers of vmnet and XPC: how to find what this system's framework may lack, and the service behind it.
#ifndef CVMNETAPI_H
#define CVMNETAPI_H

#if defined(__APPLE__)
#include <dlfcn.h>
#include <mach/mach.h>

static inline void *vmnet_lookup(const char *symbol) { return dlsym(RTLD_DEFAULT, symbol); }

/// Of <servers/bootstrap.h>, which not every set of Apple's headers includes. The unknown service is 1102 there.
extern kern_return_t bootstrap_look_up(mach_port_t bootstrap, const char name[128], mach_port_t *service);

/// Whether launchd offers the Mach service that vmnet.framework calls: early at boot it does not. Any other failure
/// counts as known.
static inline int vmnet_service_is_registered(void) {
    mach_port_t service = MACH_PORT_NULL;
    kern_return_t status = bootstrap_look_up(bootstrap_port, "com.apple.NetworkSharing", &service);
    if (status == KERN_SUCCESS) mach_port_deallocate(mach_task_self(), service);
    return status != 1102;
}
#else
/// The simulator's in place of dlsym(3), so that it can be as old as a test needs.
void *vmnet_lookup(const char *symbol);
/// The simulator's.
int vmnet_service_is_registered(void);
#endif

#endif
