// SPDX-License-Identifier: Apache-2.0
// Addresses as the socket calls have them.
#ifndef PLATFORM_ADDRESS_H
#define PLATFORM_ADDRESS_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "CPlatform.h"

static inline socklen_t platform_sockaddr_make(const struct platform_inet_address *from, struct sockaddr_storage *to) {
    memset(to, 0, sizeof *to);
    if (from->family == 4) {
        struct sockaddr_in *v4 = (struct sockaddr_in *)to;
        v4->sin_family = AF_INET;
        v4->sin_port = htons(from->port);
        memcpy(&v4->sin_addr, from->bytes, 4);
        return sizeof *v4;
    }
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)to;
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(from->port);
    v6->sin6_scope_id = from->scope;
    memcpy(&v6->sin6_addr, from->bytes, 16);
    return sizeof *v6;
}

static inline void platform_sockaddr_read(const struct sockaddr *from, struct platform_inet_address *to) {
    memset(to, 0, sizeof *to);
    if (from->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)from;
        to->family = 4;
        to->port = ntohs(v4->sin_port);
        memcpy(to->bytes, &v4->sin_addr, 4);
    } else if (from->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)from;
        to->family = 6;
        to->port = ntohs(v6->sin6_port);
        to->scope = v6->sin6_scope_id;
        memcpy(to->bytes, &v6->sin6_addr, 16);
    }
}

#endif
