// SPDX-License-Identifier: Apache-2.0
#if defined(__linux__)
#include "CPlatform.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/if_link.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>
#include <unistd.h>

struct request {
    struct nlmsghdr header;
    union {
        struct ifinfomsg link;
        struct ifaddrmsg address;
        struct rtmsg route;
        struct fib_rule_hdr rule;
    };
    char attributes[128];
};

static void start(struct request *request, uint16_t type, uint16_t flags, size_t body) {
    memset(request, 0, sizeof *request);
    request->header.nlmsg_len = NLMSG_LENGTH((uint32_t)body);
    request->header.nlmsg_type = type;
    request->header.nlmsg_flags = NLM_F_REQUEST | flags;
}

static void add(struct request *request, uint16_t type, const void *data, size_t length) {
    struct rtattr *attribute = (struct rtattr *)((char *)request + NLMSG_ALIGN(request->header.nlmsg_len));
    attribute->rta_type = type;
    attribute->rta_len = (uint16_t)RTA_LENGTH(length);
    memcpy(RTA_DATA(attribute), data, length);
    request->header.nlmsg_len = NLMSG_ALIGN(request->header.nlmsg_len) + RTA_ALIGN(attribute->rta_len);
}

static int open_netlink(void) {
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    return fd < 0 ? -errno : fd;
}

static int transact(struct request *request) {
    char reply[4096] __attribute__((aligned(8)));
    int fd = open_netlink(), outcome = -EIO;
    if (fd < 0) return fd;
    request->header.nlmsg_flags |= NLM_F_ACK;
    if (send(fd, request, request->header.nlmsg_len, 0) < 0) {
        outcome = -errno;
    } else {
        ssize_t length = recv(fd, reply, sizeof reply, 0);
        struct nlmsghdr *message = (struct nlmsghdr *)reply;
        if (length < 0) outcome = -errno;
        else if (NLMSG_OK(message, (size_t)length) && message->nlmsg_type == NLMSG_ERROR)
            outcome = ((struct nlmsgerr *)NLMSG_DATA(message))->error;
    }
    close(fd);
    return outcome;
}

int platform_link_change(uint32_t index, const struct platform_link_change *change) {
    struct request request;
    start(&request, RTM_NEWLINK, 0, sizeof request.link);
    request.link.ifi_family = AF_UNSPEC;
    request.link.ifi_index = (int)index;
    if (change->up) request.link.ifi_flags = request.link.ifi_change = IFF_UP;
    if (change->down) request.link.ifi_change = IFF_UP;
    if (change->set_mac) add(&request, IFLA_ADDRESS, change->mac, 6);
    if (change->mtu) add(&request, IFLA_MTU, &change->mtu, 4);
    if (change->master) add(&request, IFLA_MASTER, &change->master, 4);
    if (change->group) add(&request, IFLA_GROUP, &change->group, 4);
    return transact(&request);
}

int platform_address_add(uint32_t index, uint32_t address, uint8_t prefix_length) {
    struct request request;
    uint32_t network = htonl(address),
             broadcast = htonl(address | (prefix_length >= 32 ? 0 : UINT32_MAX >> prefix_length));
    start(&request, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, sizeof request.address);
    request.address.ifa_family = AF_INET;
    request.address.ifa_prefixlen = prefix_length;
    request.address.ifa_index = index;
    add(&request, IFA_LOCAL, &network, 4);
    add(&request, IFA_ADDRESS, &network, 4);
    add(&request, IFA_BROADCAST, &broadcast, 4);
    return transact(&request);
}

int platform_address6_add(uint32_t index, const uint8_t *address, uint8_t prefix_length) {
    struct request request;
    uint32_t flags = IFA_F_PERMANENT | IFA_F_NODAD;
    start(&request, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, sizeof request.address);
    request.address.ifa_family = AF_INET6;
    request.address.ifa_prefixlen = prefix_length;
    request.address.ifa_index = index;
    request.address.ifa_scope = address[0] == 0xfe ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
    add(&request, IFA_LOCAL, address, 16);
    add(&request, IFA_ADDRESS, address, 16);
    add(&request, IFA_FLAGS, &flags, 4);
    return transact(&request);
}

