-- How the record of one key is written down, the clock, and the short ways.
--
-- The files of this folder are one script, in this order: format.lua, then as the body of a function that is only
-- called when a short way does not do (26 closures cost 6 us) record.lua, ask.lua, renew.lua, give_back.lua and
-- withdraw.lua, and last turn.lua. `encoding.rs` reads and writes the same bytes; what is
-- `until` there is `due` here, where the other is a keyword.
--
-- Format 1, little endian, every number < 2^53 (a Lua number is a double; `tostring` would spoil 16 digits, pack does not):
--   'SL' version:1  next_due:8 last:8 limit:4  tenures:4 queue:4 done:4
--   tenures x [ incarnation:16 seq:8 units:4 due:8 first:8 last:8 ]
--   queue   x [ incarnation:16 seq:8 units:4 due:8 offered:1 ]
--   done    x [ incarnation:16 seq:8 due:8 ]
-- `next_due` is never later than the first `due`: before it, settle has nothing to drop. A packed string makes the
-- uncontended claim GET and SET; as a hash it was HGETALL, HSET, PEXPIRE and 2.4 times the memory.

local VERSION = 1
local HEADER, HEADER_BYTES = '<c2I1I8I8I4I4I4I4', 35
local TENURE, TENURE_BYTES = '<c16I8I4I8I8I8', 52
local ENTRY, ENTRY_BYTES = '<c16I8I4I8I1', 37
local DONE, DONE_BYTES = '<c16I8I8', 32
-- A record with one tenure and nothing else, in one piece. No other record has its length.
local SINGLE, SINGLE_BYTES = '<c2I1I8I8I4I4I4I4c16I8I4I8I8I8', 87

local OFFER_TTL = 2000000
local FENCE_LEAD_MAX = 100000
local FENCE_RANGE_MAX = 4096
local CLOCK_REGRESSION_MAX = 86400000000
-- The key outlives what it says by this long, to collect garbage that nobody asks about (P2).
local GARBAGE_MS = 600000

local GRANTED, QUEUED, STALE, TOO_LATE, LIMIT_MISMATCH, CLOCK_REGRESSED = '\1', '\2', '\3', '\4', '\5', '\6'
local RENEWED, GONE, RETURNED, WITHDRAWN, TOLD, FAULT = '\7', '\8', '\9', '\10', '\11', '\12'
local OFFER, RECALL, BUSY = 1, 2, 3

local pack, unpack_at = struct.pack, struct.unpack

local clock = redis.call('TIME')
-- The one instant at which everything in this call happens, in microseconds (P2).
local now = clock[1] * 1000000 + clock[2]
-- The Redis key that the step is about.
local key
-- Whom the step wakes.
local wakes = {}

local function wake(to, kind, ask_inc, ask_seq)
    wakes[#wakes + 1] = { key = key, to = to, kind = kind, inc = ask_inc, seq = ask_seq }
end

-- New fences, above all that were ever reserved for the key and above `floor`: first, last (P1).
local function reserve(last, floor)
    local above = math.max(last, floor) + 1
    if last > 0 then
        local first = math.max(above, now)
        return first, math.min(first + FENCE_RANGE_MAX - 1, math.max(first, now + FENCE_LEAD_MAX))
    end
    -- The store may have forgotten ranges that still live: none of them reaches further than this.
    local first = math.max(above, now + FENCE_LEAD_MAX + 2)
    return first, first
end

-- The short ways: what general rules would do too, in a third of the time, for a key that nobody else wants. Each
-- answers nothing where it does not apply.

-- An ask for a key that is free and unknown.
local function ask_unknown(arg)
    local me, seq, units, limit, ttl, _, floor, refuse_after = unpack_at('<c16I8I4I4I8I8I8I8', arg, 2)
    if now > refuse_after or units > limit or floor > now + CLOCK_REGRESSION_MAX then
        return
    end
    local first, last = reserve(0, floor)
    local due = now + ttl
    redis.call('SET', key, pack(SINGLE, 'SL', VERSION, due, last, limit, 1, 0, 0, me, seq, units, due, first, last),
        'PX', math.ceil(ttl / 1000) + GARBAGE_MS)
    return GRANTED .. pack('<I4I8I8I8I1', units, math.floor(ttl / 1000), first, last, 0)
end

-- The only tenure is renewed.
local function renew_single(raw, arg)
    local me, seq, ttl, floor, top_up = unpack_at('<c16I8I8I8I1', arg, 2)
    local _, _, _, last, limit, _, _, _, inc, its_seq, units, due, first, final = unpack_at(SINGLE, raw)
    if inc ~= me or its_seq ~= seq or due <= now or floor > now + CLOCK_REGRESSION_MAX then
        return
    end
    local range = ''
    if top_up == 1 then
        first, final = reserve(last, floor)
        last, range = final, pack('<I8I8', first, final)
    end
    due = math.max(due, now + ttl)
    redis.call('SET', key, pack(SINGLE, 'SL', VERSION, due, last, limit, 1, 0, 0, me, seq, units, due, first, final),
        'PX', math.ceil((due - now) / 1000) + GARBAGE_MS)
    return RENEWED .. pack('<I8I1', math.floor((due - now) / 1000), 0) .. range
end

-- The only tenure ends, and nobody needs to remember it.
local function give_back_single(raw, arg)
    local me, seq, keep, _, tombstone = unpack_at('<c16I8I4I8I8', arg, 2)
    local inc, its_seq, _, due = unpack_at(TENURE, raw, HEADER_BYTES + 1)
    if inc ~= me or its_seq ~= seq or due <= now or keep > 0 or tombstone > 0 then
        return
    end
    redis.call('DEL', key)
    return RETURNED
end
