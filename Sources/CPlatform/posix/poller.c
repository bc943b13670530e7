// SPDX-License-Identifier: Apache-2.0
#include "CPlatform.h"

#include <sched.h>
#include <time.h>

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

// Nanoseconds between two yields, and how long a yield takes in which somebody else has run.
enum { YIELD_EVERY = 4000, OTHERS_RAN = 4000 };

int platform_poller_spin(int poller, struct platform_event *events, int capacity, int64_t limit) {
    // The first yield comes at once: whoever waits for this processor was mostly woken by what was done last.
    int64_t start = now(), yielded = start - YIELD_EVERY;
    int isBusy = 0;
    for (;;) {
        int count = platform_poller_wait(poller, events, capacity, 0);
        if (count != 0) return count;
        // Somebody else has work for this processor: spinning would take its time away.
        if (isBusy) return 0;
        int64_t time = now();
        if (time - start >= limit) return 0;
        if (time - yielded < YIELD_EVERY) continue;
        sched_yield();
        yielded = now();
        isBusy = yielded - time > OTHERS_RAN;
    }
}
