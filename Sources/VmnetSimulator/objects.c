// SPDX-License-Identifier: Apache-2.0
// Network objects of macOS 26: configurations, and networks that are made of them, which reserve their range for as
// long as they live.
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "simulator.h"

enum { OBJECTS = 64 };

static struct object *objects[OBJECTS];

static char last_external_interface[16];

int vmnet_simulator_objects(void) {
    int count = 0;
    pthread_mutex_lock(&simulator_mutex);
    for (int i = 0; i < OBJECTS; i++) count += objects[i] != NULL;
    pthread_mutex_unlock(&simulator_mutex);
    return count;
}

void vmnet_simulator_external_interface(char name[16]) {
    pthread_mutex_lock(&simulator_mutex);
    memcpy(name, last_external_interface, sizeof last_external_interface);
    pthread_mutex_unlock(&simulator_mutex);
}

static struct object *add(struct object value) {
    for (int i = 0; i < OBJECTS; i++) {
        if (objects[i]) continue;
        objects[i] = malloc(sizeof value);
        *objects[i] = value;
        objects[i]->references = 1;
        return objects[i];
    }
    return NULL;
}

void object_release(struct object *object) {
    if (--object->references > 0) return;
    simulated_rules_remove(object);
    for (int i = 0; i < OBJECTS; i++) {
        if (objects[i] == object) objects[i] = NULL;
    }
    free(object);
}

void simulated_release(void *object) {
    pthread_mutex_lock(&simulator_mutex);
    object_release(object);
    pthread_mutex_unlock(&simulator_mutex);
}

int object_overlaps(uint32_t start, uint32_t mask, const struct object *except) {
    for (int i = 0; i < OBJECTS; i++) {
        struct object *other = objects[i];
        if (!other || other == except || !other->is_made) continue;
        uint32_t shorter = mask < other->mask ? mask : other->mask;
        if ((start & shorter) == (other->start & shorter)) return 1;
    }
    return 0;
}

// ---- Configurations

void *vmnet_network_configuration_create(uint32_t mode, vmnet_return_t *status) {
    vmnet_return_t outcome =
        mode == VMNET_SHARED_MODE || mode == VMNET_HOST_MODE ? VMNET_SUCCESS : VMNET_INVALID_ARGUMENT;
    if (status) *status = outcome;
    if (outcome != VMNET_SUCCESS) return NULL;
    pthread_mutex_lock(&simulator_mutex);
    struct object *object = add(
        (struct object){.mode = mode, .start = mode == VMNET_HOST_MODE ? 0xc0a88001 : 0xc0a84001, .mask = 0xffffff00});
    pthread_mutex_unlock(&simulator_mutex);
    return object;
}

vmnet_return_t vmnet_network_configuration_set_external_interface(struct object *it, const char *name) {
    if (it->mode != VMNET_SHARED_MODE || strncmp(name, "en", 2) != 0) return VMNET_INVALID_ARGUMENT;
    strncpy(it->external_interface, name, sizeof it->external_interface - 1);
    return VMNET_SUCCESS;
}

vmnet_return_t vmnet_network_configuration_set_ipv4_subnet(
    struct object *it, const struct in_addr *address, const struct in_addr *mask) {
    it->start = ntohl(address->s_addr);
    it->mask = ntohl(mask->s_addr);
    if (simulator_settings().subnet_ends_dhcp) it->without_dhcp = 1;
    // The second address is the host's; the first is taken, too, and makes trouble later.
    return (it->start & ~it->mask) <= 1 ? VMNET_SUCCESS : VMNET_INVALID_ARGUMENT;
}

vmnet_return_t vmnet_network_configuration_set_ipv6_prefix(
    struct object *it, const struct in6_addr *prefix, uint8_t length) {
    if (length != 64 || prefix->s6_addr[0] != 0xfd) return VMNET_INVALID_ARGUMENT;
    it->prefix = *prefix;
    return VMNET_SUCCESS;
}

vmnet_return_t vmnet_network_configuration_set_mtu(struct object *it, uint32_t mtu) {
    it->mtu = mtu;
    return VMNET_SUCCESS;
}

vmnet_return_t vmnet_network_configuration_add_dhcp_reservation(
    struct object *it, const uint8_t client[6], const struct in_addr *address) {
    if (it->reservation_count == 16) return VMNET_MEM_FAILURE;
    uint32_t value = ntohl(address->s_addr);
    if ((value & it->mask) != (it->start & it->mask) || value == it->start) return VMNET_INVALID_ARGUMENT;
    memcpy(it->reservations[it->reservation_count].mac, client, 6);
    it->reservations[it->reservation_count++].address = value;
    return VMNET_SUCCESS;
}

vmnet_return_t vmnet_network_configuration_add_port_forwarding_rule(struct object *it, uint8_t protocol,
    sa_family_t family, uint16_t internal_port, uint16_t external_port, const void *internal_address) {
    struct in_addr guest;
    if (family != AF_INET) return VMNET_INVALID_ARGUMENT;
    memcpy(&guest, internal_address, sizeof guest);
    pthread_mutex_lock(&simulator_mutex);
    vmnet_return_t status = simulated_rules_add(it, protocol, external_port, ntohl(guest.s_addr), internal_port);
    pthread_mutex_unlock(&simulator_mutex);
    return status;
}

void vmnet_network_configuration_disable_dhcp(struct object *it) { it->without_dhcp = 1; }

// ---- Networks

void *vmnet_network_create(struct object *configuration, vmnet_return_t *status) {
    struct vmnet_simulator_settings settings = simulator_settings();
    wait_a_little(settings.network_delay);
    pthread_mutex_lock(&simulator_mutex);
    struct object *network = NULL;
    vmnet_return_t outcome = (vmnet_return_t)settings.network_status;
    if (!outcome)
        outcome = is_private(configuration->start) && !object_overlaps(configuration->start, configuration->mask, NULL)
            ? VMNET_SUCCESS
            : VMNET_FAILURE;
    if (outcome == VMNET_SUCCESS) network = add(*configuration);
    if (network) {
        network->is_made = 1;
        memcpy(last_external_interface, network->external_interface, sizeof last_external_interface);
        // What forwards is the network, not its description.
        simulated_rules_move(configuration, network);
    }
    pthread_mutex_unlock(&simulator_mutex);
    if (status) *status = outcome;
    return network;
}

void vmnet_network_get_ipv4_subnet(struct object *it, struct in_addr *subnet, struct in_addr *mask) {
    struct vmnet_simulator_settings settings = simulator_settings();
    subnet->s_addr = htonl(settings.masked_subnet ? it->start & it->mask : it->start);
    mask->s_addr = htonl(it->mask);
}

void vmnet_network_get_ipv6_prefix(struct object *it, struct in6_addr *prefix, uint8_t *length) {
    *prefix = it->prefix;
    *length = it->prefix.s6_addr[0] ? 64 : 0;
}

interface_ref vmnet_interface_start_with_network(struct object *network, xpc_object_t description,
    dispatch_queue_t queue, vmnet_start_interface_completion_handler_t handler) {
    return simulated_start(network, description, queue, handler);
}
