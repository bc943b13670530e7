// SPDX-License-Identifier: Apache-2.0
//
// What is known of the build. A build by the Makefile links an object with another definition of this function, which
// replaces the weak one, so that a new commit costs a link and no compilation.
#include "CPlatform.h"

__attribute__((weak)) const char *platform_commit(void) { return ""; }
