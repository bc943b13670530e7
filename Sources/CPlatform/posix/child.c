// SPDX-License-Identifier: Apache-2.0
// What a child process does with another identity. It makes only system calls, because it is forked without exec.
#include "child.h"
#include "CPlatform.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/prctl.h>
#endif

static int send_descriptor(int socket, int descriptor) {
    char byte = 0;
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    memset(&control, 0, sizeof control);
    struct iovec piece = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {
        .msg_iov = &piece, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof control.room};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
    return sendmsg(socket, &message, 0) < 0 ? -errno : 0;
}

/// Runs `work` in a child process. With a socket, the child sends it the descriptor that `work` returns.
static int run(int (*work)(const void *), const void *context, int socket) {
    int outcome = 0;
    pid_t child = fork();
    if (child < 0) return -errno;
    if (child == 0) {
#if defined(__linux__)
        // No process may read the memory of this one through the child, whatever identity that takes.
        prctl(PR_SET_DUMPABLE, 0);
#endif
        int result = work(context);
        if (result >= 0 && socket >= 0) result = send_descriptor(socket, result);
        _exit(result >= 0 ? 0 : -result < 256 ? -result : EACCES);
    }
    while (waitpid(child, &outcome, 0) < 0 && errno == EINTR) {}
    return WIFEXITED(outcome) ? -WEXITSTATUS(outcome) : -EIO;
}

int child_result(int (*work)(const void *), const void *context) { return run(work, context, -1); }

int child_descriptor(int (*work)(const void *), const void *context) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_DGRAM, 0, ends) < 0) return -errno;
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    fcntl(ends[1], F_SETFD, FD_CLOEXEC);
    int result = run(work, context, ends[1]);
    if (result == 0) result = platform_receive_descriptor(ends[0]);
    close(ends[0]);
    close(ends[1]);
    return result;
}

struct opening {
    const char *path;
    int flags;
    mode_t mode;
    uid_t user;
    gid_t group;
    gid_t groups[64];
    int group_count;
};

static int open_as(const void *context) {
    const struct opening *opening = context;
    if (setgroups(opening->group_count, opening->groups) < 0 || setgid(opening->group) < 0 || setuid(opening->user) < 0)
        return -errno;
    int file = open(opening->path, opening->flags | O_NOCTTY | O_CLOEXEC, opening->mode);
    return file < 0 ? -errno : file;
}

int platform_open_as(const char *path, int flags, uint32_t mode, uint32_t user, uint32_t group, const uint32_t *groups,
    int group_count) {
    struct opening opening = {.path = path, .flags = flags, .mode = (mode_t)mode, .user = user, .group = group};
    while (opening.group_count < group_count && opening.group_count < 64) {
        opening.groups[opening.group_count] = groups[opening.group_count];
        opening.group_count++;
    }
    return child_descriptor(open_as, &opening);
}
