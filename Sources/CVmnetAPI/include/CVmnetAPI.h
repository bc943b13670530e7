// SPDX-License-Identifier: Apache-2.0
// Beside the headers of vmnet and XPC: how to find what this system's framework may lack.
#ifndef CVMNETAPI_H
#define CVMNETAPI_H

#if defined(__APPLE__)
#include <dlfcn.h>

static inline void *vmnet_lookup(const char *symbol) { return dlsym(RTLD_DEFAULT, symbol); }
#else
/// The simulator's in place of dlsym(3), so that it can be as old as a test wants it.
void *vmnet_lookup(const char *symbol);
#endif

#endif
