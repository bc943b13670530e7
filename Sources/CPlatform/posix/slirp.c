// SPDX-License-Identifier: Apache-2.0
//
// libslirp, loaded when it is needed, so that neither building nor starting this program requires it. Its interface is
// declared here by its facts (libslirp's libslirp.h, versions 4.1 to 4.9, of which Debian 12 has 4.7.0); a test
// compares them with the header of the installed package.
#include "CPlatform.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

// The structures of slirp_new. Later versions append fields, and read them only if `version` covers them.
struct slirp_callbacks {
    ssize_t (*send_packet)(const void *frame, size_t length, void *context);
    void (*guest_error)(const char *message, void *context);
    int64_t (*clock_get_ns)(void *context);
    void *(*timer_new)(void (*callback)(void *), void *argument, void *context);
    void (*timer_free)(void *timer, void *context);
    void (*timer_mod)(void *timer, int64_t milliseconds, void *context);
    void (*register_poll_fd)(int fd, void *context);
    void (*unregister_poll_fd)(int fd, void *context);
    void (*notify)(void *context);
    // from configuration version 4 on
    void (*init_completed)(void *slirp, void *context);
    void *(*timer_new_opaque)(int id, void *argument, void *context);
};

struct slirp_configuration {
    uint32_t version;
    int restricted;
    bool in_enabled;
    struct in_addr vnetwork, vnetmask, vhost;
    bool in6_enabled;
    struct in6_addr vprefix_addr6;
    uint8_t vprefix_len;
    struct in6_addr vhost6;
    const char *vhostname, *tftp_server_name, *tftp_path, *bootfile;
    struct in_addr vdhcp_start, vnameserver;
    struct in6_addr vnameserver6;
    const char **vdnssearch;
    const char *vdomainname;
    size_t if_mtu, if_mru;
    bool disable_host_loopback, enable_emu;
    struct sockaddr_in *outbound_addr;  // 2
    struct sockaddr_in6 *outbound_addr6;
    bool disable_dns;   // 3
    bool disable_dhcp;  // 4
};

enum { SLIRP_POLL_IN = 1, SLIRP_POLL_OUT = 2, SLIRP_POLL_PRI = 4, SLIRP_POLL_ERR = 8, SLIRP_POLL_HUP = 16 };

struct platform_slirp {
    void *library, *slirp;
    struct platform_slirp_options options;
    struct slirp_callbacks callbacks;
    struct pollfd *descriptors;
    int count, capacity;
    char version[32];
    void *(*create)(const struct slirp_configuration *, const struct slirp_callbacks *, void *);
    void (*cleanup)(void *);
    void (*input)(void *, const uint8_t *, int);
    void (*fill)(void *, uint32_t *, int (*)(int, int, void *), void *);
    void (*poll)(void *, int, int (*)(int, void *), void *);
    int (*add_forward)(void *, int, struct in_addr, int, struct in_addr, int);
    int (*remove_forward)(void *, int, struct in_addr, int);
    // For addresses of both IP versions, from 4.5 on.
    int (*add_socket_forward)(
        void *, const struct sockaddr *, socklen_t, const struct sockaddr *, socklen_t, int flags);
    int (*remove_socket_forward)(void *, const struct sockaddr *, socklen_t, int flags);
};

enum { FORWARD_UDP = 1, FORWARD_IPV6_ONLY = 2 };

static ssize_t send_packet(const void *frame, size_t length, void *context) {
    struct platform_slirp *slirp = context;
    slirp->options.send(slirp->options.context, frame, length);
    return (ssize_t)length;
}
static void guest_error(const char *message, void *context) { (void)message, (void)context; }
static int64_t clock_get_ns(void *context) {
    struct timespec now;
    (void)context;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}
