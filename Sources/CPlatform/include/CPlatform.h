// SPDX-License-Identifier: Apache-2.0
//
// The one header through which Swift reaches what differs between Linux and macOS, or what Swift cannot call (variadic
// functions, CMSG macros). Functions that can fail return a negative errno; otherwise 0, a count or a descriptor as
// each one says. Descriptors are close-on-exec, and non-blocking unless the comment says otherwise; the caller owns
// what is returned.
#ifndef CPLATFORM_H
#define CPLATFORM_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

/// Whether datagrams and events are macOS's. On Linux too, simulated, in a build with PLATFORM_AS_DARWIN
/// (ci/macos-sockets).
#if defined(__APPLE__) || defined(PLATFORM_AS_DARWIN)
#define PLATFORM_IS_DARWIN 1
#else
#define PLATFORM_IS_DARWIN 0
#endif

// ---- What Swift sees on one system only: errno, and functions with a variable number of arguments ----

static inline int platform_errno(void) { return errno; }
static inline int platform_open(const char *path, int flags, unsigned mode) { return open(path, flags, mode); }
static inline int platform_fcntl(int fd, int command, int argument) { return fcntl(fd, command, argument); }

// ---- Sockets (posix/socket.c) ----

/// A socket of `domain` and `type` that never raises SIGPIPE. Returns the descriptor.
int platform_socket(int domain, int type);
/// Binds to, or connects to, the unix path of `length` bytes without terminator. A path whose first byte is 0 is an
/// abstract name (Linux).
int platform_unix_bind(int fd, const uint8_t *path, size_t length);
int platform_unix_connect(int fd, const uint8_t *path, size_t length);
/// Connects to a unix socket that must belong to `owner`, whatever happens to its path meanwhile (where the system
/// allows to make sure). -ENOTSOCK if the path names something else, -EPERM if it is somebody else's. `owner` 0 may
/// name anybody's socket. Abstract names have no owner: only 0 and who runs this process may give one.
int platform_unix_connect_owned(int fd, const uint8_t *path, size_t length, uint32_t owner);
/// Dissolves a datagram socket's association, after which it receives from anybody again.
int platform_unix_disconnect(int fd);
/// Accepts one connection. Returns its descriptor.
int platform_accept(int fd);
/// Asks for socket buffers of these sizes in bytes (0: leave alone), past the system's limit where privilege allows it.
/// Never fails: the system gives what it gives.
void platform_socket_buffers(int fd, int send, int receive);
/// Who is at the other end of a connected unix stream socket.
int platform_peer_credentials(int fd, int32_t *pid, uint32_t *uid, uint32_t *gid);
/// Sends without blocking and without SIGPIPE. Returns the bytes sent.
ssize_t platform_send(int fd, const void *bytes, size_t length);
/// The same for several pieces in one call.
ssize_t platform_send_pieces(int fd, const struct iovec *pieces, int count);
/// Receives without blocking. Returns the bytes received, 0 at the end of a stream. A datagram longer than `length` is
/// cut.
ssize_t platform_receive(int fd, void *bytes, size_t length);
/// The same into several pieces.
ssize_t platform_receive_pieces(int fd, const struct iovec *pieces, int count);
/// Receives a descriptor that the other end of a unix socket has sent (SCM_RIGHTS), without blocking. -ENODATA if none
/// came.
int platform_receive_descriptor(int fd);
/// What kind of socket `fd` is; -EBADF if it is not open, -ENOTSOCK if it is something else.
struct platform_socket_kind {
    int is_unix;
    int is_stream;
    int is_datagram;
    int is_listening;
    int is_connected;
};
int platform_socket_kind(int fd, struct platform_socket_kind *kind);
/// The path that a unix socket is bound to, up to `capacity` bytes. Returns its length, 0 for none.
int platform_unix_bound_path(int fd, uint8_t *path, size_t capacity);
/// The sockets that launchd made for this process under `name` (launch_activate_socket(3), once for each name). Returns
/// how many, up to `capacity`; 0 where it made none, and on systems without launchd.
int platform_launchd_sockets(const char *name, int *descriptors, int capacity);
/// The pending error of a socket (SO_ERROR) as a positive errno, 0 if none.
int platform_socket_error(int fd);
/// Restricts a socket to what arrives through the network interface `name` (Linux), so that a service on the guests'
/// network is not reachable from another.
int platform_bind_to_interface(int fd, const char *name);

