// SPDX-License-Identifier: Apache-2.0
#if defined(__linux__)
#include "CPlatform.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <string.h>
#include <unistd.h>

struct request {
    struct nlmsghdr header;
    union {
        struct ifinfomsg link;
        struct ifaddrmsg address;
        struct rtmsg route;
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
        else if (NLMSG_OK(message, (size_t)length) && message->nlmsg_type == NLMSG_ERROR) outcome = ((struct nlmsgerr *)NLMSG_DATA(message))->error;
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
    uint32_t network = htonl(address), broadcast = htonl(address | (prefix_length >= 32 ? 0 : UINT32_MAX >> prefix_length));
    start(&request, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, sizeof request.address);
    request.address.ifa_family = AF_INET;
    request.address.ifa_prefixlen = prefix_length;
    request.address.ifa_index = index;
    add(&request, IFA_LOCAL, &network, 4);
    add(&request, IFA_ADDRESS, &network, 4);
    add(&request, IFA_BROADCAST, &broadcast, 4);
    return transact(&request);
}

int platform_link_group(uint32_t index, uint32_t *group) {
    char reply[16384] __attribute__((aligned(8)));
    struct request request;
    int fd = open_netlink(), outcome = -ENODATA;
    if (fd < 0) return fd;
    start(&request, RTM_GETLINK, 0, sizeof request.link);
    request.link.ifi_index = (int)index;
    ssize_t size = send(fd, &request, request.header.nlmsg_len, 0) < 0 ? -1 : recv(fd, reply, sizeof reply, 0);
    struct nlmsghdr *message = (struct nlmsghdr *)reply;
    if (size < 0) {
        outcome = -errno;
    } else if (NLMSG_OK(message, (size_t)size) && message->nlmsg_type == NLMSG_ERROR) {
        outcome = ((struct nlmsgerr *)NLMSG_DATA(message))->error;
    } else if (NLMSG_OK(message, (size_t)size) && message->nlmsg_type == RTM_NEWLINK) {
        int length = (int)IFLA_PAYLOAD(message);
        for (struct rtattr *item = IFLA_RTA(NLMSG_DATA(message)); RTA_OK(item, length); item = RTA_NEXT(item, length)) {
            if (item->rta_type != IFLA_GROUP || RTA_PAYLOAD(item) < 4) continue;
            memcpy(group, RTA_DATA(item), 4);
            outcome = 0;
        }
    }
    close(fd);
    return outcome;
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

int platform_routes(struct platform_route *routes, int capacity) {
    char reply[32768] __attribute__((aligned(8)));
    struct request request;
    int fd = open_netlink(), count = 0, done = 0;
    if (fd < 0) return fd;
    start(&request, RTM_GETROUTE, NLM_F_DUMP, sizeof request.route);
    request.route.rtm_family = AF_INET;
    if (send(fd, &request, request.header.nlmsg_len, 0) < 0) count = -errno, done = 1;
    while (!done) {
        ssize_t length = recv(fd, reply, sizeof reply, 0);
        if (length <= 0) {
            count = length < 0 ? -errno : -EIO;
            break;
        }
        for (struct nlmsghdr *message = (struct nlmsghdr *)reply; NLMSG_OK(message, (size_t)length); message = NLMSG_NEXT(message, length)) {
            struct platform_route route;
            if (message->nlmsg_type == NLMSG_DONE) done = 1;
            if (message->nlmsg_type == NLMSG_ERROR) count = ((struct nlmsgerr *)NLMSG_DATA(message))->error, done = 1;
            if (done) break;
            if (!parse_route(message, &route)) continue;
            if (count < capacity) routes[count] = route;
            count++;
        }
    }
    close(fd);
    return count;
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
    // The NETCONF group tells of forwarding switched on or off.
    return monitor(NETLINK_ROUTE, RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE | 1u << (RTNLGRP_IPV4_NETCONF - 1));
}

int platform_firewall_monitor(void) { return monitor(NETLINK_NETFILTER, 1u << (NFNLGRP_NFTABLES - 1)); }
#endif