// The library's only timer sends router advertisements, which vde_vmnet sends itself.
static void *timer_new(void (*callback)(void *), void *argument, void *context) {
    (void)callback, (void)argument;
    return context;
}
static void *timer_new_opaque(int id, void *argument, void *context) {
    (void)id, (void)argument;
    return context;
}
static void timer_free(void *timer, void *context) { (void)timer, (void)context; }
static void timer_mod(void *timer, int64_t milliseconds, void *context) {
    (void)timer, (void)milliseconds, (void)context;
}
static void ignore_descriptor(int fd, void *context) { (void)fd, (void)context; }
static void notify(void *context) { (void)context; }
static void init_completed(void *slirp, void *context) { (void)slirp, (void)context; }

static void *find_library(void) {
    static const char *const names[] = {
#if defined(__APPLE__)
        "libslirp.0.dylib",
        "/opt/homebrew/lib/libslirp.0.dylib",
        "/usr/local/lib/libslirp.0.dylib",
        "/opt/local/lib/libslirp.0.dylib",
#else
        "libslirp.so.0",
#endif
    };
    for (size_t index = 0; index < sizeof names / sizeof *names; index++) {
        void *library = dlopen(names[index], RTLD_NOW | RTLD_LOCAL);
        if (library) return library;
    }
    return NULL;
}

// The highest configuration that a version of the library takes; 0 for one that is too old, or of an interface that is
// not known.
static uint32_t configuration_version(const char *text) {
    int major = 0, minor = 0;
    if (sscanf(text, "%d.%d", &major, &minor) != 2 || major != 4 || minor < 1) return 0;
    return minor >= 7 ? 4 : minor >= 3 ? 3 : minor == 2 ? 2 : 1;
}

const char *platform_slirp_installed(void) {
    void *library = find_library();
    if (!library) return NULL;
    const char *(*version_string)(void) = (const char *(*)(void))dlsym(library, "slirp_version_string");
    const char *version = version_string ? version_string() : NULL;
    return version && configuration_version(version) ? version : NULL;
}

int platform_slirp_open(const struct platform_slirp_options *options, struct platform_slirp **result) {
    struct platform_slirp *slirp = calloc(1, sizeof *slirp);
    if (!slirp) return -ENOMEM;
    slirp->options = *options;
    int error = -ENOENT;
    slirp->library = find_library();
    if (!slirp->library) goto fail;
    error = -ENOTSUP;
    const char *(*version_string)(void) = (const char *(*)(void))dlsym(slirp->library, "slirp_version_string");
    slirp->create = (void *(*)(const struct slirp_configuration *, const struct slirp_callbacks *, void *))dlsym(
        slirp->library, "slirp_new");
    slirp->cleanup = (void (*)(void *))dlsym(slirp->library, "slirp_cleanup");
    slirp->input = (void (*)(void *, const uint8_t *, int))dlsym(slirp->library, "slirp_input");
    slirp->fill =
        (void (*)(void *, uint32_t *, int (*)(int, int, void *), void *))dlsym(slirp->library, "slirp_pollfds_fill");
    slirp->poll = (void (*)(void *, int, int (*)(int, void *), void *))dlsym(slirp->library, "slirp_pollfds_poll");
    slirp->add_forward =
        (int (*)(void *, int, struct in_addr, int, struct in_addr, int))dlsym(slirp->library, "slirp_add_hostfwd");
    slirp->remove_forward = (int (*)(void *, int, struct in_addr, int))dlsym(slirp->library, "slirp_remove_hostfwd");
    slirp->add_socket_forward = (int (*)(void *, const struct sockaddr *, socklen_t, const struct sockaddr *, socklen_t,
        int))dlsym(slirp->library, "slirp_add_hostxfwd");
    slirp->remove_socket_forward =
        (int (*)(void *, const struct sockaddr *, socklen_t, int))dlsym(slirp->library, "slirp_remove_hostxfwd");
    if (!version_string || !slirp->create || !slirp->cleanup || !slirp->input || !slirp->fill || !slirp->poll ||
        !slirp->add_forward)
        goto fail;
    snprintf(slirp->version, sizeof slirp->version, "%s", version_string());
    struct slirp_configuration configuration = {
        .version = configuration_version(slirp->version),
        .in_enabled = true,
        .vnetwork.s_addr = htonl(options->network),
        .vnetmask.s_addr = htonl(options->mask),
        .vhost.s_addr = htonl(options->host),
        .in6_enabled = options->prefix_length > 0,
        .vprefix_len = options->prefix_length,
        .vdhcp_start.s_addr = htonl(options->host + 1),
        // An unused address: the library does not serve DNS.
        .vnameserver.s_addr = htonl(options->network | ~options->mask),
        .if_mtu = options->mtu,
        .if_mru = options->mtu,
        .disable_dns = true,
        .disable_dhcp = true,
    };
    memcpy(&configuration.vprefix_addr6, options->prefix, 16);
    memcpy(&configuration.vhost6, options->host6, 16);
    memcpy(&configuration.vnameserver6, options->host6, 16);
    if (configuration.version == 0) goto fail;
    slirp->callbacks = (struct slirp_callbacks){.send_packet = send_packet,
        .guest_error = guest_error,
        .clock_get_ns = clock_get_ns,
        .timer_new = timer_new,
        .timer_free = timer_free,
        .timer_mod = timer_mod,
        .register_poll_fd = ignore_descriptor,
        .unregister_poll_fd = ignore_descriptor,
        .notify = notify,
        .init_completed = init_completed,
        .timer_new_opaque = timer_new_opaque};
    error = -EIO;
    slirp->slirp = slirp->create(&configuration, &slirp->callbacks, slirp);
    if (!slirp->slirp) goto fail;
    *result = slirp;
    return 0;
fail:
    // The library stays loaded, because GLib, which it depends on, must not be unloaded.
    free(slirp);
    return error;
}