/// An internet address with its port, as bytes: 4 or 16, network order.
struct platform_inet_address {
    uint8_t family;  // 4 or 6
    uint8_t bytes[16];
    uint16_t port;   // host order
    uint32_t scope;  // interface index of a link-local IPv6 address
};
/// Binds; `reuse` sets SO_REUSEADDR.
int platform_inet_bind(int fd, const struct platform_inet_address *address, int reuse);
/// Connects; -EINPROGRESS for a stream that is on its way.
int platform_inet_connect(int fd, const struct platform_inet_address *address);
ssize_t platform_inet_send(int fd, const void *bytes, size_t length, const struct platform_inet_address *to);
ssize_t platform_inet_receive(int fd, void *bytes, size_t length, struct platform_inet_address *from);
/// Who is at the other end of a connected socket.
int platform_inet_peer(int fd, struct platform_inet_address *peer);
/// For a TCP socket whose bytes are passed on as they come: small ones at once, urgent ones in their place.
void platform_stream_prepare(int fd);
/// Ends what is sent on a stream; what comes may go on.
int platform_stream_finish(int fd);
/// Makes closing a TCP socket end its connection at once, with a reset.
void platform_stream_reset(int fd);
/// Parses a numeric address, an IPv6 one with scope included.
int platform_inet_parse(const char *text, struct platform_inet_address *address);

// ---- Batches of datagrams (linux/batch.c, darwin/batch.c) ----

#if !PLATFORM_IS_DARWIN
/// One datagram of a batch. Reach its fields through the functions below.
typedef struct platform_message {
    struct msghdr header;
    unsigned int length;
} platform_message;
_Static_assert(sizeof(struct platform_message) == sizeof(struct {
    struct msghdr h;
    unsigned int n;
}),
    "layout of struct mmsghdr");
#else
/// The same for recvmsg_x and sendmsg_x.
typedef struct platform_message {
    struct msghdr header;
    size_t length;
} platform_message;
#endif

static inline void platform_message_set(struct platform_message *message, struct iovec *pieces, int count) {
    message->header.msg_iov = pieces;
    message->header.msg_iovlen = count;
}
static inline size_t platform_message_length(const struct platform_message *message) { return message->length; }
static inline int platform_message_truncated(const struct platform_message *message) {
    return (message->header.msg_flags & MSG_TRUNC) != 0;
}
/// Receives up to `count` datagrams without blocking. Returns how many, at least 1.
int platform_receive_batch(int fd, struct platform_message *messages, unsigned count);
/// Sends up to `count` datagrams without blocking. Returns how many were taken, at least 1; the error of the next one
/// comes with the next call.
int platform_send_batch(int fd, struct platform_message *messages, unsigned count);

// Datagrams of many senders at one socket, each with its sender's name.
enum { PLATFORM_NAME_SIZE = 128, PLATFORM_CONTROL_SIZE = 32 };
/// Gives a message room for its sender's name and for what the system adds, of the two sizes above. Nothing else may be
/// in a message's control data: descriptors that somebody sends along find no room.
static inline void platform_message_set_name(struct platform_message *message, void *name, void *control) {
    message->header.msg_name = name;
    message->header.msg_control = control;
}
/// The path that the sender has bound, without terminator; an abstract name begins with 0. `*length` is 0 for a sender
/// without a name.
const uint8_t *platform_message_name(const struct platform_message *message, size_t *length);
/// The sender's user, where the socket was asked to tell (platform_tell_senders); -ENOTSUP elsewhere.
int platform_message_user(const struct platform_message *message, uint32_t *user);
/// Makes a datagram socket tell its senders' users. Returns whether the system can. What was sent before tells nothing.
int platform_tell_senders(int fd);
/// As platform_receive_batch, for messages that have room for names.
int platform_receive_batch_named(int fd, struct platform_message *messages, unsigned count);
/// As platform_send_batch, to the address of `length` bytes.
int platform_send_batch_to(int fd, struct platform_message *messages, unsigned count, void *address, size_t length);
/// Writes the address of a unix path into `address` of PLATFORM_NAME_SIZE bytes. Returns its length.
int platform_unix_address(const uint8_t *path, size_t length, void *address);
/// Sends a datagram to such an address without blocking.
ssize_t platform_unix_send(int fd, const void *bytes, size_t count, const void *address, size_t length);
/// Holds fast to the unix socket that `path` names now and that belongs to `owner` (0: to anybody): the descriptor
/// names it as /proc/self/fd/N, whatever happens to the path. Returns the descriptor; -ENOTSOCK, -EPERM as
/// platform_unix_connect_owned, -ENOTSUP on macOS.
int platform_unix_pin(const uint8_t *path, size_t length, uint32_t owner);

// ---- Poller (linux/poller.c, darwin/poller.c) ----

