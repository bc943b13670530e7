// SPDX-License-Identifier: Apache-2.0
//
// Packets that rules of nftables log to a group of NFLOG (linux/netfilter/nfnetlink_log.h).
#if defined(__linux__)
#include "CPlatform.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_log.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/// Groups of this program: the kernel gives each to one socket at a time.
enum { first_group = 22000, groups = 1000 };

struct request {
    struct nlmsghdr header;
    struct nfgenmsg body;
    char attributes[32];
};

static void add(struct request *request, uint16_t type, const void *data, size_t length) {
    struct nlattr *attribute = (struct nlattr *)((char *)request + NLMSG_ALIGN(request->header.nlmsg_len));
    attribute->nla_type = type;
    attribute->nla_len = (uint16_t)(NLA_HDRLEN + length);
    memcpy((char *)attribute + NLA_HDRLEN, data, length);
    request->header.nlmsg_len =
        NLMSG_ALIGN(request->header.nlmsg_len) + (uint32_t)NLA_ALIGN(NLA_HDRLEN + (uint32_t)length);
}

/// Binds the socket to a group, and has the kernel copy the beginning of each packet. Returns 0, or -errno.
static int bind_group(int fd, uint16_t group) {
    struct request request;
    char reply[1024] __attribute__((aligned(8)));
    struct nfulnl_msg_config_cmd command = {.command = NFULNL_CFG_CMD_BIND};
    struct nfulnl_msg_config_mode mode = {.copy_range = htonl(PLATFORM_LOGGED_LENGTH), .copy_mode = NFULNL_COPY_PACKET};
    memset(&request, 0, sizeof request);
    request.header.nlmsg_len = NLMSG_LENGTH(sizeof request.body);
    request.header.nlmsg_type = NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_CONFIG;
    request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
    request.body = (struct nfgenmsg){.nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0, .res_id = htons(group)};
    add(&request, NFULA_CFG_CMD, &command, sizeof command);
    add(&request, NFULA_CFG_MODE, &mode, sizeof mode);
    if (send(fd, &request, request.header.nlmsg_len, 0) < 0) return -errno;
    ssize_t length = recv(fd, reply, sizeof reply, 0);
    struct nlmsghdr *message = (struct nlmsghdr *)reply;
    if (length < 0) return -errno;
    if (!NLMSG_OK(message, (size_t)length) || message->nlmsg_type != NLMSG_ERROR) return -EIO;
    return ((struct nlmsgerr *)NLMSG_DATA(message))->error;
}

int platform_packet_log_open(uint16_t *group) {
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_NETFILTER);
    if (fd < 0) return -errno;
    int outcome = -EBUSY;
    // Instances start at different groups, so that few are tried.
    for (int offset = 0; offset < groups && outcome == -EBUSY; offset++) {
        *group = (uint16_t)(first_group + ((int)getpid() + offset) % groups);
        outcome = bind_group(fd, *group);
    }
    if (outcome == 0) return fd;
    close(fd);
    return outcome;
}

static void read_packet(const struct nlmsghdr *message, struct platform_logged_packet *packet) {
    memset(packet, 0, sizeof *packet);
    const char *next = (const char *)NLMSG_DATA(message) + NLMSG_ALIGN(sizeof(struct nfgenmsg));
    const char *end = (const char *)message + message->nlmsg_len;
    while (end - next >= NLA_HDRLEN) {
        const struct nlattr *attribute = (const struct nlattr *)next;
        if (attribute->nla_len < NLA_HDRLEN || attribute->nla_len > end - next) return;
        const char *data = next + NLA_HDRLEN;
        size_t length = (size_t)(attribute->nla_len - NLA_HDRLEN);
        switch (attribute->nla_type & NLA_TYPE_MASK) {
        case NFULA_HWADDR: {
            struct nfulnl_msg_packet_hw address;
            if (length < sizeof address) break;
            memcpy(&address, data, sizeof address);
            packet->has_hardware = ntohs(address.hw_addrlen) == sizeof packet->hardware;
            memcpy(packet->hardware, address.hw_addr, sizeof packet->hardware);
            break;
        }
        case NFULA_PAYLOAD:
            packet->length = (uint32_t)(length < sizeof packet->bytes ? length : sizeof packet->bytes);
            memcpy(packet->bytes, data, packet->length);
            break;
        }
        next += NLA_ALIGN(attribute->nla_len);
    }
}

int platform_packet_log_receive(int fd, struct platform_logged_packet *packets, int capacity) {
    char reply[65536] __attribute__((aligned(8)));
    int count = 0;
    ssize_t length = recv(fd, reply, sizeof reply, MSG_DONTWAIT);
    if (length < 0) return -errno;
    for (struct nlmsghdr *message = (struct nlmsghdr *)reply; NLMSG_OK(message, (size_t)length) && count < capacity;
         message = NLMSG_NEXT(message, length)) {
        if (message->nlmsg_type != (NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET)) continue;
        if (message->nlmsg_len < NLMSG_LENGTH(sizeof(struct nfgenmsg))) continue;
        read_packet(message, &packets[count++]);
    }
    return count;
}
#endif
