-- How the record of one key is written down, the clock, and the short ways.
--
-- The files of this folder are one script, in this order: format.lua and register_short.lua (and strict.lua, where the store is
-- strict, with reassert.lua among the others); then, as the body of
-- a function that is only called when a short way does not do (making its closures costs 3 to 5 us), once.lua, record.lua,
-- ask.lua, renew.lua, give_back.lua, withdraw.lua, finish.lua, board.lua, peek.lua and force.lua; the same with register.lua;
-- last turn.lua.
-- `encoding.rs` reads and writes the same bytes; what is `until` there is `due` here, where the other is a keyword.
--
-- Format 1, little endian, every number below 2^53, because a Lua number is a double (and `tostring` spoils 16 digits):
--   'SL' version:1  next_due:8 last:8 limit:4  tenures:4 queue:4 offers:4 done:4
--   tenures x [ incarnation:16 seq:8 units:4 due:8 first:8 last:8 ]
--   queue   x [ incarnation:16 seq:8 units:4 due:8 flags:1 ]    1 offered, as `offers` of them are; 2 upgrade
--   done    x [ incarnation:16 seq:8 due:8 ]      or, of a tenure that grew or got more fences: alias:16 origin:8 due:8
-- Format 2, in which a record is written from which something was taken by force: the same, and after it
--   count:4 count x [ incarnation:16 seq:8 due:8 by:4 length:2 reason:length ]            `count` is not 0
-- The origin of a tenure is its first fence where `done` says nothing else, under the alias of its incarnation: the same with the
-- first bit flipped. A version that knows no origins keeps that like any tombstone; its `due` is one less than the tenure's, as
-- that is over at its own, and a tombstone after it.
-- `next_due` is never later than the first `due`, nor, in a quarantine with somebody in the queue, than its end: before it,
-- settle has nothing to drop or to offer.
--
-- A once key may have more before this, see once.lua.
--
-- A packed string makes the uncontended claim GET and SET, and lets a place in a queue of thousands be refreshed without
-- reading the queue (P12). Measured on 7.0.15, one cycle of claim and release in two calls: packed with struct 8.3 us of
-- the server, with cmsgpack 10.2, as a hash 10.8.

-- PLAIN is the only format that the short ways know.
local PLAIN, VERSION = 1, 2
local HEADER, HEADER_BYTES = '<c2I1I8I8I4I4I4I4I4', 39
local TENURE, TENURE_BYTES = '<c16I8I4I8I8I8', 52
local ENTRY, ENTRY_BYTES = '<c16I8I4I8I1', 37
local DONE, DONE_BYTES = '<c16I8I8', 32
local FORCED, FORCED_BYTES = '<c16I8I8I4I2', 38
-- A record with one tenure and nothing else.
local SINGLE_BYTES = HEADER_BYTES + TENURE_BYTES

-- Flags of an entry.
local OFFERED, UPGRADE = 1, 2

local OFFER_TTL = 2000000
local PEEKED_MAX = 256
local REFUSE_AFTER = 2000000
local FENCE_LEAD_MAX = 100000
local FENCE_RANGE_MAX = 4096
local CLOCK_REGRESSION_MAX = 86400000000
-- The key outlives what it says by this long, to collect garbage that nobody asks about (P2).
local GARBAGE_MS = 600000
-- The same where nothing but tombstones or fences is left: whoever gives up waiting leaves one for each key.
local GARBAGE_DONE_MS = 30000
-- Times to live up to this can be extended without extending the key's own: far less than GARBAGE_MS.
local IN_PLACE_TTL_MAX = 60000000