enum { PLATFORM_READABLE = 1, PLATFORM_WRITABLE = 2, PLATFORM_HANGUP = 4 };
struct platform_event {
    uint64_t token;
    uint32_t ready;  // PLATFORM_* bits
};
int platform_poller_create(void);
/// Level-triggered; hang-up is always reported.
int platform_poller_add(int poller, int fd, uint64_t token, uint32_t interest);
int platform_poller_modify(int poller, int fd, uint64_t token, uint32_t interest);
int platform_poller_remove(int poller, int fd);
/// Waits up to `timeout` nanoseconds (negative: for ever). Returns the number of events; a signal counts as none.
int platform_poller_wait(int poller, struct platform_event *events, int capacity, int64_t timeout);
/// Looks again and again, without sleeping, for up to `limit` nanoseconds. Returns the number of events, 0 if none
/// came.
int platform_poller_spin(int poller, struct platform_event *events, int capacity, int64_t limit);
/// Whether a full datagram socket is watched to any avail: on macOS it always seems to have room.
int platform_poller_tells_of_room(void);
/// Waits for one descriptor. Returns the PLATFORM_* bits that hold, 0 on time-out.
int platform_poll_one(int fd, uint32_t interest, int64_t timeout);

/// A pair of descriptors with which one thread wakes another: [0] to poll and drain, [1] to signal; both may be the
/// same descriptor.
int platform_wakeup_create(int descriptors[2]);
void platform_wakeup_signal(int fd);
void platform_wakeup_drain(int fd);

// ---- Processes, threads, signals (posix/process.c) ----

/// Starts a program with default signal handling; the three descriptors become its standard ones (-1: /dev/null). Looks
/// `path` up in PATH if it has no slash. With `new_group` the child leads a process group of its own. Returns 0 and the
/// pid.
int platform_spawn(const char *path, char *const arguments[], char *const environment[], int input, int output,
    int error, int new_group, int32_t *pid);
/// Starts a program that stays with this one: same process group, same standard streams, `fd` as its descriptor 3.
/// Given a `user` other than this process's it runs as that user, with `group` and `groups`. Default signal handling.
/// Returns 0 and the pid.
int platform_spawn_guest(const char *path, char *const arguments[], char *const environment[], int fd, uint32_t user,
    uint32_t group, const uint32_t *groups, int group_count, int32_t *pid);
/// Becomes the program, with `fd` as its descriptor 3. Returns only if that fails.
int platform_become(const char *path, char *const arguments[], int fd);
/// The groups of the user called `name`, `group` among them, as getgrouplist(3) knows them. Returns how many, at most
/// `capacity`.
int platform_groups(const char *name, uint32_t group, uint32_t *groups, int capacity);
/// Starts a detached thread with all signals blocked.
int platform_thread_start(const char *name, void (*body)(void *), void *context);
/// Lets another thread run that waits for this one's processor.
void platform_thread_yield(void);
/// Processors that this process may use, 1 at least.
int platform_processors(void);
/// A mutex whose waiters look again for a moment before they sleep, where the system has such.
int platform_mutex_init(pthread_mutex_t *mutex);
/// A read-write lock whose waiting writer is let in before readers that come later.
int platform_rwlock_init(pthread_rwlock_t *lock);
/// Routes `signal` to the descriptor `fd` as one byte holding its number.
int platform_signal_route(int signal, int fd);
void platform_signal_ignore(int signal);
void platform_signal_default(int signal);
/// CLOCK_MONOTONIC that also runs while the machine sleeps, in nanoseconds.
uint64_t platform_clock_boot(void);
/// Nanoseconds that the machine has slept, of which only differences count.
uint64_t platform_clock_asleep(void);
/// Fills `bytes` with random bytes from the kernel.
void platform_random(void *bytes, size_t length);
/// Lets the process open as many descriptors as it may ask for without privilege. Returns how many.
int platform_raise_descriptor_limit(void);
/// Forks; the parent waits until the child says how its start went, and exits with that. Returns in the child the
/// descriptor to say it on: one byte, the exit status. The child leads a session of its own. To be called before any
/// thread is started.
int platform_daemonize(void);
/// Opens /dev/null in place of every standard stream that is closed, so that nothing else gets its number. To be called
/// first of all.
void platform_open_standard_streams(void);
/// Points standard input, output and error at /dev/null.
void platform_detach_standard_streams(void);
/// Writes a line to the system log (syslog(3), facility daemon) with a priority of 0 (emergency) to 7 (debug).
void platform_syslog(int priority, const char *text);
/// The process's environment.
char **platform_environment(void);

// ---- Directories by descriptor (posix/directory.c) ----

