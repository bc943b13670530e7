// SPDX-License-Identifier: Apache-2.0
// Waiting for a handler that may come late, or never.
#include <errno.h>
#include <stdlib.h>

#include "internal.h"

struct answer *answer_create(void) {
    struct answer *answer = calloc(1, sizeof *answer);
    if (!answer) return NULL;
    answer->done = dispatch_semaphore_create(0);
    atomic_init(&answer->holders, 2);
    return answer;
}

void answer_release(struct answer *answer) {
    if (atomic_fetch_sub(&answer->holders, 1) > 1) return;
    dispatch_release(answer->done);
    free(answer);
}

int answer_wait(struct answer *answer, uint64_t timeout) {
    return dispatch_semaphore_wait(answer->done, dispatch_time(DISPATCH_TIME_NOW, (int64_t)timeout)) == 0 ? 0
                                                                                                          : -ETIMEDOUT;
}

int answer_claim(struct answer *answer, int state) {
    int waiting = WAITING;
    return atomic_compare_exchange_strong(&answer->state, &waiting, state);
}

void answer_give(struct answer *answer, vmnet_return_t status) {
    answer->status = status;
    dispatch_semaphore_signal(answer->done);
    answer_release(answer);
}