const char *platform_slirp_version(const struct platform_slirp *slirp) { return slirp->version; }

void platform_slirp_close(struct platform_slirp *slirp) {
    slirp->cleanup(slirp->slirp);
    free(slirp->descriptors);
    free(slirp);
}

void platform_slirp_input(struct platform_slirp *slirp, const void *frame, size_t length) {
    slirp->input(slirp->slirp, frame, (int)length);
}

int platform_slirp_publish(
    struct platform_slirp *slirp, int is_udp, uint32_t host, uint16_t host_port, uint32_t guest, uint16_t guest_port) {
    struct in_addr host_address = {htonl(host)}, guest_address = {htonl(guest)};
    errno = 0;
    int result = slirp->add_forward(slirp->slirp, is_udp, host_address, host_port, guest_address, guest_port);
    return result == 0 ? 0 : errno ? -errno : -EIO;
}

int platform_slirp_unpublish(struct platform_slirp *slirp, int is_udp, uint32_t host, uint16_t host_port) {
    struct in_addr host_address = {htonl(host)};
    if (!slirp->remove_forward) return -ENOSYS;
    return slirp->remove_forward(slirp->slirp, is_udp, host_address, host_port) == 0 ? 0 : -ENOENT;
}

int platform_slirp_forwards_ipv6(const struct platform_slirp *slirp) {
    return slirp->add_socket_forward && slirp->remove_socket_forward;
}

static struct sockaddr_in6 socket_address6(const uint8_t address[16], uint16_t port) {
    struct sockaddr_in6 result = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    memcpy(&result.sin6_addr, address, sizeof result.sin6_addr);
    return result;
}

int platform_slirp_publish6(struct platform_slirp *slirp, const uint8_t host[16], uint16_t host_port,
    const uint8_t guest[16], uint16_t guest_port) {
    struct sockaddr_in6 host_address = socket_address6(host, host_port);
    struct sockaddr_in6 guest_address = socket_address6(guest, guest_port);
    if (!platform_slirp_forwards_ipv6(slirp)) return -ENOSYS;
    errno = 0;
    int result = slirp->add_socket_forward(slirp->slirp, (struct sockaddr *)&host_address, sizeof host_address,
        (struct sockaddr *)&guest_address, sizeof guest_address, FORWARD_UDP | FORWARD_IPV6_ONLY);
    return result == 0 ? 0 : errno ? -errno : -EIO;
}