local GRANTED, QUEUED, STALE, TOO_LATE, LIMIT_MISMATCH, CLOCK_REGRESSED = '\1', '\2', '\3', '\4', '\5', '\6'
local RENEWED, GONE, RETURNED, WITHDRAWN, TOLD, FAULT = '\7', '\8', '\9', '\10', '\11', '\12'
local PUBLISHED, BOARD, RECORD = '\30', '\31', '\32'
local UPGRADE_CONFLICT = '\15'
local FINISHED = '\13'
local TAKEN, UNLOCKED = '\40', '\41'
local REGISTER_VALUE, REGISTER_ABSENT, UNCHANGED, WRITTEN, CONFLICT, STALE_FENCE = '\20', '\21', '\22', '\23', '\24', '\25'
local OFFER, RECALL, BUSY, CHANGED, LOST, INQUIRED, DECLARED = 1, 2, 3, 4, 5, 6, 7

local pack, unpack_at = struct.pack, struct.unpack

local clock = redis.call('TIME')
-- The one instant at which everything in this call happens, in microseconds (P2).
local now = clock[1] * 1000000 + clock[2]
-- The Redis key that the step is about.
local key
-- Whom the step wakes.
local wakes = {}
-- Where the store is strict, and grants nothing: until when, see strict.lua.
local quarantine

