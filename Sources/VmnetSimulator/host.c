// SPDX-License-Identifier: Apache-2.0
// The host in memory, on the other side of a shared or host network: ARP (RFC 826), echo (RFC 792), and DHCP as bootpd
// does it (RFC 2131), with leases of a day for hardware addresses in the order in which they come.
#include <arpa/inet.h>
#include <string.h>

#include "simulator.h"

static uint16_t get16(const uint8_t *bytes) { return (uint16_t)(bytes[0] << 8 | bytes[1]); }
static uint32_t get32(const uint8_t *bytes) { return (uint32_t)get16(bytes) << 16 | get16(bytes + 2); }

static void put16(uint8_t *bytes, uint16_t value) {
    bytes[0] = (uint8_t)(value >> 8);
    bytes[1] = (uint8_t)value;
}

static void put32(uint8_t *bytes, uint32_t value) {
    put16(bytes, (uint16_t)(value >> 16));
    put16(bytes + 2, (uint16_t)value);
}

static uint16_t checksum(const uint8_t *bytes, size_t length) {
    uint32_t sum = 0;
    for (size_t i = 0; i + 1 < length; i += 2) sum += get16(bytes + i);
    if (length % 2) sum += (uint32_t)bytes[length - 1] << 8;
    while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

static void answer_arp(
    struct memory_host *host, const uint8_t *frame, size_t length, host_output output, void *context) {
    if (length < 42 || get16(frame + 20) != 1 || get32(frame + 38) != host->address) return;
    uint8_t reply[42];
    memcpy(reply, frame + 6, 6);
    memcpy(reply + 6, host->mac, 6);
    memcpy(reply + 12, frame + 12, 10);
    put16(reply + 20, 2);
    memcpy(reply + 22, host->mac, 6);
    put32(reply + 28, host->address);
    memcpy(reply + 32, frame + 22, 10);
    output(context, reply, sizeof reply);
}

static void answer_echo(
    struct memory_host *host, const uint8_t *frame, size_t length, host_output output, void *context) {
    size_t header = (size_t)(frame[14] & 15) * 4, total = get16(frame + 16);
    if (header < 20 || total < header + 8 || length < 14 + total || total > 1500 || frame[14 + header] != 8) return;
    uint8_t reply[1514];
    memcpy(reply, frame, 14 + total);
    memcpy(reply, frame + 6, 6);
    memcpy(reply + 6, host->mac, 6);
    put32(reply + 26, host->address);
    memcpy(reply + 30, frame + 26, 4);
    uint8_t *icmp = reply + 14 + header;
    icmp[0] = 0;
    put16(icmp + 2, 0);
    put16(icmp + 2, checksum(icmp, total - header));
    output(context, reply, 14 + total);
}

static uint32_t lease(struct memory_host *host, const uint8_t *mac) {
    for (int i = 0; i < host->lease_count; i++) {
        if (memcmp(host->leases[i].mac, mac, 6) == 0) return host->leases[i].address;
    }
    uint32_t address = host->first;
    for (int i = 0; i < host->lease_count; i++) {
        if (host->leases[i].address != address) continue;
        // Taken: the next one, from the start of the list again.
        address++;
        i = -1;
    }
    if (address > host->last || host->lease_count == 256) return 0;
    memcpy(host->leases[host->lease_count].mac, mac, 6);
    host->leases[host->lease_count++].address = address;
    return address;
}

static void answer_dhcp(
    struct memory_host *host, const uint8_t *frame, size_t length, host_output output, void *context) {
    const uint8_t *message = frame + 42;
    if (host->without_dhcp || length < 42 + 244 || message[0] != 1 || get32(message + 236) != 0x63825363) return;
    uint8_t kind = 0;
    for (const uint8_t *option = message + 240; option + 2 < frame + length && *option != 255;
         option += *option ? 2 + option[1] : 1) {
        if (*option == 53) kind = option[2];
    }
    uint32_t address = kind == 1 || kind == 3 ? lease(host, message + 28) : 0;
    if (!address) return;
    uint8_t reply[342] = {0};
    memset(reply, 0xff, 6);
    memcpy(reply + 6, host->mac, 6);
    put16(reply + 12, 0x0800);
    uint8_t *ip = reply + 14, *udp = reply + 34, *bootp = reply + 42;
    bootp[0] = 2;
    memcpy(bootp + 1, message + 1, 2);
    memcpy(bootp + 4, message + 4, 4);
    memcpy(bootp + 10, message + 10, 2);
    put32(bootp + 16, address);
    put32(bootp + 20, host->address);
    memcpy(bootp + 28, message + 28, 16);
    put32(bootp + 236, 0x63825363);
    uint8_t *option = bootp + 240;
    *option++ = 53, *option++ = 1, *option++ = kind == 1 ? 2 : 5;
    struct {
        uint8_t code;
        uint32_t value;
    } values[] = {{54, host->address}, {51, 86400}, {1, host->mask}, {host->is_router ? 3 : 0, host->address},
        {host->is_router ? 6 : 0, host->address}};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        if (!values[i].code) continue;
        *option++ = values[i].code, *option++ = 4;
        put32(option, values[i].value);
        option += 4;
    }
    *option = 255;
    put16(udp, 67);
    put16(udp + 2, 68);
    put16(udp + 4, 8 + 300);
    ip[0] = 0x45;
    put16(ip + 2, 20 + 8 + 300);
    ip[8] = 64;
    ip[9] = 17;
    put32(ip + 12, host->address);
    put32(ip + 16, 0xffffffff);
    put16(ip + 10, checksum(ip, 20));
    output(context, reply, sizeof reply);
}

int memory_host_doubts(const struct memory_host *host, const uint8_t *frame, size_t length) {
    if (length < 34 || get16(frame + 12) != 0x0800 || get32(frame + 26) == 0) return 0;
    for (int i = 0; i < host->lease_count; i++) {
        if (host->leases[i].address == get32(frame + 26)) return 0;
    }
    return 1;
}

void memory_host_receive(
    struct memory_host *host, const uint8_t *frame, size_t length, host_output output, void *context) {
    if (length < 34) return;
    switch (get16(frame + 12)) {
    case 0x0806: answer_arp(host, frame, length, output, context); break;
    case 0x0800:
        if (frame[23] == 17 && (frame[14] & 15) == 5 && length >= 42 && get16(frame + 36) == 67)
            answer_dhcp(host, frame, length, output, context);
        if (frame[23] == 1 && get32(frame + 30) == host->address) answer_echo(host, frame, length, output, context);
        break;
    default: break;
    }
}
