// Keys that begin with `prefix` are for one app alone.
//
// Runs once when the policy is built; each decision begins from there. There is no clock and no randomness: what a
// decision may depend on comes with the request.

const DEFAULTS = { prefix: "private/", app: "owner" };

function read(json) {
    const given = JSON.parse(json);
    for (const [name, value] of Object.entries(given)) {
        if (!(name in DEFAULTS)) throw `${name}: there is no such setting; there are ${Object.keys(DEFAULTS).join(", ")}`;
        if (typeof value !== "string") throw `${name}: wants a text`;
    }
    return { ...DEFAULTS, ...given };
}

let configured;

export const settings = {
    // What is thrown is shown to the operator.
    validate(json) {
        read(json);
    },
    configure(json) {
        configured = read(json);
        return []; // The counters that we want: none.
    },
};

function judge({ keys, peer }) {
    const key = keys.find((key) => key.startsWith(configured.prefix));
    if (key === undefined) return { tag: "abstain" };
    if (peer.app === configured.app) return { tag: "allow" };
    const message = `"${key}" is for the app "${configured.app}"`;
    return { tag: "deny", val: { reasonCode: "private", message, retryAfterMs: null } };
}

export const admission = {
    admit(request) {
        // The answer depends on nothing that changes: the sidecar may give it again for a minute without asking.
        return { verdict: judge(request), count: [], cacheMs: 60_000 };
    },
};