local function wake(to, kind, ask_inc, ask_seq)
    wakes[#wakes + 1] = { key = key, to = to, kind = kind, inc = ask_inc, seq = ask_seq }
end

-- A record in which nothing else stands is kept while its fences are above this: those of a record that nobody remembers
-- would begin below them, where the clock is behind one that was heard before.
local function forgotten_above()
    return now + FENCE_LEAD_MAX + 2
end

-- New fences, above all that were ever reserved for the key and above `floor`: first, last (P1).
local function reserve(last, floor)
    local above = math.max(last, floor) + 1
    if last > 0 then
        local first = math.max(above, now)
        return first, math.min(first + FENCE_RANGE_MAX - 1, math.max(first, now + FENCE_LEAD_MAX))
    end
    -- The store may have forgotten ranges that still live: none of them reaches further than this.
    local first = math.max(above, forgotten_above())
    return first, first
end

local function alias(inc)
    return string.char((inc:byte() + 128) % 256) .. inc:sub(2)
end

local function granted_answer(units, remaining_us, origin, first, last, contended)
    local remaining = math.max(0, math.floor(remaining_us / 1000))
    return GRANTED .. pack('<I4I8I8I8I8I1', units, remaining, origin, first, last, contended)
end

local function renewed_answer(due, origin, contended, range)
    return RENEWED .. pack('<I8I8I1', math.floor((due - now) / 1000), origin, contended) .. range
end

-- The short ways: what the rules would do too, for what happens most. Each answers nothing where it does not apply.

-- An ask for a key that is free and unknown.
local function ask_unknown(arg)
    local me, seq, units, limit, ttl, _, floor, refuse_after = unpack_at('<c16I8I4I4I8I8I8I8', arg, 2)
    if now > refuse_after or units > limit or floor > now + CLOCK_REGRESSION_MAX then
        return
    end
    local first, last = reserve(0, floor)
    local due = now + ttl
    local record = pack(HEADER, 'SL', PLAIN, due, last, limit, 1, 0, 0, 0)
        .. pack(TENURE, me, seq, units, due, first, last)
    redis.call('SET', key, record, 'PX', math.ceil((math.max(due, last) - now) / 1000) + GARBAGE_MS)
    return granted_answer(units, ttl, first, first, last, 0)
end

-- Where the item with this id begins, in an array of `count` items of `width` bytes; nothing if bytes elsewhere look like
-- it, which does not happen by chance.
local function place(raw, id, from, width, count)
    local at = raw:find(id, from, true)
    if at and (at - from) % width == 0 and at < from + count * width then
        return at, (at - from) / width
    end
end

-- Where the origin of an incarnation's tenure stands in `done`, which begins at `from`.
local function origin_at(raw, inc, from, done)
    return done > 0 and place(raw, alias(inc), from, DONE_BYTES, done)
end

-- The only tenure ends, and nobody needs to remember it.
local function give_back_single(raw, arg, last, done)
    if last > forgotten_above() then
        return
    end
    local keep, _, tombstone = unpack_at('<I4I8I8', arg, 26)
    if raw:sub(HEADER_BYTES + 1, HEADER_BYTES + 24) ~= arg:sub(2, 25) or keep > 0 or tombstone > 0 then
        return
    end
    if done > 0 and not origin_at(raw, arg:sub(2, 17), SINGLE_BYTES + 1, done) then
        return
    end
    redis.call('DEL', key)
    return RETURNED
end

-- A tenure is renewed while nobody waits.
local function renew_in_place(raw, arg, next_due, last, limit, tenures, done)
    local ttl, floor, top_up = unpack_at('<I8I8I1', arg, 26)
    local at = place(raw, arg:sub(2, 25), HEADER_BYTES + 1, TENURE_BYTES, tenures)
    if not at or ttl > IN_PLACE_TTL_MAX or floor > now + CLOCK_REGRESSION_MAX then
        return
    end
    local me, seq, units, due, first, final, after = unpack_at(TENURE, raw, at)
    local noted = origin_at(raw, me, HEADER_BYTES + 1 + tenures * TENURE_BYTES, done)
    local origin, range, rest = noted and unpack_at('<I8', raw, noted + 16) or first, '', raw:sub(after)
    local single = tenures == 1 and done == (noted and 1 or 0)
    due = math.max(due, now + ttl)
    if noted then
        rest = raw:sub(after, noted + 23) .. pack('<I8', due - 1) .. raw:sub(noted + 32)
    end
    if top_up == 1 then
        if not noted then
            if tenures > 1 then
                return
            end
            noted, rest, done = true, rest .. pack(DONE, alias(me), origin, due - 1), done + 1
        end
        first, final = reserve(last, floor)
        last, range = final, pack('<I8I8', first, final)
        if not single and last > forgotten_above() then
            return
        end
    end
    next_due = math.min(single and due or next_due, noted and due - 1 or due)
    local record = pack(HEADER, 'SL', PLAIN, next_due, last, limit, tenures, 0, 0, done)
        .. raw:sub(HEADER_BYTES + 1, at - 1) .. pack(TENURE, me, seq, units, due, first, final) .. rest
    if single then
        redis.call('SET', key, record, 'PX', math.ceil((math.max(due, last) - now) / 1000) + GARBAGE_MS)
    else
        redis.call('SET', key, record, 'KEEPTTL')
    end
    return renewed_answer(due, origin, 0, range)
end

-- A place in the queue is refreshed, not the first, while nobody is offered anything.
local function ask_in_place(raw, arg, next_due, last, limit, tenures, queue, done)
    local me, _, units, its_limit, _, entry_ttl, floor, refuse_after, _, back =
        unpack_at('<c16I8I4I4I8I8I8I8I1', arg, 2)
    local from = HEADER_BYTES + 1 + tenures * TENURE_BYTES
    local at, ahead = place(raw, arg:sub(2, 25), from, ENTRY_BYTES, queue)
    if not at or ahead == 0 or back <= #arg or now > refuse_after or limit ~= its_limit
        or entry_ttl > IN_PLACE_TTL_MAX or floor > now + CLOCK_REGRESSION_MAX then
        return
    end
    if unpack_at('<I4', raw, at + 24) ~= units or done > 0 and raw:find(me, from + queue * ENTRY_BYTES, true) then
        return
    end
    local retry, holder
    for i = 0, tenures - 1 do
        local inc, _, _, due = unpack_at(TENURE, raw, HEADER_BYTES + 1 + i * TENURE_BYTES)
        if inc ~= me then
            retry, holder = math.min(retry or due, due), holder or inc
        end
    end
    if not holder then
        return
    end
    local due = now + entry_ttl
    local record = pack(HEADER, 'SL', PLAIN, math.min(next_due, due), last, limit, tenures, queue, 0, done)
        .. raw:sub(HEADER_BYTES + 1, at + 27) .. pack('<I8', due) .. raw:sub(at + 36)
    redis.call('SET', key, record, 'KEEPTTL')
    return QUEUED .. pack('<I4I8', ahead, retry - now) .. holder
end
