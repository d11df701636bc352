// freeze-window: nothing new is locked during maintenance, unless somebody breaks the glass.
//
// The time comes with the request, in the zone that the operator configured for this policy: there is no other clock.
import host from "sidelock:policy/host@0.1.0";

const DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const DAY = 24 * 60;
const MINUTE_MS = 60_000;
const WEEK_MS = 7 * DAY * MINUTE_MS;

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
    const [, day] = /^(\d{4}-\d\d-\d\d) \d\d:\d\d$/.exec(text) ?? [];
    const [midnight, at] = [`${day}T00:00:00Z`, `${text.replace(" ", "T")}:00Z`].map((moment) => Date.parse(moment));
    // A month has no 31st day just because the next one begins with it.
    if (isNaN(at) || isNaN(midnight) || new Date(midnight).toISOString().slice(0, 10) !== day) throw `${where}: wants a date and time such as "2026-12-24 12:00", not ${JSON.stringify(text)}`;
    return at;
}

function only(object, known, where) {
    for (const name of Object.keys(object))
        if (!known.includes(name)) throw `${where}${name}: there is no such setting; there are ${known.join(", ")}`;
}

function ids(value, where) {
    if (!Array.isArray(value) || !value.every((id) => Number.isInteger(id) && id >= 0)) throw `${where}: wants a list of ids, such as [0, 1000]`;
    return value;
}

function weeklyWindow({ name, days = DAYS, from, to, ...rest }, where) {
    only(rest, ["name", "days", "from", "to"], `${where}.`);
    if (days.length === 0) throw `${where}.days: is empty; leave it out for all days`;
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
    const { uids = [], gids = [], ...more } = break_glass ?? {};
    only(more, ["uids", "gids"], "break_glass.");
    if (weekly.length + dates.length === 0) throw "no window: set weekly or dates";
    return {
        weekly: weekly.map((window, n) => weeklyWindow(window, `weekly[${n}]`)),
        dates: dates.map((window, n) => datedWindow(window, `dates[${n}]`)),
        breakers: { uids: ids(uids, "break_glass.uids"), gids: ids(gids, "break_glass.gids") },
    };
}

// --- Decisions ---

// The window of a moment, on the wall and since its week began, and how many milliseconds are left of it.
function windowAt(wall, inWeek, { weekly, dates }) {
    for (const { name, from, to } of dates)
        if (from <= wall && wall < to) return { name, left: to - wall };
    for (const { name, length, begins } of weekly)
        for (const begin of begins) {
            const since = (inWeek - begin * MINUTE_MS + WEEK_MS) % WEEK_MS;
            const left = length * MINUTE_MS - since;
            if (left > 0) return { name, left };
        }
}

// Windows that begin where another ends are looked at one after the other, so many of them, and a week ahead.
const WINDOWS_AHEAD = 16;

// Where a request's clock stands: on the wall, and since its week began.
function place({ unixMs, utcOffsetMinutes, weekday, minuteOfDay }) {
    const wall = unixMs + utcOffsetMinutes * MINUTE_MS;
    return { wall, inWeek: (weekday * DAY + minuteOfDay) * MINUTE_MS + (wall % MINUTE_MS) };
}

// How many milliseconds pass until we are in no window.
function untilFree({ wall, inWeek }, windows) {
    let left = 0;
    for (let n = 0; n < WINDOWS_AHEAD && left < WEEK_MS; n++) {
        const window = windowAt(wall + left, (inWeek + left) % WEEK_MS, windows);
        if (!window) break;
        left += window.left;
    }
    return left;
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
        const at = place(request.clock);
        const frozen = windowAt(at.wall, at.inWeek, configured);
        if (!frozen) return decision("abstain");
        // Its owner may enter a lock again that it holds: nothing new is locked. Without an owner it would be somebody else's turn.
        const isOwners = request.operation === "acquire" && request.mode === "exclusive" && request.owner;
        if (isOwners && request.keys.every((key) => request.held.includes(key))) return decision("abstain");
        const name = frozen.name ?? "maintenance";
        const reason = breaksGlass(request, configured.breakers);
        if (reason) {
            host.log("warn", `uid ${request.peer.uid} breaks the glass of ${name} (${reason}) for ${request.keys.join(", ")}`);
            return decision("allow");
        }
        return decision("deny", { reasonCode: "frozen", message: `frozen: ${name}`, retryAfterMs: untilFree(at, configured) });
    },
};
