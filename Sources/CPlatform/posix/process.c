// SPDX-License-Identifier: Apache-2.0
#include "CPlatform.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

char **platform_environment(void) { return environ; }

int platform_spawn(const char *path, char *const arguments[], char *const environment[], int input, int output, int error, int new_group,
                   int32_t *pid) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    int descriptors[3] = {input, output, error};
    pid_t child = 0;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    for (int target = 0; target < 3; target++) {
        // dup2 of a descriptor onto itself would keep its close-on-exec flag on older systems; we never pass 0..2 for another number.
        if (descriptors[target] < 0)
            posix_spawn_file_actions_addopen(&actions, target, "/dev/null", target == 0 ? O_RDONLY : O_WRONLY, 0);
        else
            posix_spawn_file_actions_adddup2(&actions, descriptors[target], target);
    }
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setflags(&attributes, (short)(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | (new_group ? POSIX_SPAWN_SETPGROUP : 0)));
    int failure = posix_spawnp(&child, path, &actions, &attributes, arguments, environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    *pid = child;
    return -failure;
}

struct start {
    void (*body)(void *);
    void *context;
    char name[16];
};

static void *run(void *argument) {
    struct start start = *(struct start *)argument;
    free(argument);
#if defined(__linux__)
    pthread_setname_np(pthread_self(), start.name);
#else
    pthread_setname_np(start.name);
#endif
    start.body(start.context);
    return NULL;
}

int platform_thread_start(const char *name, void (*body)(void *), void *context) {
    struct start *start = calloc(1, sizeof *start);
    pthread_t thread;
    sigset_t all, before;
    if (!start) return -ENOMEM;
    start->body = body;
    start->context = context;
    strncpy(start->name, name, sizeof start->name - 1);
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int error = pthread_create(&thread, NULL, run, start);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error) {
        free(start);
        return -error;
    }
    pthread_detach(thread);
    return 0;
}

static volatile int routes[65];

static void forward(int signal) {
    int saved = errno;
    uint8_t byte = (uint8_t)signal;
    (void)!write(routes[signal] - 1, &byte, 1);
    errno = saved;
}

int platform_signal_route(int signal, int fd) {
    struct sigaction action = {.sa_handler = forward, .sa_flags = SA_RESTART};
    if (signal < 1 || signal > 64) return -EINVAL;
    routes[signal] = fd + 1;
    sigfillset(&action.sa_mask);
    return sigaction(signal, &action, NULL) < 0 ? -errno : 0;
}

void platform_signal_ignore(int number) { signal(number, SIG_IGN); }
void platform_signal_default(int number) { signal(number, SIG_DFL); }

uint64_t platform_clock_boot(void) {
    struct timespec now;
#ifdef CLOCK_BOOTTIME
    clock_gettime(CLOCK_BOOTTIME, &now);
#else
    clock_gettime(CLOCK_MONOTONIC, &now);  // on macOS it runs on while the machine sleeps
#endif
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void platform_random(void *bytes, size_t length) {
    // Both systems have getentropy: at most 256 bytes a call, from the kernel's generator, never failing once the system is up.
    for (size_t done = 0; done < length;) {
        size_t piece = length - done < 256 ? length - done : 256;
        if (getentropy((char *)bytes + done, piece) != 0) abort();
        done += piece;
    }
}