int platform_slirp_unpublish6(struct platform_slirp *slirp, const uint8_t host[16], uint16_t host_port) {
    struct sockaddr_in6 host_address = socket_address6(host, host_port);
    if (!platform_slirp_forwards_ipv6(slirp)) return -ENOSYS;
    return slirp->remove_socket_forward(
               slirp->slirp, (struct sockaddr *)&host_address, sizeof host_address, FORWARD_UDP) == 0
        ? 0
        : -ENOENT;
}

static int add_descriptor(int fd, int events, void *context) {
    struct platform_slirp *slirp = context;
    if (slirp->count == slirp->capacity) {
        int capacity = slirp->capacity ? 2 * slirp->capacity : 64;
        struct pollfd *larger = realloc(slirp->descriptors, (size_t)capacity * sizeof *larger);
        // Out of memory: this descriptor is not polled this time.
        if (!larger) return -1;
        slirp->descriptors = larger;
        slirp->capacity = capacity;
    }
    short wanted = 0;
    if (events & SLIRP_POLL_IN) wanted |= POLLIN;
    if (events & SLIRP_POLL_OUT) wanted |= POLLOUT;
    if (events & SLIRP_POLL_PRI) wanted |= POLLPRI;
    slirp->descriptors[slirp->count] = (struct pollfd){.fd = fd, .events = wanted};
    return slirp->count++;
}

static int ready_events(int index, void *context) {
    struct platform_slirp *slirp = context;
    if (index < 0 || index >= slirp->count) return 0;
    short ready = slirp->descriptors[index].revents;
    return (ready & POLLIN ? SLIRP_POLL_IN : 0) | (ready & POLLOUT ? SLIRP_POLL_OUT : 0) |
        (ready & POLLPRI ? SLIRP_POLL_PRI : 0) | (ready & POLLERR ? SLIRP_POLL_ERR : 0) |
        (ready & POLLHUP ? SLIRP_POLL_HUP : 0);
}

int platform_slirp_run(struct platform_slirp *slirp, int wakeup, uint32_t timeout) {
    slirp->count = 0;
    add_descriptor(wakeup, SLIRP_POLL_IN, slirp);
    slirp->fill(slirp->slirp, &timeout, add_descriptor, slirp);
    int ready = poll(slirp->descriptors, (nfds_t)slirp->count, timeout > INT32_MAX ? -1 : (int)timeout);
    int is_woken = ready > 0 && slirp->descriptors[0].revents != 0;
    slirp->poll(slirp->slirp, ready < 0, ready_events, slirp);
    return is_woken;
}

int platform_slirp_layout(struct platform_slirp_layout *layout) {
    *layout = (struct platform_slirp_layout){.callbacks = sizeof(struct slirp_callbacks),
        .configuration = sizeof(struct slirp_configuration),
        .network = offsetof(struct slirp_configuration, vnetwork),
        .prefix = offsetof(struct slirp_configuration, vprefix_addr6),
        .host6 = offsetof(struct slirp_configuration, vhost6),
        .mtu = offsetof(struct slirp_configuration, if_mtu),
        .loopback = offsetof(struct slirp_configuration, disable_host_loopback),
        .dns = offsetof(struct slirp_configuration, disable_dns),
        .dhcp = offsetof(struct slirp_configuration, disable_dhcp),
        .notify = offsetof(struct slirp_callbacks, notify),
        .timer = offsetof(struct slirp_callbacks, timer_new_opaque)};
    return (int)(sizeof *layout / sizeof(uint32_t));
}
