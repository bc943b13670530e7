// SPDX-License-Identifier: Apache-2.0
// A process that opens files below one directory with the rights of one user. It makes only system calls, because it is
// forked without exec.
#include "CPlatform.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/syscall.h>
#endif

struct answer {
    uint32_t number;
    int32_t error;
};

union control {
    struct cmsghdr header;
    char room[CMSG_SPACE(sizeof(int))];
};

// The descriptors of the process.
enum { SOCKET = 3, DIRECTORY = 4, FIRST_UNUSED = 5 };

// Opens `path`, one component after the other. A link is not followed anywhere, and there is no component `..`
// (BootFileName), so the file is below the directory. Only a regular file is opened: opening a device could change it,
// and opening a FIFO could wake its writer.
static int open_below(int directory, char *path) {
    int place = directory;
    for (;;) {
        char *slash = strchr(path, '/');
        int file = -1;
        if (slash) {
            *slash = 0;
            file = openat(place, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        } else {
            struct stat status;
            if (fstatat(place, path, &status, AT_SYMLINK_NOFOLLOW) == 0) {
                if (S_ISREG(status.st_mode))
                    file = openat(place, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
                else errno = S_ISLNK(status.st_mode) ? ELOOP : S_ISDIR(status.st_mode) ? EISDIR : EACCES;
            }
        }
        int error = errno;
        if (place != directory) close(place);
        if (file < 0) return -error;
        if (!slash) return file;
        place = file;
        path = slash + 1;
    }
}

static void serve(void) {
    struct platform_opener_request request;
    while (recv(SOCKET, &request, sizeof request, MSG_WAITALL) == (ssize_t)sizeof request) {
        request.path[sizeof request.path - 1] = 0;
        int file = open_below(DIRECTORY, request.path);
        struct answer answer = {.number = request.number, .error = file < 0 ? file : 0};
        struct iovec piece = {.iov_base = &answer, .iov_len = sizeof answer};
        struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
        union control control;
        memset(&control, 0, sizeof control);
        if (file >= 0) {
            message.msg_control = control.room;
            message.msg_controllen = sizeof control.room;
            struct cmsghdr *header = CMSG_FIRSTHDR(&message);
            header->cmsg_level = SOL_SOCKET;
            header->cmsg_type = SCM_RIGHTS;
            header->cmsg_len = CMSG_LEN(sizeof(int));
            memcpy(CMSG_DATA(header), &file, sizeof file);
        }
        ssize_t sent = sendmsg(SOCKET, &message, 0);
        if (file >= 0) close(file);
        if (sent < 0) return;
    }
}

static void close_from(int first) {
#if defined(__linux__) && defined(SYS_close_range)
    if (syscall(SYS_close_range, (unsigned)first, ~0u, 0) == 0) return;
#endif
    for (int fd = first, end = getdtablesize(); fd < end; fd++) close(fd);
}

int platform_opener_start(int directory, const struct platform_identity *identity) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0) return -errno;
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    pid_t child = fork();
    if (child < 0) {
        int error = -errno;
        close(ends[0]);
        close(ends[1]);
        return error;
    }
    if (child > 0) {
        close(ends[1]);
#if defined(SO_NOSIGPIPE)
        int yes = 1;
        setsockopt(ends[0], SOL_SOCKET, SO_NOSIGPIPE, &yes, sizeof yes);
#endif
        return ends[0];
    }
    // The process ends with its socket, and not by signals that a terminal sends to all processes of a job.
    for (int number = 1; number < 32; number++) signal(number, SIG_IGN);
    gid_t groups[64];
    int count = 0;
    for (; identity && count < identity->group_count && count < 64; count++) groups[count] = identity->groups[count];
    if (identity && (setgroups(count, groups) < 0 || setgid(identity->group) < 0 || setuid(identity->user) < 0))
        _exit(1);
    platform_privileges_keep(0);
    if (platform_privileges_drop() < 0) _exit(1);
    int socket = fcntl(ends[1], F_DUPFD, 64), place = fcntl(directory, F_DUPFD, 64);
    if (socket < 0 || place < 0 || dup2(socket, SOCKET) < 0 || dup2(place, DIRECTORY) < 0) _exit(1);
    close_from(FIRST_UNUSED);
    int null = open("/dev/null", O_RDWR);
    for (int fd = 0; null >= 0 && fd < SOCKET; fd++) dup2(null, fd);
    if (null >= 0) close(null);
    if (chdir("/") == 0) serve();
    _exit(0);
}

int platform_opener_send(int socket, const struct platform_opener_request *request) {
#if defined(MSG_NOSIGNAL)
    ssize_t sent = send(socket, request, sizeof *request, MSG_NOSIGNAL);
#else
    ssize_t sent = send(socket, request, sizeof *request, 0);
#endif
    return sent < 0 ? -errno : 0;
}

int platform_opener_receive(int socket, int waits, uint32_t *number, int *file) {
    struct answer answer;
    union control control;
    memset(&control, 0, sizeof control);
    struct iovec piece = {.iov_base = &answer, .iov_len = sizeof answer};
    struct msghdr message = {
        .msg_iov = &piece, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof control.room};
    ssize_t length;
    do length = recvmsg(socket, &message, waits ? 0 : MSG_DONTWAIT);
    while (length < 0 && errno == EINTR);
    if (length < 0) return -errno;
    struct cmsghdr *header = length > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    int received = -1;
    if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
        header->cmsg_len == CMSG_LEN(sizeof(int))) {
        memcpy(&received, CMSG_DATA(header), sizeof received);
        fcntl(received, F_SETFD, FD_CLOEXEC);
    }
    if (length != (ssize_t)sizeof answer) {
        if (received >= 0) close(received);
        return -EPIPE;
    }
    *number = answer.number;
    *file = received >= 0 ? received : answer.error < 0 ? answer.error : -EIO;
    return 0;
}

int64_t platform_read_at(int fd, void *bytes, size_t count, int64_t offset) {
    ssize_t length;
    do length = pread(fd, bytes, count, (off_t)offset);
    while (length < 0 && errno == EINTR);
    return length < 0 ? -errno : length;
}
