// SPDX-License-Identifier: Apache-2.0
#include "CPlatform.h"

#include <sched.h>
#include <time.h>

int platform_poller_spin(int poller, struct platform_event *events, int capacity, int64_t limit) {
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (;;) {
        int count = platform_poller_wait(poller, events, capacity, 0);
        if (count != 0) return count;
        // Whoever else waits for this processor, perhaps to send us something, goes first.
        sched_yield();
        clock_gettime(CLOCK_MONOTONIC, &now);
        if ((now.tv_sec - start.tv_sec) * 1000000000 + (now.tv_nsec - start.tv_nsec) >= limit) return 0;
    }
}
