// SPDX-License-Identifier: Apache-2.0
#if defined(__APPLE__)
#include "CPlatform.h"

#include <errno.h>
#include <launch.h>
#include <stdlib.h>
#include <sys/ucred.h>
#include <sys/un.h>
#include <unistd.h>

int platform_launchd_sockets(const char *name, int *descriptors, int capacity) {
    int *found = NULL;
    size_t count = 0;
    // ESRCH: not started by launchd. ENOENT: the property list has no such sockets. EALREADY: requested before.
    if (launch_activate_socket(name, &found, &count) != 0) return 0;
    for (size_t i = 0; i < count && i < (size_t)capacity; i++) descriptors[i] = found[i];
    for (size_t i = (size_t)capacity; i < count; i++) close(found[i]);
    free(found);
    return count < (size_t)capacity ? (int)count : capacity;
}

int platform_peer_credentials(int fd, int32_t *pid, uint32_t *uid, uint32_t *gid) {
    struct xucred peer;
    socklen_t length = sizeof peer;
    pid_t process = 0;
    if (getsockopt(fd, SOL_LOCAL, LOCAL_PEERCRED, &peer, &length) < 0) return -errno;
    if (peer.cr_version != XUCRED_VERSION) return -EINVAL;
    *uid = peer.cr_uid;
    *gid = peer.cr_ngroups > 0 ? peer.cr_groups[0] : (gid_t)-1;
    length = sizeof process;
    *pid = getsockopt(fd, SOL_LOCAL, LOCAL_PEERPID, &process, &length) < 0 ? 0 : process;
    return 0;
}

int64_t platform_stream_silence(int fd) {
    (void)fd;
    return -ENOTSUP;
}
#endif