/// A descriptor of a directory with which nothing but what is in it can be named; no right to read it is needed.
int platform_directory_root(void);
/// Opens an entry of a directory, itself: a link is not followed. What is neither directory nor link may fail on macOS.
int platform_directory_enter(int directory, const char *name);
/// What the link opened by platform_directory_enter holds, without terminator. Returns its length.
int platform_link_text(int link, char *text, size_t capacity);
static inline int platform_directory_open(int directory, const char *name, int flags, unsigned mode) {
    int file = openat(directory, name, flags | O_NOFOLLOW | O_CLOEXEC, mode);
    return file < 0 ? -errno : file;
}
/// Binds a unix socket at a name in a directory, whatever happens to its path. -ENOSYS on a Linux without /proc.
int platform_directory_bind(int directory, const char *name, int socket);
/// Gives the socket that this process has bound at `name` its mode, and then its owner (-1: leave alone). -EPERM for
/// anything but a socket of this process's user under one name.
int platform_directory_give_socket(int directory, const char *name, uint32_t mode, uint32_t user, uint32_t group);
/// Moves an entry to a name that must not exist yet: -EEXIST.
int platform_directory_rename_new(int from, const char *name, int to, const char *new_name);
/// Takes away the access that a new directory's parent has passed on to it beside its mode.
int platform_directory_clear_inherited(int directory);
/// Whether others may have a right to a directory that its mode does not show, as access control lists of macOS give
/// it.
int platform_directory_can_be_shared_unseen(void);
/// Opens a file for reading as another user, with the rights of that user alone. Needs the right to become that user
/// (-EPERM).
int platform_open_as(const char *path, uint32_t user, uint32_t group, const uint32_t *groups, int group_count);

// ---- Privileges (linux/privileges.c, darwin/privileges.c: nothing) ----

/// Chooses the capabilities (a bit for each, by its number) that threads keep which are started from now on.
void platform_privileges_keep(uint64_t capabilities);
/// Gives up all other capabilities of the calling thread, in every set, and the right to gain any by starting a
/// program. Nothing before platform_privileges_keep. Capabilities that are inherited stay a non-root user's, as far as
/// they are kept: that is how programs started get them.
int platform_privileges_drop(void);

// ---- Network interfaces (linux/netlink.c, linux/tap.c, linux/packet.c; darwin/network.c: -ENOTSUP) ----

struct platform_route {
    uint32_t destination;  // host order
    uint32_t gateway;      // host order, 0 if none
    uint32_t interface;    // index
    uint32_t metric;
    uint32_t table;
    uint8_t prefix_length;
    uint8_t is_local;  // the kernel's own entry for an address of this host
};
/// The unicast IPv4 routes of all tables. Returns how many there are, which may exceed `capacity`.
int platform_routes(struct platform_route *routes, int capacity);

/// What to change of a link; fields that are 0 (mac: all zero) are left alone.
struct platform_link_change {
    uint32_t mtu;
    uint8_t up;    // 1: set IFF_UP
    uint8_t down;  // 1: clear IFF_UP
    uint8_t set_mac;
    uint8_t mac[6];
    uint32_t master;  // index of the bridge to join
    uint32_t group;   // ip-link(8): a number that several links share
};
int platform_link_change(uint32_t index, const struct platform_link_change *change);
int platform_address_add(uint32_t index, uint32_t address, uint8_t prefix_length);
/// How a link is set up now.
struct platform_link {
    uint32_t mtu;
    uint32_t master;  // index of the bridge it is a port of, 0 if none
    uint32_t group;
    uint8_t is_up;
};
int platform_link_get(uint32_t index, struct platform_link *link);
/// Adds the route to a directly connected network to the main table, as the kernel does with an address. Addresses in
/// host order.
int platform_route_add(uint32_t index, uint32_t network, uint8_t prefix_length, uint32_t source);
/// Where a packet would leave this host that came in by `input` (routing rules included). Sets the interface and the
/// MTU of the path (0 if no route has one). -ENETUNREACH and others if it would not leave.
int platform_route_lookup(uint32_t destination, uint32_t source, uint32_t input, uint32_t *output, uint32_t *mtu);

