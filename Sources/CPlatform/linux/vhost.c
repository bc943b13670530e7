// SPDX-License-Identifier: Apache-2.0
#include "CPlatform.h"

#if !PLATFORM_IS_DARWIN
#include <errno.h>
#include <linux/aio_abi.h>
#include <linux/magic.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

int platform_vhost_supported(void) { return 1; }

ssize_t platform_vhost_receive(
    int fd, void *bytes, size_t length, int descriptors[PLATFORM_VHOST_DESCRIPTORS], int *count) {
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(PLATFORM_VHOST_DESCRIPTORS * sizeof(int))];
    } control;
    struct iovec piece = {.iov_base = bytes, .iov_len = length};
    struct msghdr message = {
        .msg_iov = &piece, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof control.room};
    *count = 0;
    ssize_t received = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (received < 0) return -errno;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
        int present = (int)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        for (int i = 0; i < present; i++) {
            int descriptor;
            memcpy(&descriptor, CMSG_DATA(header) + (size_t)i * sizeof(int), sizeof descriptor);
            if (*count < PLATFORM_VHOST_DESCRIPTORS) descriptors[(*count)++] = descriptor;
            else close(descriptor);
        }
    }
    if ((message.msg_flags & MSG_CTRUNC) == 0) return received;
    for (int i = 0; i < *count; i++) close(descriptors[i]);
    *count = 0;
    return -EPROTO;
}

int platform_vhost_prepare_event(int fd) {
    static const char wanted[] = "anon_inode:[eventfd";
    char path[40], target[sizeof wanted] = {0};
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (readlink(path, target, sizeof target - 1) < 0) return -errno;
    if (strcmp(target, wanted) != 0) return -EPROTOTYPE;
    int flags = fcntl(fd, F_GETFL);
    return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

int platform_vhost_watch(int poller, int event) {
    struct epoll_event wanted = {.events = EPOLLIN | EPOLLET};
    return epoll_ctl(poller, EPOLL_CTL_ADD, event, &wanted) < 0 ? -errno : 0;
}

void platform_vhost_drain(int poller) {
    struct epoll_event ready[8];
    (void)epoll_wait(poller, ready, 8, 0);
}

// ---- Signals

// A write to an eventfd waits while its counter is full, unless the descriptor is non-blocking; its other owner can
// fill the counter and change the mode. The kernel itself adds 1 without waiting when an asynchronous operation ends
// that names the eventfd (io_submit(2), IOCB_FLAG_RESFD). The operation here is a read of an empty file, which ends at
// once.

enum { COMPLETIONS = 16 };
static int empty_file = -1;

static void make_empty_file(void) { empty_file = memfd_create("vde_vmnet signals", MFD_CLOEXEC); }

void platform_vhost_open_signaller(struct platform_vhost_signaller *signaller) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_empty_file);
    *signaller = (struct platform_vhost_signaller){0};
    aio_context_t context = 0;
    if (empty_file >= 0 && syscall(SYS_io_setup, COMPLETIONS, &context) == 0) signaller->context = context;
}

void platform_vhost_close_signaller(struct platform_vhost_signaller *signaller) {
    if (signaller->context != 0) syscall(SYS_io_destroy, signaller->context);
    signaller->context = 0;
}

static void forget_completions(struct platform_vhost_signaller *signaller) {
    struct io_event completions[COMPLETIONS];
    struct timespec no_time = {0};
    (void)syscall(SYS_io_getevents, signaller->context, 0, COMPLETIONS, completions, &no_time);
    signaller->completed = 0;
}

void platform_vhost_signal(struct platform_vhost_signaller *signaller, int event) {
    char byte;
    struct iocb read_nothing = {.aio_lio_opcode = IOCB_CMD_PREAD,
        .aio_fildes = (uint32_t)empty_file,
        .aio_buf = (uintptr_t)&byte,
        .aio_nbytes = sizeof byte,
        .aio_flags = IOCB_FLAG_RESFD,
        .aio_resfd = (uint32_t)event};
    struct iocb *list[] = {&read_nothing};
    if (signaller->context == 0) return platform_wakeup_signal(event);
    if (signaller->completed == COMPLETIONS) forget_completions(signaller);
    if (syscall(SYS_io_submit, signaller->context, 1, list) != 1) {
        // The kernel divides its room for completions among processors.
        forget_completions(signaller);
        if (syscall(SYS_io_submit, signaller->context, 1, list) != 1) return platform_wakeup_signal(event);
    }
    signaller->completed++;
}