static int parse_route(struct nlmsghdr *message, struct platform_route *route) {
    struct rtmsg *body = NLMSG_DATA(message);
    int length = (int)RTM_PAYLOAD(message);
    if (message->nlmsg_type != RTM_NEWROUTE || body->rtm_family != AF_INET) return 0;
    if (body->rtm_type != RTN_UNICAST && body->rtm_type != RTN_LOCAL) return 0;
    memset(route, 0, sizeof *route);
    route->prefix_length = body->rtm_dst_len;
    route->is_local = body->rtm_type == RTN_LOCAL;
    route->table = body->rtm_table;
    for (struct rtattr *item = RTM_RTA(body); RTA_OK(item, length); item = RTA_NEXT(item, length)) {
        uint32_t value = 0;
        if (item->rta_type == RTA_MULTIPATH && RTA_PAYLOAD(item) >= sizeof(struct rtnexthop)) {
            // Several next hops: the first one's interface stands for the route.
            route->interface = (uint32_t)((struct rtnexthop *)RTA_DATA(item))->rtnh_ifindex;
            continue;
        }
        if (RTA_PAYLOAD(item) < 4) continue;
        memcpy(&value, RTA_DATA(item), 4);
        switch (item->rta_type) {
        case RTA_DST: route->destination = ntohl(value); break;
        case RTA_GATEWAY: route->gateway = ntohl(value); break;
        case RTA_OIF: route->interface = value; break;
        case RTA_PRIORITY: route->metric = value; break;
        case RTA_TABLE: route->table = value; break;
        }
    }
    return 1;
}

/// Calls `visit` for each message that answers `request`. Returns 0, or -errno.
static int dump(struct request *request, void (*visit)(struct nlmsghdr *message, void *context), void *context) {
    char reply[32768] __attribute__((aligned(8)));
    int fd = open_netlink(), outcome = 0, done = 0;
    if (fd < 0) return fd;
    if (send(fd, request, request->header.nlmsg_len, 0) < 0) outcome = -errno, done = 1;
    while (!done) {
        ssize_t length = recv(fd, reply, sizeof reply, 0);
        if (length <= 0) {
            outcome = length < 0 ? -errno : -EIO;
            break;
        }
        for (struct nlmsghdr *message = (struct nlmsghdr *)reply; NLMSG_OK(message, (size_t)length);
             message = NLMSG_NEXT(message, length)) {
            // A request without NLM_F_DUMP is answered by one message.
            if (message->nlmsg_type == NLMSG_DONE || !(request->header.nlmsg_flags & NLM_F_DUMP)) done = 1;
            if (message->nlmsg_type == NLMSG_ERROR) outcome = ((struct nlmsgerr *)NLMSG_DATA(message))->error, done = 1;
            if (message->nlmsg_type == NLMSG_DONE || message->nlmsg_type == NLMSG_ERROR) break;
            visit(message, context);
        }
    }
    close(fd);
    return outcome;
}

struct list {
    void *items;
    size_t size;  // of one
    int capacity, count;
};

/// Adds an item, or only counts it if there is no room.
static void append(struct list *list, const void *item) {
    if (list->count < list->capacity) memcpy((char *)list->items + (size_t)list->count * list->size, item, list->size);
    list->count++;
}

static void collect_route(struct nlmsghdr *message, void *context) {
    struct platform_route route;
    if (parse_route(message, &route)) append(context, &route);
}

static int dump_routes(unsigned char family, void (*collect)(struct nlmsghdr *, void *), struct list *list) {
    struct request request;
    start(&request, RTM_GETROUTE, NLM_F_DUMP, sizeof request.route);
    request.route.rtm_family = family;
    int outcome = dump(&request, collect, list);
    return outcome < 0 ? outcome : list->count;
}

int platform_routes(struct platform_route *routes, int capacity) {
    struct list list = {routes, sizeof *routes, capacity, 0};
    return dump_routes(AF_INET, collect_route, &list);
}

static uint32_t number(const struct rtattr *item) {
    uint32_t value = 0;
    if (RTA_PAYLOAD(item) >= 4) memcpy(&value, RTA_DATA(item), 4);
    return value;
}

static void collect_route6(struct nlmsghdr *message, void *context) {
    struct rtmsg *body = NLMSG_DATA(message);
    int length = (int)RTM_PAYLOAD(message);
    struct platform_route6 route = {.prefix_length = body->rtm_dst_len, .table = body->rtm_table};
    if (message->nlmsg_type != RTM_NEWROUTE || body->rtm_family != AF_INET6 || body->rtm_type != RTN_UNICAST) return;
    for (struct rtattr *item = RTM_RTA(body); RTA_OK(item, length); item = RTA_NEXT(item, length)) {
        switch (item->rta_type) {
        case RTA_DST:
            if (RTA_PAYLOAD(item) == 16) memcpy(route.destination, RTA_DATA(item), 16);
            break;
        case RTA_OIF: route.interface = number(item); break;
        case RTA_TABLE: route.table = number(item); break;
        case RTA_PRIORITY: route.metric = number(item); break;
        case RTA_MULTIPATH:
            // Several next hops: the first one's interface stands for the route.
            if (RTA_PAYLOAD(item) >= sizeof(struct rtnexthop))
                route.interface = (uint32_t)((struct rtnexthop *)RTA_DATA(item))->rtnh_ifindex;
            break;
        }
    }
    append(context, &route);
}

