// SPDX-License-Identifier: Apache-2.0
//
// The floor to measure a switch against: takes two clients of the VDE protocol and copies frames between them with
// recvmmsg and sendmmsg, 64 at a time. It looks at nothing, learns nothing and waits for a slow receiver. usage: relay
// DIRECTORY
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BATCH = 64, SLOT = 65536 + 64 };

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static int data[2], controls[2];

static void accept_client(int listener, const char *directory, int index) {
    unsigned char request[256];
    int control = accept(listener, NULL, NULL);
    if (control < 0) fail("accept");
    ssize_t length = read(control, request, sizeof request);
    if (length < 12 + (ssize_t)sizeof(struct sockaddr_un)) fail("request");
    struct sockaddr_un client, own = {.sun_family = AF_UNIX};
    memcpy(&client, request + 12, sizeof client);
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0), size = 1 << 20;
    static int serial;
    snprintf(own.sun_path, sizeof own.sun_path, "%s/%03d.%d", directory, index + 1, ++serial);
    unlink(own.sun_path);
    if (bind(fd, (struct sockaddr *)&own, sizeof own) < 0) fail("bind");
    if (connect(fd, (struct sockaddr *)&client, sizeof client) < 0) fail("connect");
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    if (write(control, &own, sizeof own) != sizeof own) fail("answer");
    data[index] = fd;
    controls[index] = control;
}

int main(int count, char **arguments) {
    if (count != 2) return 64;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    mkdir(arguments[1], 0700);
    snprintf(address.sun_path, sizeof address.sun_path, "%s/ctl", arguments[1]);
    unlink(address.sun_path);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 4) < 0) fail("listen");
    static unsigned char slots[BATCH][SLOT];
    static struct iovec pieces[BATCH];
    static struct mmsghdr messages[BATCH];
    for (;;) {
        for (int i = 0; i < 2; i++) accept_client(listener, arguments[1], i);
        int running = 1;
        while (running) {
            struct pollfd entries[4] = {
                {data[0], POLLIN, 0}, {data[1], POLLIN, 0}, {controls[0], POLLIN, 0}, {controls[1], POLLIN, 0}};
            if (poll(entries, 4, -1) < 0) continue;
            for (int i = 0; i < 2; i++) {
                if (entries[2 + i].revents && !entries[0].revents && !entries[1].revents) running = 0;
                if (!entries[i].revents) continue;
                for (int k = 0; k < BATCH; k++) {
                    pieces[k] = (struct iovec){slots[k], SLOT};
                    messages[k].msg_hdr = (struct msghdr){.msg_iov = &pieces[k], .msg_iovlen = 1};
                }
                int received = recvmmsg(data[i], messages, BATCH, MSG_DONTWAIT, NULL);
                for (int k = 0; k < received; k++) pieces[k].iov_len = messages[k].msg_len;
                for (int done = 0; done < received;) {
                    int sent = sendmmsg(data[1 - i], messages + done, (unsigned)(received - done), MSG_NOSIGNAL);
                    if (sent < 0 && errno != EINTR) break;
                    if (sent > 0) done += sent;
                }
            }
        }
        for (int i = 0; i < 2; i++) close(data[i]), close(controls[i]);
    }
}
