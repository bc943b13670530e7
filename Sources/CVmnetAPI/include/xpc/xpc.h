// SPDX-License-Identifier: Apache-2.0
// The part of XPC that the vmnet API needs, for Linux; on a Mac this is Apple's header.
#ifndef CVMNETAPI_XPC_H
#define CVMNETAPI_XPC_H

#if defined(__APPLE__)
#include_next <xpc/xpc.h>
#else

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct xpc_object *xpc_object_t;

xpc_object_t xpc_dictionary_create(const char *const *keys, const xpc_object_t *values, size_t count);
void xpc_dictionary_set_uint64(xpc_object_t dictionary, const char *key, uint64_t value);
void xpc_dictionary_set_bool(xpc_object_t dictionary, const char *key, bool value);
void xpc_dictionary_set_string(xpc_object_t dictionary, const char *key, const char *value);
void xpc_dictionary_set_uuid(xpc_object_t dictionary, const char *key, const unsigned char value[16]);
uint64_t xpc_dictionary_get_uint64(xpc_object_t dictionary, const char *key);
bool xpc_dictionary_get_bool(xpc_object_t dictionary, const char *key);
const char *xpc_dictionary_get_string(xpc_object_t dictionary, const char *key);
const uint8_t *xpc_dictionary_get_uuid(xpc_object_t dictionary, const char *key);
xpc_object_t xpc_dictionary_get_value(xpc_object_t dictionary, const char *key);
size_t xpc_array_get_count(xpc_object_t array);
const char *xpc_array_get_string(xpc_object_t array, size_t index);
void xpc_release(xpc_object_t object);

#endif
#endif