int platform_routes6(struct platform_route6 *routes, int capacity) {
    struct list list = {routes, sizeof *routes, capacity, 0};
    return dump_routes(AF_INET6, collect_route6, &list);
}

static void read_link(struct nlmsghdr *message, void *context) {
    struct platform_link *link = context;
    struct ifinfomsg *body = NLMSG_DATA(message);
    int length = (int)IFLA_PAYLOAD(message);
    if (message->nlmsg_type != RTM_NEWLINK) return;
    link->is_up = (body->ifi_flags & IFF_UP) != 0;
    link->is_running = (body->ifi_flags & IFF_RUNNING) != 0;
    for (struct rtattr *item = IFLA_RTA(body); RTA_OK(item, length); item = RTA_NEXT(item, length)) {
        switch (item->rta_type) {
        case IFLA_MTU: link->mtu = number(item); break;
        case IFLA_MASTER: link->master = number(item); break;
        case IFLA_GROUP: link->group = number(item); break;
        }
    }
}

int platform_link_get(uint32_t index, struct platform_link *link) {
    struct request request;
    memset(link, 0, sizeof *link);
    start(&request, RTM_GETLINK, 0, sizeof request.link);
    request.link.ifi_index = (int)index;
    return dump(&request, read_link, link);
}

int platform_route_add(uint32_t index, uint32_t network, uint8_t prefix_length, uint32_t source) {
    struct request request;
    uint32_t destination = htonl(network), preferred = htonl(source);
    start(&request, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, sizeof request.route);
    request.route = (struct rtmsg){.rtm_family = AF_INET,
        .rtm_dst_len = prefix_length,
        .rtm_table = RT_TABLE_MAIN,
        .rtm_protocol = RTPROT_KERNEL,
        .rtm_scope = RT_SCOPE_LINK,
        .rtm_type = RTN_UNICAST};
    add(&request, RTA_DST, &destination, 4);
    add(&request, RTA_OIF, &index, 4);
    add(&request, RTA_PREFSRC, &preferred, 4);
    return transact(&request);
}

struct path {
    uint32_t output, mtu;
};

static void read_path(struct nlmsghdr *message, void *context) {
    struct path *path = context;
    struct rtmsg *body = NLMSG_DATA(message);
    int length = (int)RTM_PAYLOAD(message);
    if (message->nlmsg_type != RTM_NEWROUTE || body->rtm_type != RTN_UNICAST) return;
    for (struct rtattr *item = RTM_RTA(body); RTA_OK(item, length); item = RTA_NEXT(item, length)) {
        if (item->rta_type == RTA_OIF) path->output = number(item);
        if (item->rta_type != RTA_METRICS) continue;
        int rest = (int)RTA_PAYLOAD(item);
        for (struct rtattr *metric = RTA_DATA(item); RTA_OK(metric, rest); metric = RTA_NEXT(metric, rest))
            if (metric->rta_type == RTAX_MTU) path->mtu = number(metric);
    }
}

int platform_route_lookup(uint32_t destination, uint32_t source, uint32_t input, uint32_t *output, uint32_t *mtu) {
    struct request request;
    struct path path = {0, 0};
    uint32_t to = htonl(destination), from = htonl(source);
    start(&request, RTM_GETROUTE, 0, sizeof request.route);
    request.route.rtm_family = AF_INET;
    request.route.rtm_dst_len = 32;
    add(&request, RTA_DST, &to, 4);
    if (source) {
        request.route.rtm_src_len = 32;
        add(&request, RTA_SRC, &from, 4);
    }
    if (input) add(&request, RTA_IIF, &input, 4);
    int outcome = dump(&request, read_path, &path);
    *output = path.output;
    *mtu = path.mtu;
    return outcome < 0 ? outcome : path.output ? 0 : -ENETUNREACH;
}

