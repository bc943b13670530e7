// SPDX-License-Identifier: Apache-2.0
// Entries of open directories: no function here resolves a path of more than one component.
#include "CPlatform.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#if defined(__APPLE__)
#include <sys/acl.h>
// Exported by libsystem_pthread since macOS 10.12: changes the working directory of the calling thread only; -1 gives
// it the process's again.
extern int pthread_fchdir_np(int fd);
#endif

static int result(int value) { return value < 0 ? -errno : value; }

int platform_directory_root(void) {
#ifdef O_PATH
    return result(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
#else
    return result(open("/", O_SEARCH | O_CLOEXEC));
#endif
}

int platform_directory_enter(int directory, const char *name) {
#ifdef O_PATH
    // Opens the link itself.
    return result(openat(directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC));
#else
    int entry = openat(directory, name, O_SEARCH | O_NOFOLLOW | O_CLOEXEC);
    if (entry < 0 && (errno == ELOOP || errno == ENOTDIR))
        entry = openat(directory, name, O_RDONLY | O_SYMLINK | O_CLOEXEC);
    return result(entry);
#endif
}

int platform_link_text(int link, char *text, size_t capacity) {
#ifdef O_PATH
    return result((int)readlinkat(link, "", text, capacity));
#else
    return result((int)freadlink(link, text, capacity));
#endif
}

int platform_directory_bind(int directory, const char *name, int socket) {
    struct sockaddr_un address;
    memset(&address, 0, sizeof address);
    address.sun_family = AF_UNIX;
#ifdef O_PATH
    int length = snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s", directory, name);
    if (length < 0 || (size_t)length >= sizeof address.sun_path) return -ENAMETOOLONG;
    int bound = result(bind(socket, (struct sockaddr *)&address, sizeof address));
    return bound == -ENOENT && access("/proc/self/fd", F_OK) != 0 ? -ENOSYS : bound;
#else
    if (strlen(name) >= sizeof address.sun_path) return -ENAMETOOLONG;
    memcpy(address.sun_path, name, strlen(name));
    if (pthread_fchdir_np(directory) < 0) return -errno;
    int bound = result(bind(socket, (struct sockaddr *)&address, sizeof address));
    pthread_fchdir_np(-1);
    return bound;
#endif
}

int platform_directory_give_socket(int directory, const char *name, uint32_t mode, uint32_t user, uint32_t group) {
    struct stat status;
#ifdef O_PATH
    int file = openat(directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (file < 0) return -errno;
    int error = fstat(file, &status) < 0 ? -errno : 0;
    // Only a file of this process's user with one link: a hard link to another file must not be given away.
    if (!error && (!S_ISSOCK(status.st_mode) || status.st_uid != geteuid() || status.st_nlink != 1)) error = -EPERM;
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    // The mode first: after chown it would need another privilege.
    if (!error && chmod(path, mode) < 0) error = -errno;
    if (!error && fchownat(file, "", user, group, AT_EMPTY_PATH) < 0) error = -errno;
    close(file);
    return error;
#else
    if (fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) < 0) return -errno;
    if (!S_ISSOCK(status.st_mode) || status.st_uid != geteuid() || status.st_nlink != 1) return -EPERM;
    if (fchmodat(directory, name, (mode_t)mode, AT_SYMLINK_NOFOLLOW) < 0) return -errno;
    return result(fchownat(directory, name, user, group, AT_SYMLINK_NOFOLLOW));
#endif
}

int platform_directory_rename_new(int from, const char *name, int to, const char *new_name) {
#if defined(__APPLE__)
    return result(renameatx_np(from, name, to, new_name, RENAME_EXCL));
#else
    if (renameat2(from, name, to, new_name, RENAME_NOREPLACE) == 0) return 0;
    // The file system does not support it: link(2) to the new name, which must not exist either, and remove the old
    // one.
    if (errno != EINVAL && errno != ENOSYS) return -errno;
    if (linkat(from, name, to, new_name, 0) < 0) return -errno;
    return result(unlinkat(from, name, 0));
#endif
}

int platform_directory_clear_inherited(int directory) {
#if defined(__APPLE__)
    acl_t none = acl_init(0);
    if (!none) return -errno;
    int error = result(acl_set_fd_np(directory, none, ACL_TYPE_EXTENDED));
    acl_free(none);
    // A file system without access control lists has none to pass on.
    return error == -ENOTSUP || error == -EOPNOTSUPP ? 0 : error;
#else
    // The mode with which a directory is made bounds an inherited list (acl(5)).
    (void)directory;
    return 0;
#endif
}

int platform_directory_can_be_shared_unseen(void) {
#if defined(__APPLE__)
    return 1;
#else
    return 0;
#endif
}
