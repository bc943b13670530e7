// SPDX-License-Identifier: Apache-2.0
// As much of XPC's objects as the vmnet API needs: dictionaries, and arrays of strings.
#include <stdlib.h>
#include <string.h>
#include <xpc/xpc.h>

enum kind { UINT64, BOOL, STRING, UUID };

struct entry {
    char *key;
    enum kind kind;
    uint64_t number;
    char *string;
    unsigned char uuid[16];
    struct entry *next;
};

struct xpc_object {
    struct entry *first;
    size_t count;
};

xpc_object_t xpc_dictionary_create(const char *const *keys, const xpc_object_t *values, size_t count) {
    (void)keys, (void)values, (void)count;
    return calloc(1, sizeof(struct xpc_object));
}

static struct entry *find(xpc_object_t dictionary, const char *key) {
    for (struct entry *entry = dictionary->first; entry; entry = entry->next) {
        if (strcmp(entry->key, key) == 0) return entry;
    }
    return NULL;
}

static struct entry *set(xpc_object_t dictionary, const char *key, enum kind kind) {
    struct entry *entry = find(dictionary, key);
    if (!entry) {
        entry = calloc(1, sizeof *entry);
        entry->key = strdup(key);
        entry->next = dictionary->first;
        dictionary->first = entry;
        dictionary->count++;
    }
    entry->kind = kind;
    free(entry->string);
    entry->string = NULL;
    return entry;
}

void xpc_dictionary_set_uint64(xpc_object_t dictionary, const char *key, uint64_t value) {
    set(dictionary, key, UINT64)->number = value;
}
void xpc_dictionary_set_bool(xpc_object_t dictionary, const char *key, bool value) {
    set(dictionary, key, BOOL)->number = value;
}
void xpc_dictionary_set_string(xpc_object_t dictionary, const char *key, const char *value) {
    set(dictionary, key, STRING)->string = strdup(value);
}
void xpc_dictionary_set_uuid(xpc_object_t dictionary, const char *key, const unsigned char value[16]) {
    memcpy(set(dictionary, key, UUID)->uuid, value, 16);
}

static struct entry *get(xpc_object_t dictionary, const char *key, enum kind kind) {
    struct entry *entry = find(dictionary, key);
    return entry && entry->kind == kind ? entry : NULL;
}

uint64_t xpc_dictionary_get_uint64(xpc_object_t dictionary, const char *key) {
    struct entry *entry = get(dictionary, key, UINT64);
    return entry ? entry->number : 0;
}

bool xpc_dictionary_get_bool(xpc_object_t dictionary, const char *key) {
    struct entry *entry = get(dictionary, key, BOOL);
    return entry && entry->number;
}

const char *xpc_dictionary_get_string(xpc_object_t dictionary, const char *key) {
    struct entry *entry = get(dictionary, key, STRING);
    return entry ? entry->string : NULL;
}

const uint8_t *xpc_dictionary_get_uuid(xpc_object_t dictionary, const char *key) {
    struct entry *entry = get(dictionary, key, UUID);
    return entry ? entry->uuid : NULL;
}

xpc_object_t xpc_dictionary_get_value(xpc_object_t dictionary, const char *key) {
    return (xpc_object_t)(void *)find(dictionary, key);
}

// An array is a dictionary whose keys do not matter; the one that was set last comes first.
size_t xpc_array_get_count(xpc_object_t array) { return array->count; }

const char *xpc_array_get_string(xpc_object_t array, size_t index) {
    struct entry *entry = array->first;
    while (entry && index-- > 0) entry = entry->next;
    return entry && entry->kind == STRING ? entry->string : NULL;
}

void xpc_release(xpc_object_t object) {
    for (struct entry *entry = object->first; entry;) {
        struct entry *next = entry->next;
        free(entry->key);
        free(entry->string);
        free(entry);
        entry = next;
    }
    free(object);
}
