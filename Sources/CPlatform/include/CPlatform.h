// SPDX-License-Identifier: Apache-2.0
//
// The header through which Swift calls functions that differ between Linux and macOS, and those that Swift cannot call
// (variadic functions, CMSG macros). Functions that can fail return a negative errno; otherwise 0, a count or a
// descriptor as documented with each. Descriptors are close-on-exec, and non-blocking unless documented otherwise; the
// caller owns what is returned.
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

/// Whether the macOS code for datagrams and events is used. On Linux a build with PLATFORM_AS_DARWIN runs it too,
/// simulated (ci/macos-coverage).
#if defined(__APPLE__) || defined(PLATFORM_AS_DARWIN)
#define PLATFORM_IS_DARWIN 1
#else
#define PLATFORM_IS_DARWIN 0
#endif

// ---- What Swift can see on one system only: errno, and functions with a variable number of arguments
// ----------------------------------

static inline int platform_errno(void) { return errno; }
static inline int platform_open(const char *path, int flags, unsigned mode) { return open(path, flags, mode); }
static inline int platform_fcntl(int fd, int command, int argument) { return fcntl(fd, command, argument); }

// ---- Sockets (posix/socket.c)
// ------------------------------------------------------------------------------------------------------

/// A socket of `domain` and `type` that never raises SIGPIPE. Returns the descriptor.
int platform_socket(int domain, int type);
/// Whether there are unix sockets of SOCK_SEQPACKET; macOS has none.
int platform_sequenced_packets_supported(void);
/// Binds to, or connects to, the unix path of `length` bytes without terminator. A path whose first byte is 0 is an
/// abstract name (Linux).
int platform_unix_bind(int fd, const uint8_t *path, size_t length);
int platform_unix_connect(int fd, const uint8_t *path, size_t length);
/// Connects to a unix socket that must belong to `owner`. Linux guarantees this even if the path changes meanwhile.
/// -ENOTSOCK if the path is not a socket, -EPERM if it belongs to another user. `owner` 0 (root) allows any owner.
/// Abstract names have no owner: only 0 and the process's own user may connect to one.
int platform_unix_connect_owned(int fd, const uint8_t *path, size_t length, uint32_t owner);
/// Dissolves a datagram socket's association; it then receives from any sender again.
int platform_unix_disconnect(int fd);
/// Accepts one connection. Returns its descriptor.
int platform_accept(int fd);
/// Sets the sizes of the socket's buffers in bytes (0: leave alone), beyond the system's limit if privilege allows it.
/// Never fails; the system may grant less.
void platform_socket_buffers(int fd, int send, int receive);
/// The process, user and group of the peer of a connected unix stream socket.
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
/// Receives a descriptor that the peer of a unix socket has sent (SCM_RIGHTS), without blocking. -ENODATA if the
/// message has none.
int platform_receive_descriptor(int fd);
/// What kind of socket `fd` is; -EBADF if it is not open, -ENOTSOCK if it is something else.
struct platform_socket_kind {
    int is_unix;
    int is_stream;
    int is_datagram;
    int is_sequenced;  // SOCK_SEQPACKET
    int is_listening;
    int is_connected;
};
int platform_socket_kind(int fd, struct platform_socket_kind *kind);
/// The path that a unix socket is bound to, up to `capacity` bytes. Returns its length, 0 for none.
int platform_unix_bound_path(int fd, uint8_t *path, size_t capacity);
/// The sockets that launchd has created under `name` (launch_activate_socket(3), once for each name). Returns how many,
/// up to `capacity`; 0 if there are none, and on systems without launchd.
int platform_launchd_sockets(const char *name, int *descriptors, int capacity);
/// The pending error of a socket (SO_ERROR) as a positive errno, 0 if none.
int platform_socket_error(int fd);
/// Binds a socket of IPv4 or IPv6 to the network interface `name`: it receives only what arrives there (Linux), and
/// what it sends leaves there. -ENODEV or -ENXIO if there is none. Linux needs CAP_NET_RAW for a socket that is bound
/// to an interface already (-EPERM).
int platform_bind_to_interface(int fd, int ipv6, const char *name);

