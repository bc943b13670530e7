// SPDX-License-Identifier: Apache-2.0
// Port forwarding: what was requested, kept for tests to look at. A port has one rule.
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "simulator.h"

enum { RULES = 64 };

static struct {
    const void *owner;
    struct vmnet_simulator_rule rule;
} rules[RULES];

static int is_same_port(int i, uint8_t protocol, uint16_t external_port) {
    return rules[i].owner && rules[i].rule.protocol == protocol && rules[i].rule.external_port == external_port;
}

vmnet_return_t simulated_rules_add(
    const void *owner, uint8_t protocol, uint16_t external_port, uint32_t address, uint16_t internal_port) {
    struct vmnet_simulator_settings settings = simulator_settings();
    if (settings.rule_status) return (vmnet_return_t)settings.rule_status;
    if (!external_port || !internal_port || (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP))
        return VMNET_INVALID_ARGUMENT;
    int place = -1;
    for (int i = 0; i < RULES; i++) {
        if (is_same_port(i, protocol, external_port)) return VMNET_FAILURE;
        if (!rules[i].owner && place < 0) place = i;
    }
    if (place < 0) return VMNET_MEM_FAILURE;
    rules[place].owner = owner;
    rules[place].rule = (struct vmnet_simulator_rule){
        .protocol = protocol, .external_port = external_port, .internal_port = internal_port, .address = address};
    if (settings.report) {
        fprintf(stderr, "VMNET_SIMULATOR: %s port %u leads to %u.%u.%u.%u, port %u\n",
            protocol == IPPROTO_TCP ? "tcp" : "udp", external_port, address >> 24, address >> 16 & 255,
            address >> 8 & 255, address & 255, internal_port);
    }
    return VMNET_SUCCESS;
}

void simulated_rules_remove(const void *owner) {
    for (int i = 0; i < RULES; i++) {
        if (rules[i].owner == owner) rules[i].owner = NULL;
    }
}

void simulated_rules_move(const void *from, const void *to) {
    for (int i = 0; i < RULES; i++) {
        if (rules[i].owner == from) rules[i].owner = to;
    }
}

int vmnet_simulator_rules(struct vmnet_simulator_rule *found, int capacity) {
    int count = 0;
    pthread_mutex_lock(&simulator_mutex);
    for (int i = 0; i < RULES && count < capacity; i++) {
        if (rules[i].owner) found[count++] = rules[i].rule;
    }
    pthread_mutex_unlock(&simulator_mutex);
    return count;
}

vmnet_return_t vmnet_interface_add_ip_port_forwarding_rule(interface_ref it, uint8_t protocol, uint16_t external_port,
    uint8_t family, const void *address, uint16_t internal_port, vmnet_interface_completion_handler_t handler) {
    if (family != AF_INET) return VMNET_INVALID_ARGUMENT;
    struct in_addr guest;
    memcpy(&guest, address, sizeof guest);
    pthread_mutex_lock(&simulator_mutex);
    vmnet_return_t status = it->mode == VMNET_SHARED_MODE
        ? simulated_rules_add(it, protocol, external_port, ntohl(guest.s_addr), internal_port)
        : VMNET_INVALID_ARGUMENT;
    pthread_mutex_unlock(&simulator_mutex);
    if (it->settings.rule_handler_early) {
        handler(status);
    } else if (!it->settings.rule_silent) {
        // On a queue without a name.
        dispatch_async(dispatch_get_global_queue(DISPATCH_QUEUE_PRIORITY_DEFAULT, 0), ^{ handler(status); });
    }
    return VMNET_SUCCESS;
}