/// An IPv4 routing rule (ip-rule(8)).
struct platform_rule {
    uint32_t priority;
    uint32_t table;     // 0 where it has none
    uint8_t action;     // FR_ACT_*: 1 looks `table` up
    uint8_t is_l3mdev;  // looks up the table of a VRF
    uint8_t destination_length;
    uint32_t destination;  // host order
};
/// The IPv4 routing rules. Returns how many there are, which may exceed `capacity`.
int platform_rules(struct platform_rule *rules, int capacity);
/// Adds or removes the rule `to NETWORK lookup main suppress_prefixlength 0`.
int platform_rule_change(int add, uint32_t network, uint8_t prefix_length, uint32_t priority);
/// A number for the network namespace that this process is in, different from that of every other since the machine was
/// started; 0 if the kernel (before 5.14) does not tell.
uint64_t platform_network_namespace(void);
/// Readable whenever a link, an address, a route, a routing rule or a forwarding setting has changed; drain it with
/// platform_receive. Closed by the caller.
int platform_network_monitor(void);
/// The same for the rules of nftables.
int platform_firewall_monitor(void);

enum {
    PLATFORM_OFFLOAD_CHECKSUM = 1,
    PLATFORM_OFFLOAD_TSO4 = 2,
    PLATFORM_OFFLOAD_TSO6 = 4,
    PLATFORM_OFFLOAD_USO = 0x60
};
/// Opens the TAP `name` with a 12-byte virtio header before each frame. With `create` it must not exist yet; otherwise
/// it is made only if there is none. `offloads` is set to what the kernel will hand us unfinished. Returns the
/// descriptor; a TAP that was made here lives as long as it is open.
int platform_tap_open(const char *name, int create, uint32_t *offloads);
/// Makes the same of a TAP that somebody else has opened, with virtio headers, and tells its name. -EPROTOTYPE for
/// something else.
int platform_tap_adopt(int fd, char name[16], uint32_t *offloads);

/// A packet socket on an interface in promiscuous mode, with a 10-byte virtio header before each frame
/// (linux/packet.c). Frames that the host itself sends through the interface are not received.
int platform_packet_open(uint32_t index);
/// Receives one frame: `header` of 10 bytes, then the frame. `*tag` is the VLAN tag that the kernel took out (TPID <<
/// 16 | TCI), 0 if none. Returns the frame's length.
ssize_t platform_packet_receive(int fd, void *header, void *frame, size_t capacity, uint32_t *tag);

// ---- nftables by libnftables, found at run time (posix/nftables.c) ----

struct platform_nftables;
/// Opens the library with a netlink socket of its own, which children do not inherit. -ENOENT without the library or
/// with one of another interface, -EPERM and others if the kernel refuses the socket.
int platform_nftables_open(struct platform_nftables **nftables);
/// Carries out commands in the syntax of nft(8), all or none. Returns -EINVAL if they were refused. `*output` and
/// `*error` are what nft would print, valid until the next call.
int platform_nftables_run(
    struct platform_nftables *nftables, const char *commands, const char **output, const char **error);
/// Closes the socket: the kernel removes the tables that it owns.
void platform_nftables_close(struct platform_nftables *nftables);

// ---- User-mode NAT by libslirp, found at run time (posix/slirp.c) ----

struct platform_slirp;
struct platform_slirp_options {
    uint32_t network, mask, host;  // host order
    uint8_t prefix[16], host6[16];
    uint8_t prefix_length;  // 0: no IPv6
    uint32_t mtu;           // 68 to 65520
    void *context;
    /// Takes a frame for a guest, during `platform_slirp_input` and `platform_slirp_turn`.
    void (*send)(void *context, const void *frame, size_t length);
};
/// Starts a NAT. Everything about one is to be called by one thread at a time. -ENOENT without the library, -ENOTSUP
/// for a version whose interface is not known, -EIO if it refuses.
int platform_slirp_open(const struct platform_slirp_options *options, struct platform_slirp **slirp);
/// Such as `4.7.0`.
const char *platform_slirp_version(const struct platform_slirp *slirp);
void platform_slirp_close(struct platform_slirp *slirp);
/// Hands it a frame of a guest.
void platform_slirp_input(struct platform_slirp *slirp, const void *frame, size_t length);
/// Leads a port of the host to a guest's. Addresses in host order.
int platform_slirp_publish(
    struct platform_slirp *slirp, int is_udp, uint32_t host, uint16_t host_port, uint32_t guest, uint16_t guest_port);
/// Waits up to `timeout` milliseconds (UINT32_MAX: for ever) for its sockets, or for `wakeup` to be readable, and does
/// what is due. Returns whether `wakeup` was.
int platform_slirp_turn(struct platform_slirp *slirp, int wakeup, uint32_t timeout);
/// What is assumed of the library's structures: sizes and offsets in bytes, for a test that compares them with its
/// header.
struct platform_slirp_layout {
    uint32_t callbacks, configuration, network, prefix, host6, mtu, loopback, dns, dhcp, notify, timer;
};
int platform_slirp_layout(struct platform_slirp_layout *layout);

#endif
