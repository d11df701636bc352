// quota: how many leases somebody may hold at a time, and how many they may ask for in a window.
//
// What is held now comes with the request (`load`), what was asked before in the counters that this policy wants:
// it remembers nothing itself.
#include "guest.h"

// Leases and requests.
#define UNLIMITED UINT64_MAX
static uint64_t held_per_session = UNLIMITED, held_per_uid = UNLIMITED;
static uint64_t requests_per_uid = UNLIMITED, requests_per_app = UNLIMITED;
static uint64_t window_ms = 60000;

static const setting_t settings[] = {
    {"held_per_session", SETTING_NUMBER, &held_per_session},
    {"held_per_uid", SETTING_NUMBER, &held_per_uid},
    {"requests_per_uid", SETTING_NUMBER, &requests_per_uid},
    {"requests_per_app", SETTING_NUMBER, &requests_per_app},
    {"window", SETTING_DURATION, &window_ms},
    {0},
};

bool exports_settings_validate(policy_string_t *json, policy_string_t *error) {
    if (!settings_read(json, settings, error)) return false;
    bool none = held_per_session == UNLIMITED && held_per_uid == UNLIMITED && requests_per_uid == UNLIMITED && requests_per_app == UNLIMITED;
    const char *wrong = none ? "no quota: set held_per_session, held_per_uid, requests_per_uid or requests_per_app"
                        : !held_per_session || !held_per_uid || !requests_per_uid || !requests_per_app
                            ? "a quota of 0 would let nobody in; leave it out for none"
                        : !window_ms ? "window: is 0, in which nothing can be counted"
                                     : NULL;
    if (wrong) policy_string_dup(error, wrong);
    return !wrong;
}

// In the names of counters the sidecar puts the asking user and app, so each is counted by themselves.
#define PER_UID "requests:{uid}"
#define PER_APP "requests:{app}"

// `requests:{uid}/60000ms`: a counter that begins anew every minute.
static policy_string_t counter(const char *name) {
    text_t text = {0};
    text_add(&text, name);
    text_add(&text, "/");
    text_number(&text, window_ms);
    text_add(&text, "ms");
    return text_done(&text);
}

bool exports_settings_configure(policy_string_t *json, policy_list_string_t *counters, policy_string_t *error) {
    if (!settings_read(json, settings, error)) return false;
    *counters = (policy_list_string_t){malloc(2 * sizeof(policy_string_t)), 0};
    if (requests_per_uid < UNLIMITED) counters->ptr[counters->len++] = counter(PER_UID);
    if (requests_per_app < UNLIMITED) counters->ptr[counters->len++] = counter(PER_APP);
    return true;
}

// "this user holds 100 leases, and may hold 100".
static policy_string_t sentence(const char *who, const char *does, uint64_t number, const char *may, uint64_t max) {
    text_t text = {0};
    text_add(&text, who);
    text_add(&text, does);
    text_number(&text, number);
    text_add(&text, may);
    text_number(&text, max);
    return text_done(&text);
}

static bool holds_too_much(policy_denial_t *denial, const char *who, uint64_t held, uint64_t more, uint64_t max) {
    if (!more || held + more <= max) return false;
    policy_string_dup(&denial->reason_code, "held");
    denial->message = sentence(who, " holds ", held, " leases, and may hold ", max);
    return true;
}

static bool asked_too_much(policy_denial_t *denial, const char *who, policy_list_counter_t counters, const char *name, uint64_t max) {
    for (size_t i = 0; i < counters.len; i++) {
        policy_counter_t counter = counters.ptr[i];
        if (!string_is(counter.name, name) || counter.value < max) continue;
        policy_string_dup(&denial->reason_code, "window");
        denial->message = sentence(who, " made ", counter.value, " requests in this window, and may make ", max);
        denial->retry_after_ms = (policy_option_u64_t){true, counter.resets_in_ms};
        return true;
    }
    return false;
}

static bool is_held(policy_request_t *r, policy_string_t key) {
    for (size_t i = 0; i < r->held.len; i++) {
        policy_string_t held = r->held.ptr[i];
        if (held.len == key.len && memcmp(held.ptr, key.ptr, key.len) == 0) return true;
    }
    return false;
}

// Leases that it would hold beside those that it has. Who wants all of what it has a lease of enters it again, or has it made
// exclusive, or waits until it is given back: none more. Shares and permits stand beside each other.
static uint64_t leases_more(policy_request_t *r) {
    if (r->mode != POLICY_MODE_EXCLUSIVE) return r->keys.len;
    uint64_t more = 0;
    for (size_t i = 0; i < r->keys.len; i++) more += !is_held(r, r->keys.ptr[i]);
    return more;
}

static void count(policy_list_string_t *names, const char *name) { policy_string_dup(&names->ptr[names->len++], name); }

void exports_admission_admit(policy_request_t *r, policy_decision_t *answer) {
    *answer = (policy_decision_t){.verdict.tag = POLICY_VERDICT_ABSTAIN};
    if (r->operation != POLICY_OPERATION_ACQUIRE && r->operation != POLICY_OPERATION_ONCE) return;

    policy_denial_t *denial = &answer->verdict.val.deny;
    uint64_t more = leases_more(r);
    if (holds_too_much(denial, "this session", r->load.held_by_session, more, held_per_session) ||
        holds_too_much(denial, "this user", r->load.held_by_uid, more, held_per_uid) ||
        asked_too_much(denial, "this user", r->counters, PER_UID, requests_per_uid) ||
        asked_too_much(denial, "this app", r->counters, PER_APP, requests_per_app)) {
        answer->verdict.tag = POLICY_VERDICT_DENY;
        return;
    }
    answer->verdict.tag = POLICY_VERDICT_ALLOW;
    answer->count.ptr = malloc(2 * sizeof(policy_string_t));
    if (requests_per_uid < UNLIMITED) count(&answer->count, PER_UID);
    if (requests_per_app < UNLIMITED) count(&answer->count, PER_APP);
}
