// SPDX-License-Identifier: Apache-2.0
// The names of dictionary entries: symbols, whose values are their names without the ending. And what is found by its
// name: the symbols that are newer than macOS 13.
#include <string.h>

#include "simulator.h"

#define KEY(name) const char *vmnet_##name##_key = "vmnet_" #name
KEY(operation_mode);
KEY(shared_interface_name);
KEY(mac_address);
KEY(allocate_mac_address);
KEY(mtu);
KEY(max_packet_size);
KEY(interface_id);
KEY(start_address);
KEY(end_address);
KEY(subnet_mask);
KEY(nat66_prefix);
KEY(estimated_packets_available);
KEY(network_identifier);
KEY(host_ip_address);
KEY(host_subnet_mask);
KEY(enable_isolation);
KEY(enable_tso);
KEY(enable_checksum_offload);
KEY(enable_virtio_header);
KEY(read_max_packets);
KEY(write_max_packets);

#define FUNCTION(name) extern void name(void)
FUNCTION(vmnet_interface_add_ip_port_forwarding_rule);
FUNCTION(vmnet_interface_start_with_network);
FUNCTION(vmnet_network_configuration_add_dhcp_reservation);
FUNCTION(vmnet_network_configuration_add_port_forwarding_rule);
FUNCTION(vmnet_network_configuration_create);
FUNCTION(vmnet_network_configuration_disable_dhcp);
FUNCTION(vmnet_network_configuration_set_external_interface);
FUNCTION(vmnet_network_configuration_set_ipv4_subnet);
FUNCTION(vmnet_network_configuration_set_ipv6_prefix);
FUNCTION(vmnet_network_configuration_set_mtu);
FUNCTION(vmnet_network_create);
FUNCTION(vmnet_network_get_ipv4_subnet);
FUNCTION(vmnet_network_get_ipv6_prefix);
FUNCTION(simulated_release);

void *vmnet_lookup(const char *symbol) {
    enum { ALWAYS, VIRTIO, OBJECTS };
    static const struct {
        const char *name;
        void *value;
        int since;
    } symbols[] = {
#define DATA(name, since) {#name, &name, since}
#define CODE(name, since)                                                                                              \
    { #name, (void *)name, since }
        DATA(vmnet_enable_checksum_offload_key, ALWAYS),
        DATA(vmnet_read_max_packets_key, ALWAYS),
        DATA(vmnet_write_max_packets_key, ALWAYS),
        DATA(vmnet_enable_virtio_header_key, VIRTIO),
        CODE(vmnet_interface_add_ip_port_forwarding_rule, ALWAYS),
        CODE(vmnet_interface_start_with_network, OBJECTS),
        CODE(vmnet_network_configuration_add_dhcp_reservation, OBJECTS),
        CODE(vmnet_network_configuration_add_port_forwarding_rule, OBJECTS),
        CODE(vmnet_network_configuration_create, OBJECTS),
        CODE(vmnet_network_configuration_disable_dhcp, OBJECTS),
        CODE(vmnet_network_configuration_set_external_interface, OBJECTS),
        CODE(vmnet_network_configuration_set_ipv4_subnet, OBJECTS),
        CODE(vmnet_network_configuration_set_ipv6_prefix, OBJECTS),
        CODE(vmnet_network_configuration_set_mtu, OBJECTS),
        CODE(vmnet_network_create, OBJECTS),
        CODE(vmnet_network_get_ipv4_subnet, OBJECTS),
        CODE(vmnet_network_get_ipv6_prefix, OBJECTS),
        // Not under its own name, which Foundation has on Linux too.
        {"CFRelease", (void *)simulated_release, ALWAYS},
    };
    struct vmnet_simulator_settings settings = simulator_settings();
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        if (strcmp(symbols[i].name, symbol) != 0) continue;
        int is_missing = (symbols[i].since == VIRTIO && settings.lacks_virtio_header) ||
            (symbols[i].since == OBJECTS && settings.lacks_network_objects);
        return is_missing ? NULL : symbols[i].value;
    }
    return NULL;
}