/// An internet address with its port, as bytes: 4 or 16, network order.
struct platform_inet_address {
    uint8_t family;  // 4 or 6
    uint8_t bytes[16];
    uint16_t port;   // host order
    uint32_t scope;  // interface index of a link-local IPv6 address
};
/// Makes binding a TCP socket to an address without a port leave the port to connect(2), so that connections to
/// different hosts share ports (Linux; elsewhere connections are bounded by the ports that there are).
void platform_inet_choose_port_late(int fd);
/// Binds; `reuse` sets SO_REUSEADDR.
int platform_inet_bind(int fd, const struct platform_inet_address *address, int reuse);
/// Connects; -EINPROGRESS while a stream's connection is being established.
int platform_inet_connect(int fd, const struct platform_inet_address *address);
ssize_t platform_inet_send(int fd, const void *bytes, size_t length, const struct platform_inet_address *to);
ssize_t platform_inet_receive(int fd, void *bytes, size_t length, struct platform_inet_address *from);
/// The address of the peer of a connected socket.
int platform_inet_peer(int fd, struct platform_inet_address *peer);
/// Parses a numeric address, an IPv6 one with scope included.
int platform_inet_parse(const char *text, struct platform_inet_address *address);
/// The same for a name, by the system's resolver, which may take its time.
int platform_inet_resolve(const char *text, struct platform_inet_address *address);
/// The IPv6 addresses of a name, up to `capacity` of 16 bytes, by the system's resolver, which may take its time.
/// Returns their number, 0 if the name has none, and -EAGAIN without an answer.
int platform_inet_resolve6(const char *text, uint8_t *addresses, int capacity);

// ---- Batches of datagrams (linux/batch.c, darwin/batch.c)
// ------------------------------------------------------------------------------------------

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
/// Gives a message buffers for its sender's name and for control data, of the two sizes above. The control buffer has
/// no room for more than credentials, so that the kernel discards descriptors that a client sends.
static inline void platform_message_set_name(struct platform_message *message, void *name, void *control) {
    message->header.msg_name = name;
    message->header.msg_control = control;
}
/// The path that the sender has bound, without terminator; an abstract name begins with 0. `*length` is 0 for a sender
/// without a name.
const uint8_t *platform_message_name(const struct platform_message *message, size_t *length);
/// The sender's user, if platform_report_senders was called for the socket; otherwise -ENOTSUP.
int platform_message_user(const struct platform_message *message, uint32_t *user);
/// Makes a datagram socket report its senders' users. Returns whether the system can. Datagrams sent before carry no
/// user.
int platform_report_senders(int fd);
/// As platform_receive_batch, for messages that have room for names.
int platform_receive_batch_named(int fd, struct platform_message *messages, unsigned count);
/// As platform_send_batch, to the address of `length` bytes.
int platform_send_batch_to(int fd, struct platform_message *messages, unsigned count, void *address, size_t length);
/// Writes the address of a unix path into `address` of PLATFORM_NAME_SIZE bytes. Returns its length.
int platform_unix_address(const uint8_t *path, size_t length, void *address);
/// Sends a datagram to such an address without blocking.
ssize_t platform_unix_send(int fd, const void *bytes, size_t count, const void *address, size_t length);
/// Opens a handle of the unix socket at `path`, which must belong to `owner` (0: to any user). /proc/self/fd/N then
/// names this socket even if the path changes. Returns the descriptor; -ENOTSOCK, -EPERM as
/// platform_unix_connect_owned, -ENOTSUP on macOS.
int platform_unix_pin(const uint8_t *path, size_t length, uint32_t owner);

// ---- Poller (linux/poller.c, darwin/poller.c)
// -------------------------------------------------------------------------------------------------------

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
/// Polls in a loop, without sleeping, for up to `limit` nanoseconds. Returns the number of events, 0 if there were
/// none.
int platform_poller_spin(int poller, struct platform_event *events, int capacity, int64_t limit);
/// Whether the system reports that a full datagram socket has room again. macOS always reports it writable.
int platform_poller_reports_writability(void);
/// Waits for one descriptor. Returns the PLATFORM_* bits that hold, 0 on time-out.
int platform_poll_one(int fd, uint32_t interest, int64_t timeout);

/// A pair of descriptors with which one thread wakes another: [0] to poll and drain, [1] to signal; both may be the
/// same descriptor.
int platform_wakeup_create(int descriptors[2]);
void platform_wakeup_signal(int fd);
void platform_wakeup_drain(int fd);

// ---- Processes, threads, signals (posix/process.c)
// ---------------------------------------------------------------------------------

/// Starts a program with default signal handling; the three descriptors become its standard ones (-1: /dev/null). Looks
/// `path` up in PATH if it has no slash. With `new_group` the child leads its own process group. Returns 0 and the
/// pid.
int platform_spawn(const char *path, char *const arguments[], char *const environment[], int input, int output,
    int error, int new_group, int32_t *pid);
