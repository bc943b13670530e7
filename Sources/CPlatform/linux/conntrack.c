// SPDX-License-Identifier: Apache-2.0
//
// Entries of the kernel's connection tracking (linux/netfilter/nfnetlink_conntrack.h).
#if defined(__linux__)
#include "CPlatform.h"

#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct request {
    struct nlmsghdr header;
    struct nfgenmsg body;
    char attributes[256];
};

/// An entry, as far as it is needed to find and remove it.
struct entry {
    uint8_t family;
    const struct nlattr *original, *reply, *zone, *identifier;
};

struct search {
    const struct platform_prefix *sources;
    int count;
    int first_label, last_label;  // of which an entry has one; the first is negative if it need not
    int fd;                       // of removals
    int removed;
    int outcome;  // of the first removal that failed
};

static void start(struct request *request, uint16_t type, uint16_t flags, uint8_t family) {
    memset(request, 0, sizeof *request);
    request->header.nlmsg_len = NLMSG_LENGTH(sizeof request->body);
    request->header.nlmsg_type = (uint16_t)(NFNL_SUBSYS_CTNETLINK << 8 | type);
    request->header.nlmsg_flags = NLM_F_REQUEST | flags;
    request->body = (struct nfgenmsg){.nfgen_family = family, .version = NFNETLINK_V0};
}

/// Adds a copy of an attribute. Returns 0 without room.
static int add(struct request *request, const struct nlattr *attribute) {
    uint32_t end = NLMSG_ALIGN(request->header.nlmsg_len);
    if (!attribute) return 1;
    if (NLA_ALIGN(attribute->nla_len) > sizeof *request - end) return 0;
    memcpy((char *)request + end, attribute, attribute->nla_len);
    request->header.nlmsg_len = end + (uint32_t)NLA_ALIGN(attribute->nla_len);
    return 1;
}

/// The attribute of a type in `length` bytes; NULL if there is none.
static const struct nlattr *find(const void *bytes, size_t length, uint16_t type) {
    const char *next = bytes, *end = next + length;
    while (end - next >= NLA_HDRLEN) {
        const struct nlattr *attribute = (const struct nlattr *)next;
        if (attribute->nla_len < NLA_HDRLEN || attribute->nla_len > end - next) return NULL;
        if ((attribute->nla_type & NLA_TYPE_MASK) == type) return attribute;
        if (NLA_ALIGN(attribute->nla_len) >= end - next) return NULL;
        next += NLA_ALIGN(attribute->nla_len);
    }
    return NULL;
}

static const struct nlattr *find_in(const struct nlattr *parent, uint16_t type) {
    return parent ? find((const char *)parent + NLA_HDRLEN, parent->nla_len - NLA_HDRLEN, type) : NULL;
}

static int has_prefix(const uint8_t *address, const struct platform_prefix *prefix) {
    unsigned whole = prefix->length / 8, rest = prefix->length % 8;
    if (memcmp(address, prefix->address, whole) != 0) return 0;
    return rest == 0 || (address[whole] ^ prefix->address[whole]) >> (8 - rest) == 0;
}

/// Whether an entry has one of the labels. The kernel passes its array of long.
static int has_label(const struct search *search, const struct nlattr *labels) {
    unsigned long words[128 / 8 / sizeof(unsigned long)] = {0};
    const int bits = 8 * (int)sizeof *words;
    if (search->first_label < 0) return 1;
    if (!labels || labels->nla_len != NLA_HDRLEN + sizeof words) return 0;
    memcpy(words, (const char *)labels + NLA_HDRLEN, sizeof words);
    for (int label = search->first_label; label <= search->last_label; label++)
        if (words[label / bits] >> label % bits & 1) return 1;
    return 0;
}

/// Whether the source of a direction has one of the prefixes.
static int is_source(const struct search *search, const struct nlattr *tuple, uint8_t family) {
    uint8_t address[16] = {[10] = 0xff, [11] = 0xff};
    size_t length = family == AF_INET6 ? 16 : 4;
    const struct nlattr *source =
        find_in(find_in(tuple, CTA_TUPLE_IP), family == AF_INET6 ? CTA_IP_V6_SRC : CTA_IP_V4_SRC);
    if (!source || source->nla_len != NLA_HDRLEN + length) return 0;
    memcpy(address + sizeof address - length, (const char *)source + NLA_HDRLEN, length);
    for (int index = 0; index < search->count; index++)
        if (has_prefix(address, &search->sources[index])) return 1;
    return 0;
}

