// SPDX-License-Identifier: Apache-2.0
//
// The compiler of filter expressions of libpcap, loaded when it is needed, so that neither building nor starting this
// program requires it. Its interface is declared here by its facts (pcap_compile(3PCAP), pcap_open_dead(3PCAP)), which
// have not changed since version 0.8.
#include "CPlatform.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

struct instruction {
    unsigned short code;
    unsigned char jump_true, jump_false;
    unsigned int constant;
};

struct program {
    unsigned int count;
    struct instruction *instructions;
};

enum { ETHERNET = 1 };
// PCAP_NETMASK_UNKNOWN: there is no network whose broadcast address a filter could mean.
static const unsigned int no_netmask = 0xffffffff;

static void *find_library(void) {
    static const char *const names[] = {
#if defined(__APPLE__)
        "/usr/lib/libpcap.A.dylib",
#else
        "libpcap.so.0.8",
        "libpcap.so.1",
#endif
    };
    for (size_t index = 0; index < sizeof names / sizeof *names; index++) {
        void *library = dlopen(names[index], RTLD_NOW | RTLD_LOCAL);
        if (library) return library;
    }
    return NULL;
}

int platform_pcap_compile(const char *expression, int snap_length, struct platform_filter_instruction *instructions,
    int capacity, char *reason, size_t reason_length) {
    void *library = find_library();
    if (!library) return -ENOENT;
    void *(*open_dead)(int, int) = (void *(*)(int, int))dlsym(library, "pcap_open_dead");
    int (*compile)(void *, struct program *, const char *, int, unsigned int) =
        (int (*)(void *, struct program *, const char *, int, unsigned int))dlsym(library, "pcap_compile");
    char *(*error_text)(void *) = (char *(*)(void *))dlsym(library, "pcap_geterr");
    void (*free_code)(struct program *) = (void (*)(struct program *))dlsym(library, "pcap_freecode");
    void (*close_handle)(void *) = (void (*)(void *))dlsym(library, "pcap_close");
    if (!open_dead || !compile || !error_text || !free_code || !close_handle) return -ENOENT;
    void *handle = open_dead(ETHERNET, snap_length);
    if (!handle) return -ENOMEM;
    struct program program = {0, NULL};
    int count;
    if (compile(handle, &program, expression, 1, no_netmask) < 0) {
        snprintf(reason, reason_length, "%s", error_text(handle));
        count = -EINVAL;
    } else {
        count = program.count <= (unsigned int)capacity ? (int)program.count : -EMSGSIZE;
        for (int index = 0; index < count; index++) {
            struct instruction one = program.instructions[index];
            instructions[index] =
                (struct platform_filter_instruction){one.code, one.jump_true, one.jump_false, one.constant};
        }
        free_code(&program);
    }
    close_handle(handle);
    return count;
}
