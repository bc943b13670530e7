// SPDX-License-Identifier: Apache-2.0
// Descriptors that a child process opens with another identity. It makes only system calls, because it is forked
// without exec.
#include "child.h"
#include "CPlatform.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

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

int child_descriptor(int (*open_it)(const void *), const void *context) {
    int ends[2], error = 0, outcome = 0;
    if (socketpair(AF_UNIX, SOCK_DGRAM, 0, ends) < 0) return -errno;
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    fcntl(ends[1], F_SETFD, FD_CLOEXEC);
    pid_t child = fork();
    if (child == 0) {
        int file = open_it(context);
        if (file >= 0) file = send_descriptor(ends[1], file);
        _exit(file == 0 ? 0 : -file > 0 && -file < 256 ? -file : EACCES);
    }
    if (child < 0) error = -errno;
    if (child > 0) {
        while (waitpid(child, &outcome, 0) < 0 && errno == EINTR) {}
        error = WIFEXITED(outcome) && WEXITSTATUS(outcome) == 0 ? platform_receive_descriptor(ends[0])
            : WIFEXITED(outcome)                                ? -WEXITSTATUS(outcome)
                                                                : -EACCES;
    }
    close(ends[0]);
    close(ends[1]);
    return error;
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
