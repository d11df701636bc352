// Keys that begin with `prefix` are for one app alone.
//
// `policy.h` is made from the WIT, `guest.h` has settings and texts; `sidelock policy build` puts both into `build`.
#include "guest.h"

static policy_string_t prefix = {(uint8_t *)"private/", 8};
static policy_string_t app = {(uint8_t *)"owner", 5};

static const setting_t settings[] = {
    {"prefix", SETTING_TEXT, &prefix},
    {"app", SETTING_TEXT, &app},
    {0},
};

bool exports_settings_validate(policy_string_t *json, policy_string_t *error) {
    return settings_read(json, settings, error);
}

bool exports_settings_configure(policy_string_t *json, policy_list_string_t *counters, policy_string_t *error) {
    *counters = (policy_list_string_t){0}; // The counters that we want: none.
    return settings_read(json, settings, error);
}

static bool is_private(policy_string_t key) {
    return key.len >= prefix.len && memcmp(key.ptr, prefix.ptr, prefix.len) == 0;
}

static bool is_owner(policy_string_t who) { return who.len == app.len && memcmp(who.ptr, app.ptr, app.len) == 0; }

static void deny(policy_decision_t *answer, policy_string_t key) {
    text_t message = {0};
    text_add(&message, "\"");
    text_string(&message, key);
    text_add(&message, "\" is for the app \"");
    text_string(&message, app);
    text_add(&message, "\"");
    answer->verdict.tag = POLICY_VERDICT_DENY;
    answer->verdict.val.deny.message = text_done(&message);
    policy_string_dup(&answer->verdict.val.deny.reason_code, "private");
}

void exports_admission_admit(policy_request_t *r, policy_decision_t *answer) {
    // The answer depends on nothing that changes: the sidecar may give it again for a minute without asking.
    *answer = (policy_decision_t){.verdict.tag = POLICY_VERDICT_ABSTAIN, .cache_ms = 60000};
    for (size_t i = 0; i < r->keys.len; i++) {
        if (!is_private(r->keys.ptr[i])) continue;
        if (!is_owner(r->peer.app)) {
            deny(answer, r->keys.ptr[i]);
            return;
        }
        answer->verdict.tag = POLICY_VERDICT_ALLOW;
    }
}
