// freeze-window: nothing new is locked during maintenance, unless somebody breaks the glass.
//
// The time comes with the request, in the zone that the operator configured for this policy: there is no other clock.
import host from "sidelock:policy/host@0.1.0";

const DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const DAY = 24 * 60;
const WEEK = 7 * DAY;

// --- Settings ---

// "22:30" -> minutes since midnight; "24:00" is the end of the day.
function minutes(text, where) {
    const [, hours, rest] = /^(\d\d):(\d\d)$/.exec(text) ?? [];
    const value = hours * 60 + +rest;
    if (!(value <= DAY && rest < 60)) throw `${where}: wants a time of day such as "22:30", not ${JSON.stringify(text)}`;
    return value;
}

// "2026-12-24 12:00" -> milliseconds on a wall clock of the policy's zone.
function moment(text, where) {
    const at = /^\d{4}-\d\d-\d\d \d\d:\d\d$/.test(text) ? Date.parse(`${text.replace(" ", "T")}:00Z`) : NaN;
    if (isNaN(at)) throw `${where}: wants a date and time such as "2026-12-24 12:00", not ${JSON.stringify(text)}`;
    return at;
}

function only(object, known, where) {
    for (const name of Object.keys(object))
        if (!known.includes(name)) throw `${where}${name}: there is no such setting; there are ${known.join(", ")}`;
}

function weeklyWindow({ name, days = DAYS, from, to, ...rest }, where) {
    only(rest, ["name", "days", "from", "to"], `${where}.`);
    for (const day of days)
        if (!DAYS.includes(day)) throw `${where}.days: wants ${DAYS.join(", ")}, not ${JSON.stringify(day)}`;
    const begin = minutes(from, `${where}.from`);
    // A window that ends before it begins ends on the next day.
    const length = (minutes(to, `${where}.to`) - begin + DAY) % DAY || DAY;
    return { name, length, begins: days.map((day) => DAYS.indexOf(day) * DAY + begin) };
}

function datedWindow({ name, from, to, ...rest }, where) {
    only(rest, ["name", "from", "to"], `${where}.`);
    const window = { name, from: moment(from, `${where}.from`), to: moment(to, `${where}.to`) };
    if (window.to <= window.from) throw `${where}.to: is not after from`;
    return window;
}

function read(json) {
    const { weekly = [], dates = [], break_glass, ...rest } = JSON.parse(json);
    only(rest, ["weekly", "dates", "break_glass"], "");
    if (break_glass) only(break_glass, ["uids", "gids"], "break_glass.");
    if (weekly.length + dates.length === 0) throw "no window: set weekly or dates";
    return {
        weekly: weekly.map((window, n) => weeklyWindow(window, `weekly[${n}]`)),
        dates: dates.map((window, n) => datedWindow(window, `dates[${n}]`)),
        breakers: { uids: break_glass?.uids ?? [], gids: break_glass?.gids ?? [] },
    };
}

// --- Decisions ---

// The window that we are in, and how many milliseconds are left of it.
function windowAt({ unixMs, utcOffsetMinutes, weekday, minuteOfDay }, { weekly, dates }) {
    const wall = unixMs + utcOffsetMinutes * 60_000;
    for (const { name, from, to } of dates)
        if (from <= wall && wall < to) return { name, left: to - wall };
    const now = weekday * DAY + minuteOfDay;
    for (const { name, length, begins } of weekly)
        for (const begin of begins) {
            const since = (now - begin + WEEK) % WEEK;
            if (since < length) return { name, left: (length - since) * 60_000 - (wall % 60_000) };
        }
}

function breaksGlass({ meta, peer }, { uids, gids }) {
    const reason = meta.find(([name]) => name === "break-glass")?.[1];
    return reason && (uids.includes(peer.uid) || gids.includes(peer.gid)) ? reason : undefined;
}

const decision = (tag, val) => ({ verdict: { tag, val }, count: [], cacheMs: 0 });

let configured;

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
    admit(request) {
        const frozen = windowAt(request.clock, configured);
        if (!frozen) return decision("abstain");
        const name = frozen.name ?? "maintenance";
        const reason = breaksGlass(request, configured.breakers);
        if (reason) {
            host.log("warn", `uid ${request.peer.uid} breaks the glass of ${name} for ${request.keys.join(", ")}: ${reason}`);
            return decision("allow");
        }
        return decision("deny", { reasonCode: "frozen", message: `frozen: ${name}`, retryAfterMs: frozen.left });
    },
};
