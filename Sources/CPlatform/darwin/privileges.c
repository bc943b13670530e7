// SPDX-License-Identifier: Apache-2.0
#if defined(__APPLE__)
#include "CPlatform.h"

// macOS does not divide root's rights: there is nothing to give up short of being root, which vmnet needs.
void platform_privileges_keep(uint64_t capabilities) { (void)capabilities; }
int platform_privileges_drop(void) { return 0; }
#endif