/// Removes an entry. One that has ended meanwhile, or was replaced by another, is none any more.
static void remove_entry(struct search *search, const struct entry *entry) {
    char reply[1024] __attribute__((aligned(8)));
    struct request request;
    int outcome = -EIO;
    start(&request, IPCTNL_MSG_CT_DELETE, NLM_F_ACK, entry->family);
    if (!add(&request, entry->original) || !add(&request, entry->zone) || !add(&request, entry->identifier)) return;
    if (send(search->fd, &request, request.header.nlmsg_len, 0) < 0) {
        outcome = -errno;
    } else {
        ssize_t length = recv(search->fd, reply, sizeof reply, 0);
        struct nlmsghdr *message = (struct nlmsghdr *)reply;
        if (length < 0) outcome = -errno;
        else if (NLMSG_OK(message, (size_t)length) && message->nlmsg_type == NLMSG_ERROR)
            outcome = ((struct nlmsgerr *)NLMSG_DATA(message))->error;
    }
    if (outcome == 0) search->removed++;
    else if (outcome != -ENOENT && search->outcome == 0) search->outcome = outcome;
}

static void visit(struct search *search, const struct nlmsghdr *message) {
    if (message->nlmsg_len < NLMSG_LENGTH(sizeof(struct nfgenmsg))) return;
    const struct nfgenmsg *body = NLMSG_DATA(message);
    const char *attributes = (const char *)body + NLMSG_ALIGN(sizeof *body);
    size_t length = message->nlmsg_len - NLMSG_LENGTH(sizeof *body);
    struct entry entry = {.family = body->nfgen_family};
    if (entry.family != AF_INET && entry.family != AF_INET6) return;
    entry.original = find(attributes, length, CTA_TUPLE_ORIG);
    entry.reply = find(attributes, length, CTA_TUPLE_REPLY);
    // Without the tuple the kernel would remove all entries, without the identifier a later one with the same tuple.
    if (!entry.original || !entry.reply) return;
    if (!has_label(search, find(attributes, length, CTA_LABELS))) return;
    if (!is_source(search, entry.original, entry.family) && !is_source(search, entry.reply, entry.family)) return;
    entry.zone = find(attributes, length, CTA_ZONE);
    entry.identifier = find(attributes, length, CTA_ID);
    remove_entry(search, &entry);
}

/// Visits all entries. Returns 0, or -errno.
static int dump(int fd, struct search *search) {
    char reply[32768] __attribute__((aligned(8)));
    struct request request;
    start(&request, IPCTNL_MSG_CT_GET, NLM_F_DUMP, AF_UNSPEC);
    if (send(fd, &request, request.header.nlmsg_len, 0) < 0) return -errno;
    for (;;) {
        ssize_t length = recv(fd, reply, sizeof reply, 0);
        if (length <= 0) return length < 0 ? -errno : -EIO;
        for (struct nlmsghdr *message = (struct nlmsghdr *)reply; NLMSG_OK(message, (size_t)length);
             message = NLMSG_NEXT(message, length)) {
            if (message->nlmsg_type == NLMSG_ERROR) return ((struct nlmsgerr *)NLMSG_DATA(message))->error;
            if (message->nlmsg_type == NLMSG_DONE) return 0;
            visit(search, message);
        }
    }
}

int platform_conntrack_remove(const struct platform_prefix *sources, int count, int first_label, int last_label) {
    struct search search = {.sources = sources, .count = count, .first_label = first_label, .last_label = last_label};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
    if (fd < 0) return -errno;
    search.fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
    int outcome = search.fd < 0 ? -errno : dump(fd, &search);
    if (search.fd >= 0) close(search.fd);
    close(fd);
    if (outcome == 0) outcome = search.outcome;
    return outcome < 0 ? outcome : search.removed;
}
#endif
