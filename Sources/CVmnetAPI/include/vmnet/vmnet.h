// SPDX-License-Identifier: Apache-2.0
// The part of Apple's vmnet API that this program uses, declared from its documentation: for Linux, where
// VmnetSimulator defines it, and for compilers without Apple's SDK. With the SDK, its own header is used.
#ifndef CVMNETAPI_VMNET_H
#define CVMNETAPI_VMNET_H

#if defined(__APPLE__) && __has_include_next(<vmnet/vmnet.h>)
#include_next <vmnet/vmnet.h>
#else

#include <dispatch/dispatch.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
#include <xpc/xpc.h>

#if defined(__APPLE__)
#include <os/availability.h>
#define VMNET_SINCE(version) API_AVAILABLE(macos(version))
#else
#define VMNET_SINCE(version)
#endif

typedef enum : uint32_t {
    VMNET_HOST_MODE = 1000,
    VMNET_SHARED_MODE = 1001,
    VMNET_BRIDGED_MODE = 1002
} operating_modes_t;

typedef enum : uint32_t { VMNET_INTERFACE_PACKETS_AVAILABLE = 1 << 0 } interface_event_t;

typedef enum : uint32_t {
    VMNET_SUCCESS = 1000,
    VMNET_FAILURE = 1001,
    VMNET_MEM_FAILURE = 1002,
    VMNET_INVALID_ARGUMENT = 1003,
    VMNET_SETUP_INCOMPLETE = 1004,
    VMNET_INVALID_ACCESS = 1005,
    VMNET_PACKET_TOO_BIG = 1006,
    VMNET_BUFFER_EXHAUSTED = 1007,
    VMNET_TOO_MANY_PACKETS = 1008,
    VMNET_SHARING_SERVICE_BUSY = 1009,
    VMNET_NOT_AUTHORIZED = 1010,
} vmnet_return_t;

typedef struct vmnet_interface *interface_ref;

struct vmpktdesc {
    size_t vm_pkt_size;
    struct iovec *vm_pkt_iov;
    uint32_t vm_pkt_iovcnt;
    uint32_t vm_flags;
};

typedef void (^vmnet_start_interface_completion_handler_t)(vmnet_return_t status, xpc_object_t interface_param);
typedef void (^vmnet_interface_event_callback_t)(interface_event_t event_mask, xpc_object_t event);
typedef void (^vmnet_interface_completion_handler_t)(vmnet_return_t status);

extern const char *vmnet_operation_mode_key VMNET_SINCE(10.10);
extern const char *vmnet_shared_interface_name_key VMNET_SINCE(10.15);
extern const char *vmnet_mac_address_key VMNET_SINCE(10.10);
extern const char *vmnet_allocate_mac_address_key VMNET_SINCE(10.15);
extern const char *vmnet_mtu_key VMNET_SINCE(10.10);
extern const char *vmnet_max_packet_size_key VMNET_SINCE(10.10);
extern const char *vmnet_interface_id_key VMNET_SINCE(10.10);
extern const char *vmnet_start_address_key VMNET_SINCE(10.15);
extern const char *vmnet_end_address_key VMNET_SINCE(10.15);
extern const char *vmnet_subnet_mask_key VMNET_SINCE(10.15);
extern const char *vmnet_nat66_prefix_key VMNET_SINCE(10.15);
extern const char *vmnet_estimated_packets_available_key VMNET_SINCE(10.10);
extern const char *vmnet_network_identifier_key VMNET_SINCE(11.0);
extern const char *vmnet_host_ip_address_key VMNET_SINCE(11.0);
extern const char *vmnet_host_subnet_mask_key VMNET_SINCE(11.0);
extern const char *vmnet_enable_isolation_key VMNET_SINCE(11.0);
extern const char *vmnet_enable_tso_key VMNET_SINCE(11.0);

interface_ref vmnet_start_interface(xpc_object_t interface_desc, dispatch_queue_t queue,
    vmnet_start_interface_completion_handler_t handler) VMNET_SINCE(10.10);
vmnet_return_t vmnet_interface_set_event_callback(interface_ref interface, interface_event_t event_mask,
    dispatch_queue_t queue, vmnet_interface_event_callback_t callback) VMNET_SINCE(10.10);
vmnet_return_t vmnet_read(interface_ref interface, struct vmpktdesc *packets, int *pktcnt) VMNET_SINCE(10.10);
vmnet_return_t vmnet_write(interface_ref interface, struct vmpktdesc *packets, int *pktcnt) VMNET_SINCE(10.10);
vmnet_return_t vmnet_stop_interface(
    interface_ref interface, dispatch_queue_t queue, vmnet_interface_completion_handler_t handler) VMNET_SINCE(10.10);
xpc_object_t vmnet_copy_shared_interface_list(void) VMNET_SINCE(10.15);

#endif
#endif
