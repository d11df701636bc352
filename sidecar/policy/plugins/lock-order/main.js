// lock-order: who holds a key takes none that comes before it. Whoever keeps to one order can not deadlock.

const ask = (text, where) => {
    if (typeof text !== "string" || text === "") throw `${where}: wants the beginning of a key, such as "accounts/"`;
    return text;
};

function only(object, known, where) {
    for (const name of Object.keys(object))
        if (!known.includes(name)) throw `${where}${name}: there is no such setting; there are ${known.join(", ")}`;
}

function read(json) {
    const { order = [], never = [], ...rest } = JSON.parse(json);
    only(rest, ["order", "never"], "");
    if (order.length === 0 && never.length === 0) throw "no order: set order or never";
    if (order.length === 1) throw "order: wants at least two";
    order.forEach((prefix, n) => {
        ask(prefix, `order[${n}]`);
        const hidden = order.slice(0, n).findIndex((earlier) => prefix.startsWith(earlier));
        if (hidden >= 0) throw `order[${n}]: every key below ${JSON.stringify(prefix)} belongs to order[${hidden}] already`;
    });
    never.forEach((rule, n) => {
        only(rule, ["take", "while"], `never[${n}].`);
        ask(rule.take, `never[${n}].take`);
        ask(rule.while, `never[${n}].while`);
    });
    return { order, never };
}

let configured;

const place = (key) => configured.order.findIndex((prefix) => key.startsWith(prefix));

// A sentence is about two keys, and has 1024 bytes.
const shown = (key) => JSON.stringify(key.length > 100 ? `${key.slice(0, 100)}…` : key);

// Why `key` must not be taken while `held` is held.
function against(key, held) {
    const [asked, has] = [place(key), place(held)];
    if (0 <= asked && asked < has)
        return `${shown(key)} comes before ${shown(held)}, which is held: take it first, or both at once`;
    if (configured.never.some((rule) => key.startsWith(rule.take) && held.startsWith(rule.while)))
        return `${shown(key)} must not be taken while ${shown(held)} is held`;
}

export const settings = {
    validate(json) {
        read(json);
    },
    configure(json) {
        configured = read(json);
        return [];
    },
};

export const admission = {
    admit({ keys, held, mode }) {
        // Keys that are asked for together are taken together, in no order; one that is held already is not taken, but permits of it are.
        const taken = mode === "permits" ? keys : keys.filter((key) => !held.includes(key));
        const message = taken.flatMap((key) => held.map((other) => against(key, other))).find(Boolean);
        return {
            verdict: message ? { tag: "deny", val: { reasonCode: "order", message, retryAfterMs: null } } : { tag: "abstain" },
            count: [],
            // It depends on the keys and on what is held, which are part of the question.
            cacheMs: 60_000,
        };
    },
};
