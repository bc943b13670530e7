// SPDX-License-Identifier: Apache-2.0
#include "CPlatform.h"

#include <sched.h>
#include <time.h>

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

// Nanoseconds between two yields, and the duration of a yield from which on another thread must have run.
enum { YIELD_EVERY = 4000, OTHERS_RAN = 4000 };

int platform_poller_spin(int poller, struct platform_event *events, int capacity, int64_t limit) {
    // Yields at once first: a thread that waits for this processor was mostly woken by the last batch.
    int64_t start = now(), yielded = start - YIELD_EVERY;
    int isBusy = 0;
    for (;;) {
        int count = platform_poller_wait(poller, events, capacity, 0);
        if (count != 0) return count;
        // Another thread has work for this processor: spinning would take time from it.
        if (isBusy) return 0;
        int64_t time = now();
        if (time - start >= limit) return 0;
        if (time - yielded < YIELD_EVERY) continue;
        sched_yield();
        yielded = now();
        isBusy = yielded - time > OTHERS_RAN;
    }
}
