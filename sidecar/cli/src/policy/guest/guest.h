// What a policy in C needs besides its bindings: settings, and texts. `sidelock policy build` puts this file beside
// `policy.h`, which it makes from the WIT.
//
// Everything is `static`: what a policy does not use is not in it. Nothing here frees. A policy is instantiated
// for one call, and its memory goes with the instance; what is returned to the host is freed by the bindings.
#ifndef SIDELOCK_GUEST_H
#define SIDELOCK_GUEST_H

#include "policy.h"
#include <stdlib.h>
#include <string.h>

// --- Texts ---

// A text that grows: `text_t t = {0}; text_add(&t, "at most "); text_number(&t, 7); answer->message = text_done(&t);`
typedef struct {
    uint8_t *at;
    size_t len, room;
} text_t;

static inline void text_bytes(text_t *text, const void *bytes, size_t len) {
    if (text->len + len > text->room) {
        text->room = (text->len + len) * 2;
        text->at = realloc(text->at, text->room);
        if (!text->at) abort();
    }
    memcpy(text->at + text->len, bytes, len);
    text->len += len;
}

static inline void text_add(text_t *text, const char *words) { text_bytes(text, words, strlen(words)); }

static inline void text_string(text_t *text, policy_string_t string) { text_bytes(text, string.ptr, string.len); }

static inline void text_number(text_t *text, uint64_t number) {
    char digits[20];
    size_t first = sizeof digits;
    do digits[--first] = (char)('0' + number % 10);
    while (number /= 10);
    text_bytes(text, digits + first, sizeof digits - first);
}

static inline policy_string_t text_done(text_t *text) { return (policy_string_t){text->at, text->len}; }

static inline bool string_is(policy_string_t string, const char *words) {
    return string.len == strlen(words) && memcmp(string.ptr, words, string.len) == 0;
}

static inline bool string_begins(policy_string_t string, const char *words) {
    return string.len >= strlen(words) && memcmp(string.ptr, words, strlen(words)) == 0;
}

// --- Settings: a flat JSON object of whole numbers, durations, truths and texts ---

typedef enum {
    SETTING_NUMBER,   // 0, 17                        -> uint64_t
    SETTING_DURATION, // "500ms" "30s" "5m" "24h"     -> uint64_t, in milliseconds
    SETTING_TRUTH,    // true, false                  -> bool
    SETTING_TEXT,     // "anything without escapes"   -> policy_string_t
} setting_kind_t;

// One setting: its name, what it has to be, and where its value goes (left alone if the setting is not there).
typedef struct {
    const char *name;
    setting_kind_t kind;
    void *value;
} setting_t;

typedef struct {
    const uint8_t *at, *end;
} reader_t;

static inline void reader_blanks(reader_t *r) {
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\n' || *r->at == '\r' || *r->at == '\t')) r->at++;
}

// Skips blanks and then `words`, if they are there.
static inline bool reader_takes(reader_t *r, const char *words) {
    reader_blanks(r);
    policy_string_t rest = {(uint8_t *)r->at, (size_t)(r->end - r->at)};
    if (!string_begins(rest, words)) return false;
    r->at += strlen(words);
    return true;
}

static inline bool reader_text(reader_t *r, policy_string_t *text) {
    if (!reader_takes(r, "\"")) return false;
    const uint8_t *start = r->at;
    while (r->at < r->end && *r->at != '"' && *r->at != '\\') r->at++;
    *text = (policy_string_t){(uint8_t *)start, (size_t)(r->at - start)};
    return reader_takes(r, "\"");
}

static inline bool reader_number(reader_t *r, uint64_t *number) {
    reader_blanks(r);
    const uint8_t *start = r->at;
    *number = 0;
    for (; r->at < r->end && *r->at >= '0' && *r->at <= '9'; r->at++) {
        uint64_t digit = (uint64_t)(*r->at - '0');
        if (*number > (UINT64_MAX - digit) / 10) return false;
        *number = *number * 10 + digit;
    }
    return r->at > start;
}

static inline bool reader_duration(reader_t *r, uint64_t *ms) {
    static const struct {
        const char *name;
        uint64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    policy_string_t text;
    if (!reader_text(r, &text)) return false;
    reader_t inside = {text.ptr, text.ptr + text.len};
    if (!reader_number(&inside, ms)) return false;
    policy_string_t unit = {(uint8_t *)inside.at, (size_t)(inside.end - inside.at)};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (string_is(unit, units[i].name)) {
            bool fits = *ms <= UINT64_MAX / units[i].ms;
            *ms *= units[i].ms;
            return fits;
        }
    return false;
}

static inline bool reader_value(reader_t *r, const setting_t *setting) {
    switch (setting->kind) {
    case SETTING_NUMBER: return reader_number(r, setting->value);
    case SETTING_DURATION: return reader_duration(r, setting->value);
    case SETTING_TEXT: return reader_text(r, setting->value);
    case SETTING_TRUTH:
        *(bool *)setting->value = reader_takes(r, "true");
        return *(bool *)setting->value || reader_takes(r, "false");
    }
    return false;
}

static inline bool settings_wrong(policy_string_t *error, policy_string_t name, const char *words) {
    text_t text = {0};
    if (name.len) {
        text_string(&text, name);
        text_add(&text, ": ");
    }
    text_add(&text, words);
    *error = text_done(&text);
    return false;
}

static inline bool settings_unknown(policy_string_t *error, policy_string_t name, const setting_t *settings) {
    text_t text = {0};
    text_add(&text, "there is no such setting; there are");
    for (const setting_t *s = settings; s->name; s++) {
        text_add(&text, s == settings ? " " : ", ");
        text_add(&text, s->name);
    }
    text_bytes(&text, "", 1);
    return settings_wrong(error, name, (const char *)text.at);
}

// Reads `json` into `settings`, a table that ends with `{0}`. If it returns false, `error` says why, for people.
static inline bool settings_read(policy_string_t *json, const setting_t *settings, policy_string_t *error) {
    static const char *const wanted[] = {
        "wants a whole number, such as 100",
        "wants a duration, such as \"500ms\", \"30s\", \"5m\" or \"24h\"",
        "wants true or false",
        "wants a text without escapes",
    };
    const policy_string_t nameless = {0};
    reader_t r = {json->ptr, json->ptr + json->len};
    if (!reader_takes(&r, "{")) return settings_wrong(error, nameless, "the settings are no JSON object");
    if (reader_takes(&r, "}")) return true;
    do {
        policy_string_t name;
        if (!reader_text(&r, &name) || !reader_takes(&r, ":"))
            return settings_wrong(error, nameless, "the settings are no JSON object");
        const setting_t *setting = settings;
        while (setting->name && !string_is(name, setting->name)) setting++;
        if (!setting->name) return settings_unknown(error, name, settings);
        if (!reader_value(&r, setting)) return settings_wrong(error, name, wanted[setting->kind]);
    } while (reader_takes(&r, ","));
    return reader_takes(&r, "}") || settings_wrong(error, nameless, "the settings are no JSON object");
}

#endif