/// Starts a program in this process's group, with its standard streams, and with `fd` as descriptor 3. If `user` is not
/// this process's user, the program runs as that user, with `group` and `groups`. Default signal handling. Returns 0
/// and the pid.
int platform_spawn_guest(const char *path, char *const arguments[], char *const environment[], int fd, uint32_t user,
    uint32_t group, const uint32_t *groups, int group_count, int32_t *pid);
/// Replaces this process by the program, with `fd` as descriptor 3. Returns only on failure.
int platform_become(const char *path, char *const arguments[], int fd);
/// The groups of the user called `name`, `group` among them, as getgrouplist(3) returns them. Returns how many, at most
/// `capacity`.
int platform_groups(const char *name, uint32_t group, uint32_t *groups, int capacity);
/// Starts a detached thread with all signals blocked but SIGBUS.
int platform_thread_start(const char *name, void (*body)(void *), void *context);
/// Lets another thread run that waits for this processor.
void platform_thread_yield(void);
/// The number of processors that this process may use, at least 1.
int platform_processors(void);
/// Initializes a mutex whose waiters spin briefly before they sleep, if the system supports that.
int platform_mutex_init(pthread_mutex_t *mutex);
/// Initializes a read-write lock in which a waiting writer has priority over later readers.
int platform_rwlock_init(pthread_rwlock_t *lock);
/// Routes `signal` to the descriptor `fd` as one byte holding its number.
int platform_signal_route(int signal, int fd);
void platform_signal_ignore(int signal);
void platform_signal_default(int signal);
/// A monotonic clock that also runs while the system sleeps (CLOCK_BOOTTIME), in nanoseconds.
uint64_t platform_clock_boot(void);
/// Nanoseconds since 1970, UTC.
uint64_t platform_clock_wall(void);
/// How long the system has slept, in nanoseconds; only differences are meaningful.
uint64_t platform_clock_asleep(void);
/// Fills `bytes` with random bytes from the kernel.
void platform_random(void *bytes, size_t length);
/// Raises the limit of open descriptors to the hard limit. Returns the new limit.
int platform_raise_descriptor_limit(void);
/// Forks. The parent waits until the child writes its exit status, one byte, to the returned descriptor, and exits with
/// it. Returns in the child, which leads a new session. Must be called before any thread is started.
int platform_daemonize(void);
/// Writes a line to the system log (syslog(3), facility daemon) with a priority of 0 (emergency) to 7 (debug).
void platform_syslog(int priority, const char *text);
/// The process's environment.
char **platform_environment(void);

// ---- Directories by descriptor (posix/directory.c)
// --------------------------------------------------------------------------------------

/// A handle of the root directory, which can only name entries and needs no right to read it.
int platform_directory_root(void);
/// Opens a handle of an entry; a link is not followed. May fail on macOS for other kinds than directories and links.
int platform_directory_enter(int directory, const char *name);
/// The target of the link opened by platform_directory_enter, without terminator. Returns its length.
int platform_link_text(int link, char *text, size_t capacity);
static inline int platform_directory_open(int directory, const char *name, int flags, unsigned mode) {
    int file = openat(directory, name, flags | O_NOFOLLOW | O_CLOEXEC, mode);
    return file < 0 ? -errno : file;
}
/// Binds a unix socket at a name in a directory, even if the directory's path changes. -ENOSYS on a Linux without
/// /proc.
int platform_directory_bind(int directory, const char *name, int socket);
/// Sets the mode and then the owner (-1: leave alone) of the socket that this process has bound at `name`. -EPERM
/// unless it is a socket of this process's user with one link.
int platform_directory_give_socket(int directory, const char *name, uint32_t mode, uint32_t user, uint32_t group);
/// Moves an entry to a name that must not exist yet: -EEXIST.
int platform_directory_rename_new(int from, const char *name, int to, const char *new_name);
/// Removes the access control list that a new directory has inherited.
int platform_directory_clear_inherited(int directory);
/// Whether access control lists may grant rights that the mode does not show (macOS).
int platform_directory_can_be_shared_unseen(void);
/// Opens a file as another user, with the rights of that user alone; `flags` and `mode` are those of open(2). Needs the
/// right to become that user (-EPERM).
int platform_open_as(
    const char *path, int flags, uint32_t mode, uint32_t user, uint32_t group, const uint32_t *groups, int group_count);

// ---- Privileges (linux/privileges.c, darwin/privileges.c: nothing)
// -----------------------------------------------------------------------

