// ttl-clamp: nobody holds or waits longer than the operator wants.
//
// Never refuses: a wish that is too large becomes the largest that is allowed.
#include "guest.h"

// In milliseconds.
#define UNBOUNDED UINT64_MAX
static uint64_t ttl_max = UNBOUNDED, ttl_min = 0, hold_max = UNBOUNDED, wait_max = UNBOUNDED;

// What a sidecar can be set to take for a time to live: another answer would be a fault with any `limits`.
#define TTL_LEAST 10
#define TTL_MOST 3600000

static const setting_t settings[] = {
    {"ttl_max", SETTING_DURATION, &ttl_max},
    {"ttl_min", SETTING_DURATION, &ttl_min},
    {"hold_max", SETTING_DURATION, &hold_max},
    {"wait_max", SETTING_DURATION, &wait_max},
    {0},
};

bool exports_settings_validate(policy_string_t *json, policy_string_t *error) {
    if (!settings_read(json, settings, error)) return false;
    bool clamps = ttl_max < UNBOUNDED || ttl_min || hold_max < UNBOUNDED || wait_max < UNBOUNDED;
    const char *wrong = !clamps             ? "nothing to clamp: set ttl_max, ttl_min, hold_max or wait_max"
                        : ttl_max < TTL_LEAST ? "ttl_max: is shorter than 10ms, which no lease may be"
                        : ttl_min > TTL_MOST  ? "ttl_min: is longer than 1h, which no lease may be"
                        : ttl_min > ttl_max   ? "ttl_min: is longer than ttl_max"
                        : !hold_max           ? "hold_max: is 0, and nobody could hold anything"
                                              : NULL;
    if (wrong) policy_string_dup(error, wrong);
    return !wrong;
}

bool exports_settings_configure(policy_string_t *json, policy_list_string_t *counters, policy_string_t *error) {
    *counters = (policy_list_string_t){0};
    return settings_read(json, settings, error);
}

// A wish without an end is longer than any bound.
static policy_option_u64_t at_most(policy_option_u64_t wish, uint64_t max) {
    bool too_long = max < UNBOUNDED && (!wish.is_some || wish.val > max);
    return (policy_option_u64_t){too_long, max};
}

// A lease that lives as long as its session has no time to live, and gets none: what bounds it is `hold_max`.
static policy_option_u64_t ttl_between(policy_option_u64_t ttl) {
    if (!ttl.is_some) return (policy_option_u64_t){0};
    if (ttl.val < ttl_min) return (policy_option_u64_t){true, ttl_min};
    return at_most(ttl, ttl_max);
}

void exports_admission_admit(policy_request_t *r, policy_decision_t *answer) {
    policy_edits_t edits = {.ttl_ms = ttl_between(r->ttl_ms)};
    // Who renews waits for nothing, and how long the lease may be held was settled when it was granted; nothing else asks for one.
    if (r->operation == POLICY_OPERATION_ACQUIRE || r->operation == POLICY_OPERATION_ONCE) {
        edits.max_hold_ms = at_most(r->max_hold_ms, hold_max);
        edits.wait_ms = at_most(r->wait_ms, wait_max);
    }
    bool any = edits.ttl_ms.is_some || edits.max_hold_ms.is_some || edits.wait_ms.is_some;
    // The answer depends on nothing but the request, so the sidecar may remember it for as long as it will.
    *answer = (policy_decision_t){.cache_ms = 60000};
    answer->verdict.tag = any ? POLICY_VERDICT_EDIT : POLICY_VERDICT_ABSTAIN;
    answer->verdict.val.edit = edits;
}
