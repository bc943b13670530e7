// SPDX-License-Identifier: Apache-2.0
// How the simulator is to behave: set by a test in the same program, or through the environment.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "VmnetSimulator.h"
#include "simulator.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct vmnet_simulator_settings settings;
static int is_configured;

static void take_environment(void) {
    is_configured = 1;
    const char *text = getenv("VMNET_SIMULATOR");
    char copy[512] = "", *rest = copy;
    if (!text) return;
    strncpy(copy, text, sizeof copy - 1);
    for (char *pair; (pair = strsep(&rest, ",")) != NULL;) {
        char *value = strchr(pair, '=');
        if (!value) continue;
        *value++ = 0;
        unsigned number = (unsigned)atoi(value);
        if (strcmp(pair, "tap") == 0) strncpy(settings.tap, value, sizeof settings.tap - 1);
#define SETTING(name) else if (strcmp(pair, #name) == 0) settings.name = number
        SETTING(start_status);
        SETTING(unregistered_starts);
        SETTING(start_without_handle);
        SETTING(start_silent);
        SETTING(stop_silent);
        SETTING(start_delay);
        SETTING(edge_events);
        SETTING(spurious_events);
        SETTING(batch);
        SETTING(hides_batches);
        SETTING(high_estimates);
        SETTING(lacks_virtio_header);
        SETTING(lacks_network_objects);
        SETTING(network_status);
        SETTING(rule_status);
        SETTING(network_delay);
        SETTING(object_without_handle);
        SETTING(rule_silent);
        SETTING(masked_subnet);
        SETTING(report);
        SETTING(least_frame);
        SETTING(exhausted_every);
        SETTING(partial_every);
        SETTING(vanish_after);
        SETTING(header_inside);
        SETTING(refuses_bridged_isolation);
        SETTING(requires_isolation_set);
        SETTING(gone_status);
        SETTING(short_reads);
        SETTING(silent_after);
        SETTING(early_frames);
        SETTING(errors_take_some);
        SETTING(errors_keep_count);
        SETTING(byte_limit);
        SETTING(queue_depth);
        SETTING(exclusive_calls);
        SETTING(checks_sources);
        SETTING(drops_tagged);
        SETTING(mtu_limit);
        SETTING(hides_addresses);
        SETTING(subnet_ends_dhcp);
        SETTING(object_refuses_header);
        SETTING(object_takes_network);
        SETTING(stop_status);
        SETTING(rule_handler_early);
        SETTING(slowness);
        else fprintf(stderr, "VMNET_SIMULATOR: there is no setting '%s'\n", pair); }
}

void vmnet_simulator_set(const struct vmnet_simulator_settings *wanted) {
    pthread_mutex_lock(&mutex);
    settings = *wanted;
    is_configured = 1;
    pthread_mutex_unlock(&mutex);
}

struct vmnet_simulator_settings simulator_settings(void) {
    pthread_mutex_lock(&mutex);
    if (!is_configured) take_environment();
    struct vmnet_simulator_settings now = settings;
    pthread_mutex_unlock(&mutex);
    return now;
}
