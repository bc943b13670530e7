// SPDX-License-Identifier: Apache-2.0
//
// libnftables, the library that nft(8) is made of, found at run time. Its interface is declared here by its facts
// (libnftables(3), ABI 1, nftables 0.9.9 and later). Unlike a child process, it keeps one netlink socket open, which
// may own a table (Linux 5.12).
#include "CPlatform.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#if defined(__linux__)
#include <linux/netlink.h>

struct platform_nftables {
    void *context;
    void *(*create)(uint32_t flags);
    void (*destroy)(void *context);
    int (*run)(void *context, const char *commands);
    int (*buffer_output)(void *context);
    int (*buffer_error)(void *context);
    const char *(*output)(void *context);
    const char *(*error)(void *context);
};

static void close_on_exec_if_netfilter(int fd) {
    int protocol = 0, domain = 0;
    socklen_t size = sizeof protocol;
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0 || domain != AF_NETLINK) return;
    size = sizeof protocol;
    if (getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) == 0 && protocol == NETLINK_NETFILTER)
        fcntl(fd, F_SETFD, FD_CLOEXEC);
}

/// The library opens its socket without close-on-exec. Children must not inherit it: an open copy would keep this
/// process's tables alive. Without /proc, every number that a descriptor can have by default is tried.
static void close_on_exec(void) {
    DIR *descriptors = opendir("/proc/self/fd");
    if (!descriptors) {
        for (int fd = 3; fd < 1024; fd++) close_on_exec_if_netfilter(fd);
        return;
    }
    for (struct dirent *entry; (entry = readdir(descriptors));) {
        int fd = atoi(entry->d_name);
        if (fd > 2) close_on_exec_if_netfilter(fd);
    }
    closedir(descriptors);
}

int platform_nftables_open(struct platform_nftables **result) {
    // Without a netlink socket the library would call exit().
    int probe = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
    if (probe < 0) return -errno;
    close(probe);
    void *library = dlopen("libnftables.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library) return -ENOENT;
    struct platform_nftables *nftables = calloc(1, sizeof *nftables);
    if (!nftables) return -ENOMEM;
    *(void **)&nftables->create = dlsym(library, "nft_ctx_new");
    *(void **)&nftables->destroy = dlsym(library, "nft_ctx_free");
    *(void **)&nftables->run = dlsym(library, "nft_run_cmd_from_buffer");
    *(void **)&nftables->buffer_output = dlsym(library, "nft_ctx_buffer_output");
    *(void **)&nftables->buffer_error = dlsym(library, "nft_ctx_buffer_error");
    *(void **)&nftables->output = dlsym(library, "nft_ctx_get_output_buffer");
    *(void **)&nftables->error = dlsym(library, "nft_ctx_get_error_buffer");
    int is_whole = nftables->create && nftables->destroy && nftables->run && nftables->buffer_output &&
        nftables->buffer_error && nftables->output && nftables->error;
    if (is_whole) nftables->context = nftables->create(0);
    if (!nftables->context || nftables->buffer_output(nftables->context) != 0 ||
        nftables->buffer_error(nftables->context) != 0) {
        if (nftables->context) nftables->destroy(nftables->context);
        free(nftables);
        return -ENOENT;
    }
    close_on_exec();
    *result = nftables;
    return 0;
}

int platform_nftables_run(
    struct platform_nftables *nftables, const char *commands, const char **output, const char **error) {
    int outcome = nftables->run(nftables->context, commands);
    // The library may have reopened its socket.
    close_on_exec();
    *output = nftables->output(nftables->context);
    *error = nftables->error(nftables->context);
    return outcome == 0 ? 0 : -EINVAL;
}

void platform_nftables_close(struct platform_nftables *nftables) {
    nftables->destroy(nftables->context);
    free(nftables);
}

#else

int platform_nftables_open(struct platform_nftables **result) {
    (void)result;
    return -ENOTSUP;
}

int platform_nftables_run(
    struct platform_nftables *nftables, const char *commands, const char **output, const char **error) {
    (void)nftables, (void)commands, (void)output, (void)error;
    return -ENOTSUP;
}

void platform_nftables_close(struct platform_nftables *nftables) { (void)nftables; }
#endif
