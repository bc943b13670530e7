// SPDX-License-Identifier: Apache-2.0
// Network objects (macOS 26): a network that is described, then made, and on which interfaces are started. Everything
// is looked up, since older systems have none of it, and older SDKs no declarations.
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

/// The functions. Configurations and networks are opaque, and counted as objects of Core Foundation are.
struct api {
    void *(*configuration_create)(uint32_t mode, vmnet_return_t *status);
    vmnet_return_t (*set_external_interface)(void *configuration, const char *name);
    vmnet_return_t (*set_ipv4_subnet)(void *configuration, const struct in_addr *gateway, const struct in_addr *mask);
    vmnet_return_t (*set_ipv6_prefix)(void *configuration, const struct in6_addr *prefix, uint8_t length);
    vmnet_return_t (*set_mtu)(void *configuration, uint32_t mtu);
    vmnet_return_t (*add_dhcp_reservation)(void *configuration, const uint8_t client[6], const struct in_addr *address);
    // The guest's port comes first here, the Mac's second.
    vmnet_return_t (*add_port_forwarding_rule)(void *configuration, uint8_t protocol, sa_family_t family,
        uint16_t internal_port, uint16_t external_port, const void *internal_address);
    void (*disable_dhcp)(void *configuration);
    void *(*create)(void *configuration, vmnet_return_t *status);
    void (*get_ipv4_subnet)(void *network, struct in_addr *subnet, struct in_addr *mask);
    void (*get_ipv6_prefix)(void *network, struct in6_addr *prefix, uint8_t *length);
    interface_ref (*start_interface)(void *network, xpc_object_t description, dispatch_queue_t queue,
        vmnet_start_interface_completion_handler_t handler);
    void (*release)(const void *object);
};

/// In the order of the structure.
static const char *const names[] = {
    "vmnet_network_configuration_create",
    "vmnet_network_configuration_set_external_interface",
    "vmnet_network_configuration_set_ipv4_subnet",
    "vmnet_network_configuration_set_ipv6_prefix",
    "vmnet_network_configuration_set_mtu",
    "vmnet_network_configuration_add_dhcp_reservation",
    "vmnet_network_configuration_add_port_forwarding_rule",
    "vmnet_network_configuration_disable_dhcp",
    "vmnet_network_create",
    "vmnet_network_get_ipv4_subnet",
    "vmnet_network_get_ipv6_prefix",
    "vmnet_interface_start_with_network",
    "CFRelease",
};

_Static_assert(sizeof(struct api) == sizeof names, "a name for each function");

/// False where one of them is missing.
static int find(struct api *api) {
    void *found[sizeof names / sizeof *names];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        found[i] = vmnet_lookup(names[i]);
        if (!found[i]) return 0;
    }
    memcpy(api, found, sizeof *api);
    return 1;
}

int cvmnet_has_network_objects(void) {
    struct api api;
    return find(&api);
}

struct network_request {
    struct api api;
    void *configuration;
};

/// Hands `options` on until something is not taken.
static vmnet_return_t configure(
    const struct network_request *request, const struct cvmnet_options *options, int *failed_rule) {
    const struct api *api = &request->api;
    void *configuration = request->configuration;
    vmnet_return_t status = VMNET_SUCCESS;
    struct in_addr address, mask;
    struct in6_addr prefix;
    // The gateway, not the network's own address: of a macOS 26 that took the latter, interfaces did not start.
    if (options->start_address) {
        if (inet_pton(AF_INET, options->start_address, &address) != 1 ||
            inet_pton(AF_INET, options->subnet_mask, &mask) != 1)
            return VMNET_INVALID_ARGUMENT;
        status = api->set_ipv4_subnet(configuration, &address, &mask);
    }
    if (status == VMNET_SUCCESS && options->nat66_prefix) {
        if (inet_pton(AF_INET6, options->nat66_prefix, &prefix) != 1) return VMNET_INVALID_ARGUMENT;
        status = api->set_ipv6_prefix(configuration, &prefix, 64);
    }
    if (status == VMNET_SUCCESS && options->mtu) status = api->set_mtu(configuration, (uint32_t)options->mtu);
    if (status == VMNET_SUCCESS && options->external_interface)
        status = api->set_external_interface(configuration, options->external_interface);
    if (options->without_dhcp) api->disable_dhcp(configuration);
    for (int i = 0; i < options->reservation_count && status == VMNET_SUCCESS; i++) {
        memcpy(&address, options->reservations[i].address, sizeof address);
        status = api->add_dhcp_reservation(configuration, options->reservations[i].mac, &address);
    }
    for (int i = 0; i < options->rule_count && status == VMNET_SUCCESS; i++) {
        const struct cvmnet_rule *rule = &options->rules[i];
        memcpy(&address, rule->address, sizeof address);
        status = api->add_port_forwarding_rule(
            configuration, rule->protocol, AF_INET, rule->internal_port, rule->external_port, &address);
        if (status != VMNET_SUCCESS) *failed_rule = i;
    }
    return status;
}

struct network_request *network_request_create(
    const struct cvmnet_options *options, vmnet_return_t *status, int *failed_rule) {
    struct network_request *request = calloc(1, sizeof *request);
    *status = VMNET_MEM_FAILURE;
    if (!request) return NULL;
    *status = VMNET_FAILURE;
    if (find(&request->api)) request->configuration = request->api.configuration_create(options->mode, status);
    if (request->configuration) *status = configure(request, options, failed_rule);
    if (*status == VMNET_SUCCESS && request->configuration) return request;
    network_request_free(request);
    return NULL;
}

void *network_create(struct network_request *request, vmnet_return_t *status) {
    return request->api.create(request->configuration, status);
}

void network_request_free(struct network_request *request) {
    if (request->configuration) request->api.release(request->configuration);
    free(request);
}

void network_release(void *network) {
    struct api api;
    if (find(&api)) api.release(network);
}

interface_ref network_start_interface(void *network, xpc_object_t description, dispatch_queue_t queue,
    vmnet_start_interface_completion_handler_t handler) {
    struct api api;
    return find(&api) ? api.start_interface(network, description, queue, handler) : NULL;
}

void network_describe(void *network, struct cvmnet_parameters *parameters) {
    struct api api;
    struct in_addr subnet = {0}, mask = {0};
    struct in6_addr prefix;
    uint8_t length = 0;
    if (!find(&api)) return;
    api.get_ipv4_subnet(network, &subnet, &mask);
    // Some versions report the network, some the gateway. The gateway is the first address, and the last but one is the
    // last for guests.
    uint32_t base = ntohl(subnet.s_addr & mask.s_addr);
    struct in_addr first = {htonl(base + 1)}, last = {htonl((base | ~ntohl(mask.s_addr)) - 1)};
    inet_ntop(AF_INET, &first, parameters->start_address, sizeof parameters->start_address);
    inet_ntop(AF_INET, &last, parameters->end_address, sizeof parameters->end_address);
    inet_ntop(AF_INET, &mask, parameters->subnet_mask, sizeof parameters->subnet_mask);
    api.get_ipv6_prefix(network, &prefix, &length);
    if (length > 0) inet_ntop(AF_INET6, &prefix, parameters->nat66_prefix, sizeof parameters->nat66_prefix);
}
