// SPDX-License-Identifier: Apache-2.0
#include "CPlatform.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#if defined(__APPLE__)
#include <sys/random.h>
#else
#include <sys/syscall.h>
#endif
#include <sys/wait.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

char **platform_environment(void) { return environ; }

int platform_spawn(const char *path, char *const arguments[], char *const environment[], int input, int output,
    int error, int new_group, int32_t *pid) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    int descriptors[3] = {input, output, error};
    pid_t child = 0;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    for (int target = 0; target < 3; target++) {
        // dup2 of a descriptor onto itself would keep its close-on-exec flag on older systems; no caller passes 0..2
        // for another number.
        if (descriptors[target] < 0)
            posix_spawn_file_actions_addopen(&actions, target, "/dev/null", target == 0 ? O_RDONLY : O_WRONLY, 0);
        else posix_spawn_file_actions_adddup2(&actions, descriptors[target], target);
    }
    // Close-on-exec comes late: if this process is killed before the child has started the program, the child would
    // keep our locks and sockets alive.
    short flags = (short)(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | (new_group ? POSIX_SPAWN_SETPGROUP : 0));
#if defined(__APPLE__)
    flags |= POSIX_SPAWN_CLOEXEC_DEFAULT;
#elif defined(__GLIBC__)
#if __GLIBC_PREREQ(2, 34)
    posix_spawn_file_actions_addclosefrom_np(&actions, 3);
#endif
#endif
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setflags(&attributes, flags);
    int failure = posix_spawnp(&child, path, &actions, &attributes, arguments, environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    *pid = child;
    return -failure;
}

static int hand_over(int fd) {
    if (fd == 3) return fcntl(3, F_SETFD, 0);
    return dup2(fd, 3);
}

int platform_spawn_guest(const char *path, char *const arguments[], char *const environment[], int fd, uint32_t user,
    uint32_t group, const uint32_t *groups, int group_count, int32_t *pid) {
    int ends[2];
    if (pipe(ends) < 0) return -errno;
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    // Frees descriptor 3.
    int report = fcntl(ends[1], F_DUPFD_CLOEXEC, 10);
    close(ends[1]);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    // posix_spawn cannot change the user. Between fork and exec nothing but system calls.
    pid_t child = report < 0 ? -1 : fork();
    int failure = child < 0 ? errno : 0;
    if (child == 0) {
        for (int number = 1; number < NSIG; number++) signal(number, SIG_DFL);
        int failed = hand_over(fd) < 0;
#if defined(SYS_close_range)
        // As in platform_spawn. On an older Linux they go with the program's start.
        (void)syscall(SYS_close_range, 4, (unsigned)report - 1, 0);
        (void)syscall(SYS_close_range, (unsigned)report + 1, ~0u, 0);
#endif
        if (!failed && user != geteuid()) {
#if defined(__APPLE__)
            gid_t list[64];
#else
            gid_t list[256];
#endif
            int count = 0;
            while (count < group_count && count < (int)(sizeof list / sizeof *list)) {
                list[count] = groups[count];
                count++;
            }
            failed = setgroups(count, list) < 0 || setgid(group) < 0 || setuid(user) < 0;
        }
        sigset_t none;
        sigemptyset(&none);
        if (!failed) {
            sigprocmask(SIG_SETMASK, &none, NULL);
            environ = (char **)environment;
            execvp(path, arguments);
        }
        int error = errno;
        (void)!write(report, &error, sizeof error);
        _exit(127);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (report >= 0) close(report);
    if (child > 0) {
        int error = 0;
        ssize_t length;
        do length = read(ends[0], &error, sizeof error);
        while (length < 0 && errno == EINTR);
        if (length == sizeof error) {
            failure = error;
            while (waitpid(child, NULL, 0) < 0 && errno == EINTR) {}
        }
    }
    close(ends[0]);
    *pid = child;
    return -failure;
}

int platform_become(const char *path, char *const arguments[], int fd) {
    if (hand_over(fd) < 0) return -errno;
    // The program would inherit ignored signals.
    signal(SIGPIPE, SIG_DFL);
    execvp(path, arguments);
    return -errno;
}

int platform_groups(const char *name, uint32_t group, uint32_t *groups, int capacity) {
    int count = capacity;
#if defined(__APPLE__)
    getgrouplist(name, (int)group, (int *)groups, &count);
#else
    getgrouplist(name, group, groups, &count);
#endif
    return count < capacity ? count : capacity;
}

int platform_raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return -errno;
    rlim_t wanted = limit.rlim_max;
    // macOS calls its limit infinite and then refuses what is above OPEN_MAX.
    if (wanted == RLIM_INFINITY || wanted > 65536) wanted = 65536;
    if (limit.rlim_cur < wanted) {
        limit.rlim_cur = wanted;
        if (setrlimit(RLIMIT_NOFILE, &limit) < 0) {
            limit.rlim_cur = 10240;
            if (setrlimit(RLIMIT_NOFILE, &limit) < 0 && getrlimit(RLIMIT_NOFILE, &limit) < 0) return -errno;
        }
    }
    return limit.rlim_cur > 65536 ? 65536 : (int)limit.rlim_cur;
}