// ---- Memory

// A file that was shortened after its size was checked. The kernel reports an access after its end by SIGBUS, on the
// thread that has made it. The handler maps zeros over the whole file's mapping, and the access goes on.

enum { SLOTS = 2048 };
static struct {
    uintptr_t base;  // 0: free; 1: being entered
    size_t length;
    int is_lost;
} mappings[SLOTS];

static void on_bus_error(int number, siginfo_t *information, void *context) {
    (void)context;
    int saved = errno;
    uintptr_t address = (uintptr_t)information->si_addr;
    for (int slot = 0; slot < SLOTS; slot++) {
        uintptr_t base = __atomic_load_n(&mappings[slot].base, __ATOMIC_ACQUIRE);
        if (base <= 1 || address < base || address - base >= mappings[slot].length) continue;
        __atomic_store_n(&mappings[slot].is_lost, 1, __ATOMIC_RELEASE);
        void *zeros = mmap((void *)base, mappings[slot].length, PROT_READ | PROT_WRITE,
            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
        if (zeros == MAP_FAILED) break;
        errno = saved;
        return;
    }
    // Not such memory: the access is repeated, and ends the process.
    signal(number, SIG_DFL);
}

static int enter(void *base, size_t length) {
    for (int slot = 0; slot < SLOTS; slot++) {
        uintptr_t none = 0;
        if (!__atomic_compare_exchange_n(&mappings[slot].base, &none, 1, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
            continue;
        mappings[slot].length = length;
        mappings[slot].is_lost = 0;
        __atomic_store_n(&mappings[slot].base, (uintptr_t)base, __ATOMIC_RELEASE);
        return slot;
    }
    return -ENOMEM;
}

int platform_vhost_map(int fd, uint64_t length, struct platform_vhost_mapping *mapping) {
    struct statfs system;
    struct stat status;
    if (fstatfs(fd, &system) < 0 || fstat(fd, &status) < 0) return -errno;
    if ((unsigned long)system.f_type != TMPFS_MAGIC && (unsigned long)system.f_type != HUGETLBFS_MAGIC)
        return -EPROTOTYPE;
    if (!S_ISREG(status.st_mode)) return -EPROTOTYPE;
    if (length == 0 || (uint64_t)status.st_size < length) return -EFBIG;
    // A huge page is mapped whole.
    uint64_t page = (uint64_t)status.st_blksize;
    if (page < 4096 || (page & (page - 1)) != 0 || length > UINT64_MAX - page) return -EINVAL;
    length = (length + page - 1) & ~(page - 1);
#if defined(F_ADD_SEALS)
    // The owner may have forbidden seals; then the handler is what is left.
    (void)fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK);
#endif
    struct sigaction action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigfillset(&action.sa_mask);
    if (sigaction(SIGBUS, &action, NULL) < 0) return -errno;
    void *base = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (base == MAP_FAILED) return -errno;
    int slot = enter(base, length);
    if (slot < 0) {
        munmap(base, length);
        return slot;
    }
    *mapping = (struct platform_vhost_mapping){.base = base, .length = length, .slot = slot};
    return 0;
}

void platform_vhost_unmap(const struct platform_vhost_mapping *mapping) {
    // First, because another thread may get the same addresses as soon as they are free.
    __atomic_store_n(&mappings[mapping->slot].base, 0, __ATOMIC_RELEASE);
    munmap(mapping->base, mapping->length);
}

int platform_vhost_is_lost(const struct platform_vhost_mapping *mapping) {
    return __atomic_load_n(&mappings[mapping->slot].is_lost, __ATOMIC_ACQUIRE);
}
#endif