static void collect_rule(struct nlmsghdr *message, void *context) {
    struct fib_rule_hdr *body = NLMSG_DATA(message);
    int length = (int)NLMSG_PAYLOAD(message, sizeof *body);
    struct platform_rule rule = {.table = body->table, .action = body->action, .destination_length = body->dst_len};
    if (message->nlmsg_type != RTM_NEWRULE) return;
    for (struct rtattr *item = (struct rtattr *)(body + 1); RTA_OK(item, length); item = RTA_NEXT(item, length)) {
        switch (item->rta_type) {
        case FRA_PRIORITY: rule.priority = number(item); break;
        case FRA_DST: rule.destination = body->family == AF_INET ? ntohl(number(item)) : 0; break;
        case FRA_TABLE: rule.table = number(item); break;
        case FRA_L3MDEV: rule.is_l3mdev = 1; break;
        }
    }
    append(context, &rule);
}

int platform_rules(int is_ipv6, struct platform_rule *rules, int capacity) {
    struct request request;
    struct list list = {rules, sizeof *rules, capacity, 0};
    start(&request, RTM_GETRULE, NLM_F_DUMP, sizeof request.rule);
    request.rule.family = is_ipv6 ? AF_INET6 : AF_INET;
    int outcome = dump(&request, collect_rule, &list);
    return outcome < 0 ? outcome : list.count;
}

int platform_rule_change(int is_added, const uint8_t *network, int is_ipv6, uint8_t prefix_length, uint32_t priority) {
    struct request request;
    uint32_t none = 0;
    start(
        &request, is_added ? RTM_NEWRULE : RTM_DELRULE, is_added ? NLM_F_CREATE | NLM_F_EXCL : 0, sizeof request.rule);
    request.rule = (struct fib_rule_hdr){.family = is_ipv6 ? AF_INET6 : AF_INET,
        .dst_len = prefix_length,
        .table = RT_TABLE_MAIN,
        .action = FR_ACT_TO_TBL};
    add(&request, FRA_DST, network, is_ipv6 ? 16 : 4);
    add(&request, FRA_PRIORITY, &priority, 4);
    add(&request, FRA_SUPPRESS_PREFIXLEN, &none, 4);
    return transact(&request);
}

static int monitor(int protocol, uint32_t groups) {
    struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = groups};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
    if (fd < 0) return -errno;
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

uint64_t platform_network_namespace(void) {
    uint64_t cookie = 0;
    socklen_t size = sizeof cookie;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return 0;
    if (getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size) < 0) cookie = 0;
    close(fd);
    return cookie;
}

int platform_network_monitor(void) {
    // The NETCONF group reports forwarding switched on or off.
    return monitor(NETLINK_ROUTE,
        RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV4_RULE | 1u << (RTNLGRP_IPV4_NETCONF - 1) |
            RTMGRP_IPV6_IFADDR | RTMGRP_IPV6_ROUTE | 1u << (RTNLGRP_IPV6_RULE - 1) | 1u << (RTNLGRP_IPV6_NETCONF - 1));
}

int platform_firewall_monitor(void) { return monitor(NETLINK_NETFILTER, 1u << (NFNLGRP_NFTABLES - 1)); }

// All objects but the generation have their table as attribute 1, such as NFTA_RULE_TABLE and NFTA_SET_TABLE.
size_t platform_firewall_tables(const uint8_t *notice, size_t length, char *names, size_t capacity) {
    const struct nlmsghdr *message = (const struct nlmsghdr *)notice;
    size_t used = 0;
    for (int left = (int)length; left > 0 && NLMSG_OK(message, (size_t)left); message = NLMSG_NEXT(message, left)) {
        if (NFNL_SUBSYS_ID(message->nlmsg_type) != NFNL_SUBSYS_NFTABLES) continue;
        if (NFNL_MSG_TYPE(message->nlmsg_type) == NFT_MSG_NEWGEN) continue;
        if (message->nlmsg_len < NLMSG_LENGTH(sizeof(struct nfgenmsg))) continue;
        int rest = (int)NLMSG_PAYLOAD(message, sizeof(struct nfgenmsg));
        const char *body = (const char *)NLMSG_DATA(message) + NLMSG_ALIGN(sizeof(struct nfgenmsg));
        for (const struct rtattr *item = (const struct rtattr *)body; RTA_OK(item, rest); item = RTA_NEXT(item, rest)) {
            if ((item->rta_type & NLA_TYPE_MASK) != NFTA_TABLE_NAME) continue;
            size_t size = strnlen(RTA_DATA(item), RTA_PAYLOAD(item));
            if (size + 1 > capacity - used) return used;
            memcpy(names + used, RTA_DATA(item), size);
            names[used + size] = 0;
            used += size + 1;
            break;
        }
    }
    return used;
}
#endif