int platform_daemonize(void) {
    int ends[2];
    if (pipe(ends) < 0) return -errno;
    pid_t child = fork();
    if (child < 0) {
        int error = errno;
        close(ends[0]);
        close(ends[1]);
        return -error;
    }
    if (child == 0) {
        close(ends[0]);
        fcntl(ends[1], F_SETFD, FD_CLOEXEC);
        setsid();
        return ends[1];
    }
    close(ends[1]);
    unsigned char status = 0;
    ssize_t length;
    do length = read(ends[0], &status, 1);
    while (length < 0 && errno == EINTR);
    if (length == 1) _exit(status);
    // The child ended without reporting.
    int outcome = 0;
    while (waitpid(child, &outcome, 0) < 0 && errno == EINTR) {}
    _exit(WIFEXITED(outcome) && WEXITSTATUS(outcome) ? WEXITSTATUS(outcome) : 70);
}

void platform_open_standard_streams(void) {
    for (int stream = 0; stream < 3; stream++) {
        // open(2) returns the lowest free number, which is the missing one. Standard output is opened for reading, so
        // that a command reports that it cannot write its text.
        if (fcntl(stream, F_GETFD) < 0 && errno == EBADF) (void)!open("/dev/null", stream == 2 ? O_WRONLY : O_RDONLY);
    }
}

int platform_terminal_size(int fd) {
    struct winsize size;
    if (ioctl(fd, TIOCGWINSZ, &size) < 0 || size.ws_row == 0 || size.ws_col == 0) return -1;
    return (size.ws_row & 0x7fff) << 16 | size.ws_col;
}

void platform_detach_standard_streams(void) {
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0) return;
    for (int stream = 0; stream < 3; stream++) dup2(null, stream);
    if (null > 2) close(null);
}

void platform_syslog(int priority, const char *text) { syslog(LOG_DAEMON | priority, "%s", text); }

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
    // Worker threads need no other privileges. If dropping fails here, it also fails on the main thread, which reports
    // it.
    (void)platform_privileges_drop();
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
    // Of memory that another process shares and has shortened (linux/vhost.c). Blocked, it would end the process.
    sigdelset(&all, SIGBUS);
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

void platform_thread_yield(void) { sched_yield(); }

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

static uint64_t nanoseconds(struct timespec time) {
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

uint64_t platform_clock_wall(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return nanoseconds(now);
}

uint64_t platform_clock_boot(void) {
    struct timespec now;
#ifdef CLOCK_BOOTTIME
    clock_gettime(CLOCK_BOOTTIME, &now);
#else
    clock_gettime(CLOCK_MONOTONIC, &now);  // on macOS it also runs while the system sleeps
#endif
    return nanoseconds(now);
}

uint64_t platform_clock_asleep(void) {
    struct timespec awake, all;
#ifdef CLOCK_UPTIME_RAW
    // Neither clock is adjusted, so that they differ only by sleep (clock_gettime(3) of macOS).
    clock_gettime(CLOCK_UPTIME_RAW, &awake);
    clock_gettime(CLOCK_MONOTONIC_RAW, &all);
#else
    clock_gettime(CLOCK_MONOTONIC, &awake);
    clock_gettime(CLOCK_BOOTTIME, &all);
#endif
    int64_t asleep = (int64_t)(all.tv_sec - awake.tv_sec) * 1000000000 + all.tv_nsec - awake.tv_nsec;
    return asleep > 0 ? (uint64_t)asleep : 0;
}

void platform_random(void *bytes, size_t length) {
    // Both systems have getentropy: at most 256 bytes a call, from the kernel's generator, never failing once the
    // system is up.
    for (size_t done = 0; done < length;) {
        size_t piece = length - done < 256 ? length - done : 256;
        if (getentropy((char *)bytes + done, piece) != 0) abort();
        done += piece;
    }
}
