// SPDX-License-Identifier: Apache-2.0
// The counterpart of netlink, TAP and packet sockets. On macOS vmnet.framework is the uplink, so that only the
// notification of network changes is needed.
#if defined(__APPLE__)
#include "CPlatform.h"

#include <errno.h>
#include <net/route.h>

int platform_routes(struct platform_route *routes, int capacity) {
    (void)routes, (void)capacity;
    return -ENOTSUP;
}

int platform_link_change(uint32_t index, const struct platform_link_change *change) {
    (void)index, (void)change;
    return -ENOTSUP;
}

int platform_routes6(struct platform_route6 *routes, int capacity) {
    (void)routes, (void)capacity;
    return -ENOTSUP;
}

int platform_address6_add(uint32_t index, const uint8_t *address, uint8_t prefix_length) {
    (void)index, (void)address, (void)prefix_length;
    return -ENOTSUP;
}

int platform_address_add(uint32_t index, uint32_t address, uint8_t prefix_length) {
    (void)index, (void)address, (void)prefix_length;
    return -ENOTSUP;
}

int platform_link_get(uint32_t index, struct platform_link *link) {
    (void)index, (void)link;
    return -ENOTSUP;
}

int platform_route_add(uint32_t index, uint32_t network, uint8_t prefix_length, uint32_t source) {
    (void)index, (void)network, (void)prefix_length, (void)source;
    return -ENOTSUP;
}

int platform_route_lookup(uint32_t destination, uint32_t source, uint32_t input, uint32_t *output, uint32_t *mtu) {
    (void)destination, (void)source, (void)input, (void)output, (void)mtu;
    return -ENOTSUP;
}

int platform_rules(int is_ipv6, struct platform_rule *rules, int capacity) {
    (void)is_ipv6, (void)rules, (void)capacity;
    return -ENOTSUP;
}

int platform_rule_change(int add, const uint8_t *network, int is_ipv6, uint8_t prefix_length, uint32_t priority) {
    (void)add, (void)network, (void)is_ipv6, (void)prefix_length, (void)priority;
    return -ENOTSUP;
}

// Every change of links, addresses and routes is a message here (route(4)).
int platform_network_monitor(void) { return platform_socket(PF_ROUTE, SOCK_RAW); }

int platform_firewall_monitor(void) { return -ENOTSUP; }

size_t platform_firewall_tables(const uint8_t *notice, size_t length, char *names, size_t capacity) {
    (void)notice, (void)length, (void)names, (void)capacity;
    return 0;
}

int platform_packet_log_open(uint16_t *group) {
    (void)group;
    return -ENOTSUP;
}

int platform_packet_log_receive(int fd, struct platform_logged_packet *packets, int capacity) {
    (void)fd, (void)packets, (void)capacity;
    return -ENOTSUP;
}

int platform_conntrack_remove(const struct platform_prefix *sources, int count, int first_label, int last_label) {
    (void)sources, (void)count, (void)first_label, (void)last_label;
    return -ENOTSUP;
}

uint64_t platform_network_namespace(void) { return 0; }

int platform_tap_open(const char *name, int create, uint32_t *offloads) {
    (void)name, (void)create, (void)offloads;
    return -ENOTSUP;
}

int platform_tap_adopt(int fd, char name[16], uint32_t *offloads) {
    (void)fd, (void)name, (void)offloads;
    return -ENOTSUP;
}

int platform_namespace_open(const char *path) {
    (void)path;
    return -ENOTSUP;
}

int platform_namespace_is_other(int fd) {
    (void)fd;
    return -ENOTSUP;
}

int platform_process_handle(int32_t process) {
    (void)process;
    return -ENOTSUP;
}

int platform_namespace_tap(int fd, const char *name, const uint8_t hardware[6], uint32_t mtu) {
    (void)fd, (void)name, (void)hardware, (void)mtu;
    return -ENOTSUP;
}

int platform_namespace_configure(int fd, const char *name, uint32_t address, uint8_t prefix_length, uint32_t gateway) {
    (void)fd, (void)name, (void)address, (void)prefix_length, (void)gateway;
    return -ENOTSUP;
}

int platform_packet_open(uint32_t index) {
    (void)index;
    return -ENOTSUP;
}

ssize_t platform_packet_receive(int fd, void *header, void *frame, size_t capacity, uint32_t *tag) {
    (void)fd, (void)header, (void)frame, (void)capacity, (void)tag;
    return -ENOTSUP;
}
#endif
