// SPDX-License-Identifier: Apache-2.0
// Port forwarding of an interface that was started in the classic way. The functions are looked up: the header dates
// them to macOS 11, which does not export them.
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "internal.h"

typedef vmnet_return_t (*add_rule)(interface_ref interface, uint8_t protocol, uint16_t external_port, uint8_t family,
    const void *address, uint16_t internal_port, vmnet_interface_completion_handler_t handler);

static int add(add_rule function, struct cvmnet *it, const struct cvmnet_rule *rule, uint64_t timeout) {
    struct answer *answer = answer_create();
    if (!answer) return -ENOMEM;
    struct in_addr address;
    memcpy(&address, rule->address, sizeof address);
    vmnet_return_t status = function(it->interface, rule->protocol, rule->external_port, AF_INET, &address,
        rule->internal_port, ^(vmnet_return_t outcome) { answer_give(answer, outcome); });
    // No handler comes where it was not even scheduled.
    if (status != VMNET_SUCCESS) answer_give(answer, status);
    int error = answer_wait(answer, timeout);
    if (error == 0 && answer->status != VMNET_SUCCESS) error = (int)answer->status;
    answer_release(answer);
    return error;
}

int rules_add(struct cvmnet *it, const struct cvmnet_options *options, uint64_t timeout, int *failed_rule) {
    if (options->rule_count == 0) return 0;
    add_rule function = (add_rule)vmnet_lookup("vmnet_interface_add_ip_port_forwarding_rule");
    int error = function ? 0 : -ENOTSUP;
    for (int i = 0; i < options->rule_count && error == 0; i++) {
        error = add(function, it, &options->rules[i], timeout);
        if (error) *failed_rule = i;
    }
    return error;
}