/// Selects the capabilities (bit mask by number) that threads started from now on keep.
void platform_privileges_keep(uint64_t capabilities);
/// Drops all other capabilities of the calling thread from all sets, and sets no_new_privs. Does nothing before
/// platform_privileges_keep. For users other than root, kept capabilities stay inheritable, so that started programs
/// get them.
int platform_privileges_drop(void);

// ---- Network interfaces (linux/netlink.c, linux/tap.c, linux/packet.c; darwin/network.c: -ENOTSUP)

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
struct platform_route6 {
    uint8_t destination[16];
    uint32_t interface;
    uint32_t metric;
    uint32_t table;
    uint8_t prefix_length;
};
/// The unicast IPv6 routes of all tables. Returns how many there are, which may exceed `capacity`.
int platform_routes6(struct platform_route6 *routes, int capacity);

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
/// Adds an IPv6 address of 16 bytes that is usable at once, without a search for duplicates.
int platform_address6_add(uint32_t index, const uint8_t *address, uint8_t prefix_length);
/// How a link is set up now.
struct platform_link {
    uint32_t mtu, group;
    uint32_t master;  // index of the bridge it is a port of, 0 if none
    uint8_t is_up, is_running;
};
int platform_link_get(uint32_t index, struct platform_link *link);
/// Adds the route to a connected network to the main table, as the kernel does with an address; in host order.
int platform_route_add(uint32_t index, uint32_t network, uint8_t prefix_length, uint32_t source);
/// Looks up the route of a packet that arrived through `input` (with routing rules); 0 for one that the host itself
/// sends, and a source of 0 for any. Sets the interface and the MTU of the path (0 if no route has one). -ENETUNREACH
/// and others if the packet would not be forwarded.
int platform_route_lookup(uint32_t destination, uint32_t source, uint32_t input, uint32_t *output, uint32_t *mtu);

/// An IPv4 routing rule (ip-rule(8)).
struct platform_rule {
    uint32_t priority;
    uint32_t table;     // 0 if it has none
    uint8_t action;     // FR_ACT_*: 1 looks `table` up
    uint8_t is_l3mdev;  // looks up the table of a VRF
    uint8_t destination_length;
    uint32_t destination;  // host order
};
/// The routing rules, those of IPv6 without destinations. Returns how many there are, which may exceed `capacity`.
int platform_rules(int is_ipv6, struct platform_rule *rules, int capacity);
/// Adds or removes the rule `to NETWORK lookup main suppress_prefixlength 0`; 4 or 16 bytes in network order.
int platform_rule_change(int add, const uint8_t *network, int is_ipv6, uint8_t prefix_length, uint32_t priority);
/// The cookie of the process's network namespace, unique since the system started (SO_NETNS_COOKIE); 0 on kernels
/// before 5.14.
uint64_t platform_network_namespace(void);
/// Readable whenever a link, an address, a route, a routing rule or a forwarding setting has changed; drain it with
/// platform_receive. Closed by the caller.
int platform_network_monitor(void);
/// The same for the rules of nftables.
int platform_firewall_monitor(void);
/// The tables of a message of `platform_firewall_monitor`, each ending with 0. Returns the bytes of `names` in use.
size_t platform_firewall_tables(const uint8_t *notice, size_t length, char *names, size_t capacity);

enum {
    PLATFORM_OFFLOAD_CHECKSUM = 1,
    PLATFORM_OFFLOAD_TSO4 = 2,
    PLATFORM_OFFLOAD_TSO6 = 4,
    PLATFORM_OFFLOAD_USO = 0x60
};
/// Opens the TAP `name` with a 12-byte virtio header before each frame. With `create` it must not exist yet; otherwise
/// it is made only if there is none. `offloads` is set to the offloads that the kernel uses on frames to us. Returns
/// the descriptor; the kernel removes a TAP that was created here when the descriptor is closed.
int platform_tap_open(const char *name, int create, uint32_t *offloads);
/// Configures a TAP that another program has opened with virtio headers in the same way, and returns its name.
/// -EPROTOTYPE for other descriptors.
int platform_tap_adopt(int fd, char name[16], uint32_t *offloads);

#include "CPlatformDatagrams.h"
#include "CPlatformLibraries.h"
#include "CPlatformNamespace.h"
#include "CPlatformOpener.h"
#include "CPlatformPacket.h"
#include "CPlatformRelay.h"
#include "CPlatformStreams.h"
#include "CPlatformVhost.h"

#endif
