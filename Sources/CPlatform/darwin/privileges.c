// SPDX-License-Identifier: Apache-2.0
#if defined(__APPLE__)
#include "CPlatform.h"

// macOS has no capabilities: the only privilege to drop would be root itself, which vmnet needs.
void platform_privileges_keep(uint64_t capabilities) { (void)capabilities; }
int platform_privileges_drop(void) { return 0; }
#endif
