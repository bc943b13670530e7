// SPDX-License-Identifier: Apache-2.0
#if defined(__linux__)
#include "CPlatform.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

// The capabilities of a process are those of each of its threads (capabilities(7)). Threads that are started later drop
// theirs first of all.
static _Atomic uint64_t kept = UINT64_MAX;

void platform_privileges_keep(uint64_t capabilities) { atomic_store(&kept, capabilities); }

// `held` without what is not kept, in the two halves that capset takes.
static void reduce(struct __user_cap_data_struct sets[2], uint64_t keep, int is_root) {
    for (int half = 0; half < 2; half++) {
        uint32_t mask = (uint32_t)(keep >> (32 * half));
        sets[half].effective &= mask;
        sets[half].permitted &= mask;
        // Children of root get their capabilities from the bounding set, those of other users only by inheritance.
        sets[half].inheritable &= is_root ? 0 : mask;
    }
}

int platform_privileges_drop(void) {
    uint64_t keep = atomic_load(&kept);
    int is_root = geteuid() == 0;
    if (keep == UINT64_MAX) return 0;
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    struct __user_cap_data_struct sets[2];
    if (syscall(SYS_capget, &header, sets) < 0) return -errno;
    // Without CAP_SETPCAP the bounding set cannot change; no_new_privs (below) makes it ineffective.
    for (unsigned capability = 0; capability < 64 && prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++) {
        if (keep >> capability & 1) continue;
        if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0 && errno != EPERM) return -errno;
        if (!is_root) (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_LOWER, capability, 0, 0);
    }
    if (is_root) (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    reduce(sets, keep, is_root);
    if (syscall(SYS_capset, &header, sets) < 0) return -errno;
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}
#endif
