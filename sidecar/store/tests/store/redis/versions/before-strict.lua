#!lua
-- How the record of one key is written down, the clock, and the short ways.
--
-- The files of this folder are one script, in this order: format.lua and register_short.lua; then, as the body of
-- a function that is only called when a short way does not do (making its closures costs 3 to 5 us), once.lua, record.lua,
-- ask.lua, renew.lua, give_back.lua, withdraw.lua, finish.lua, board.lua, peek.lua and force.lua; the same with register.lua;
-- last turn.lua.
-- `encoding.rs` reads and writes the same bytes; what is `until` there is `due` here, where the other is a keyword.
--
-- Format 1, little endian, every number below 2^53, because a Lua number is a double (and `tostring` spoils 16 digits):
--   'SL' version:1  next_due:8 last:8 limit:4  tenures:4 queue:4 offers:4 done:4
--   tenures x [ incarnation:16 seq:8 units:4 due:8 first:8 last:8 ]
--   queue   x [ incarnation:16 seq:8 units:4 due:8 flags:1 ]    1 offered, as `offers` of them are; 2 upgrade
--   done    x [ incarnation:16 seq:8 due:8 ]
-- Format 2, in which a record is written from which something was taken by force: the same, and after it
--   count:4 count x [ incarnation:16 seq:8 due:8 by:4 length:2 reason:length ]            `count` is not 0
-- `next_due` is never later than the first `due`: before it, settle has nothing to drop.
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
-- A record with one tenure and nothing else. No other record has its length.
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
-- The same where nothing but tombstones is left: whoever gives up waiting leaves one for each key.
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

local function granted_answer(units, remaining_us, first, last, contended)
    return GRANTED .. pack('<I4I8I8I8I1', units, math.max(0, math.floor(remaining_us / 1000)), first, last, contended)
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
    redis.call('SET', key, record, 'PX', math.ceil(ttl / 1000) + GARBAGE_MS)
    return granted_answer(units, ttl, first, last, 0)
end

-- The only tenure ends, and nobody needs to remember it.
local function give_back_single(raw, arg)
    local keep, _, tombstone = unpack_at('<I4I8I8', arg, 26)
    if raw:sub(HEADER_BYTES + 1, HEADER_BYTES + 24) ~= arg:sub(2, 25) or keep > 0 or tombstone > 0 then
        return
    end
    redis.call('DEL', key)
    return RETURNED
end

-- Where the item with this id begins, in an array of `count` items of `width` bytes; nothing if bytes elsewhere look like
-- it, which does not happen by chance.
local function place(raw, id, from, width, count)
    local at = raw:find(id, from, true)
    if at and (at - from) % width == 0 and at < from + count * width then
        return at, (at - from) / width
    end
end

-- A tenure is renewed while nobody waits.
local function renew_in_place(raw, arg, next_due, last, limit, tenures, done)
    local ttl, floor, top_up = unpack_at('<I8I8I1', arg, 26)
    local at = place(raw, arg:sub(2, 25), HEADER_BYTES + 1, TENURE_BYTES, tenures)
    if not at or ttl > IN_PLACE_TTL_MAX or floor > now + CLOCK_REGRESSION_MAX then
        return
    end
    local me, seq, units, due, first, final, after = unpack_at(TENURE, raw, at)
    local range = ''
    if top_up == 1 then
        first, final = reserve(last, floor)
        last, range = final, pack('<I8I8', first, final)
    end
    due = math.max(due, now + ttl)
    local single = #raw == SINGLE_BYTES
    next_due = single and due or math.min(next_due, due)
    local record = pack(HEADER, 'SL', PLAIN, next_due, last, limit, tenures, 0, 0, done)
        .. raw:sub(HEADER_BYTES + 1, at - 1) .. pack(TENURE, me, seq, units, due, first, final) .. raw:sub(after)
    if single then
        redis.call('SET', key, record, 'PX', math.ceil((due - now) / 1000) + GARBAGE_MS)
    else
        redis.call('SET', key, record, 'KEEPTTL')
    end
    return RENEWED .. pack('<I8I1', math.floor((due - now) / 1000), 0) .. range
end

-- A place in the queue is refreshed, not the first, while nobody is offered anything.
local function ask_in_place(raw, arg, next_due, last, limit, tenures, queue)
    local me, _, units, its_limit, _, entry_ttl, floor, refuse_after, _, back =
        unpack_at('<c16I8I4I4I8I8I8I8I1', arg, 2)
    local from = HEADER_BYTES + 1 + tenures * TENURE_BYTES
    local at, ahead = place(raw, arg:sub(2, 25), from, ENTRY_BYTES, queue)
    if not at or ahead == 0 or back <= #arg or now > refuse_after or limit ~= its_limit
        or entry_ttl > IN_PLACE_TTL_MAX or floor > now + CLOCK_REGRESSION_MAX then
        return
    end
    if unpack_at('<I4', raw, at + 24) ~= units then
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
    local record = pack(HEADER, 'SL', PLAIN, math.min(next_due, due), last, limit, tenures, queue, 0, 0)
        .. raw:sub(HEADER_BYTES + 1, at + 27) .. pack('<I8', due) .. raw:sub(at + 36)
    redis.call('SET', key, record, 'KEEPTTL')
    return QUEUED .. pack('<I4I8', ahead, retry - now) .. holder
end
-- The short way of registers: what the rules would do too, for a write that follows one of the same sidecar's, on no
-- condition, while nobody watches. It answers nothing where it does not apply; then register.lua does.
--
-- Every text that Lua makes is hashed and thrown away: of a value the rules make half a dozen, and this way two. Server time
-- of a write of 256 bytes in calls of 60, on 7.0.15: 4.3 us, by the rules 6.4.

local REGISTER, REGISTER_BYTES = '<c2I1I8c16I8I8I8I8I1I4I4', 68
local WRITTEN_BEFORE_BYTES, WATCHER_BYTES = 40, 24
-- Where the arguments of a register's operations say whether they are bound, see register.lua.
local READ_BOUND_AT, WRITE_BOUND_AT = 60, 67
-- The end of what stands before a value: it is present, with no writes before it and no watchers.
local VALUE_ALONE = '\1\0\0\0\0\0\0\0\0'

local function write_over(raw, arg)
    if #raw < REGISTER_BYTES then
        return
    end
    local me, seq, refuse_after, condition = unpack_at('<c16I8I8I1', arg, 2)
    local bound, put = arg:byte(WRITE_BOUND_AT, WRITE_BOUND_AT + 1)
    local magic, number, writer, before, _, seen, _, rest = unpack_at('<c3I8c16I8I8I8I8c9', raw)
    if magic ~= 'SR\1' or rest ~= VALUE_ALONE or condition ~= 0 or bound ~= 0 or put ~= 1
        or writer ~= me or before >= seq or now > refuse_after then
        return
    end
    local version = pack('<I8c16I8', math.max(now, number + 1), me, seq)
    redis.call('SET', key, pack('<c3c32I8I8I8c9', magic, version, refuse_after, seen, 0, rest) .. arg:sub(WRITE_BOUND_AT + 2))
    return WRITTEN .. version
end

local function rules()
-- The success of a once key, as long as somebody may want to know of it (P18).
--
-- Counterpart of src/once.rs and of what src/encoding.rs writes before the record proper; nothing if none is kept:
--   'SO' version:1  incarnation:16 seq:8 fence:8 finished:8 window_end:8 length:4 result                (times in us)
-- The first three name the turn whose success it is. No short way knows such a record.

local KEPT_VERSION, KEPT, KEPT_BYTES = 1, '<c2I1c16I8I8I8I8I4', 55
local RESULT_KEPT_MIN = 60000000

-- What is kept, if anything, and the record proper.
local function split(raw)
    if raw:sub(1, 2) ~= 'SO' then
        return nil, raw
    end
    if #raw < KEPT_BYTES then
        error({ 'corrupt: it ends within a success' })
    end
    local _, version, inc, seq, fence, finished, window_end, length, at = unpack_at(KEPT, raw)
    if version > KEPT_VERSION then
        error({ 'record_too_new: it has format ' .. version .. ', this version reads up to ' .. KEPT_VERSION })
    end
    if version < 1 or #raw < KEPT_BYTES + length then
        error({ 'corrupt: it ends within a result' })
    end
    local result = raw:sub(at, at + length - 1)
    local kept =
        { inc = inc, seq = seq, fence = fence, finished = finished, window_end = window_end, result = result }
    return kept, raw:sub(at + length)
end

local function kept_bytes(kept)
    return pack(KEPT, 'SO', KEPT_VERSION, kept.inc, kept.seq, kept.fence, kept.finished, kept.window_end, #kept.result)
        .. kept.result
end

-- Past this instant nobody can want to know of it.
local function kept_until(kept)
    return math.max(kept.window_end, kept.finished + RESULT_KEPT_MIN)
end

local function finished(kept)
    return FINISHED .. pack('<I8I8', kept.finished, kept.window_end) .. kept.result
end
-- The rules that several operations share (P1, P2, P3, P7, P9), on a record that was taken apart.
--
-- Counterpart of src/record.rs, function by function and name by name: change both or none.

-- What was taken by force: all that follows in format 2.
local function decode_forced(raw, at)
    local forced = {}
    local function cut()
        error({ 'corrupt: what was taken by force is not as long as it says' })
    end
    local count = #raw >= at + 3 and unpack_at('<I4', raw, at) or cut()
    at = at + 4
    for i = 1, count do
        if #raw < at + FORCED_BYTES - 1 then
            cut()
        end
        local inc, seq, due, by, length, following = unpack_at(FORCED, raw, at)
        at = following + length
        if #raw < at - 1 then
            cut()
        end
        forced[i] = { inc = inc, seq = seq, due = due, by = by, reason = raw:sub(following, at - 1) }
    end
    if count == 0 or at <= #raw then
        cut()
    end
    return forced
end

-- Refuses to touch what it can not read; the caller reports the message.
local function decode(whole)
    local kept, raw = split(whole)
    if #raw < HEADER_BYTES or raw:sub(1, 2) ~= 'SL' then
        error({ 'corrupt: it does not begin like a record' })
    end
    local _, version, _, last, limit, tenures, queue, _, done, at = unpack_at(HEADER, raw)
    if version > VERSION then
        error({ 'record_too_new: it has format ' .. version .. ', this version reads up to ' .. VERSION })
    end
    local rest = #raw - (HEADER_BYTES + tenures * TENURE_BYTES + queue * ENTRY_BYTES + done * DONE_BYTES)
    if version < 1 or rest < 0 or (rest > 0) ~= (version > PLAIN) then
        error({ 'corrupt: its length does not match what it says it contains' })
    end
    local record = { last = last, limit = limit, tenures = {}, queue = {}, done = {}, kept = kept }
    for i = 1, tenures do
        local inc, seq, units, due, first, final, following = unpack_at(TENURE, raw, at)
        record.tenures[i] = { inc = inc, seq = seq, units = units, due = due, first = first, last = final }
        at = following
    end
    for i = 1, queue do
        local inc, seq, units, due, flags, following = unpack_at(ENTRY, raw, at)
        record.queue[i] = { inc = inc, seq = seq, units = units, due = due, offered = flags % 2 == OFFERED,
            upgrade = flags % 4 >= UPGRADE }
        at = following
    end
    for i = 1, done do
        local inc, seq, due, following = unpack_at(DONE, raw, at)
        record.done[i] = { inc = inc, seq = seq, due = due }
        at = following
    end
    record.forced = version > PLAIN and decode_forced(raw, at) or {}
    return record
end

local function blank(limit)
    return { last = 0, limit = limit, tenures = {}, queue = {}, done = {}, forced = {} }
end

-- The step's one write, and its last act.
local function store(record)
    local parts, first_due, last_due, offers = { '' }, math.huge, 0, 0
    local function put(due, bytes)
        first_due, last_due = math.min(first_due, due), math.max(last_due, due)
        parts[#parts + 1] = bytes
    end
    for _, t in ipairs(record.tenures) do
        put(t.due, pack(TENURE, t.inc, t.seq, t.units, t.due, t.first, t.last))
    end
    for _, e in ipairs(record.queue) do
        offers = offers + (e.offered and 1 or 0)
        local flags = (e.offered and OFFERED or 0) + (e.upgrade and UPGRADE or 0)
        put(e.due, pack(ENTRY, e.inc, e.seq, e.units, e.due, flags))
    end
    for _, d in ipairs(record.done) do
        put(d.due, pack(DONE, d.inc, d.seq, d.due))
    end
    if #record.forced > 0 then
        parts[#parts + 1] = pack('<I4', #record.forced)
    end
    for _, f in ipairs(record.forced) do
        put(f.due, pack(FORCED, f.inc, f.seq, f.due, f.by, #f.reason) .. f.reason)
    end
    local kept = record.kept
    if #parts == 1 and not kept then
        redis.call('DEL', key)
        return
    end
    if #parts == 1 then
        first_due = 0
    end
    if kept then
        last_due = math.max(last_due, kept_until(kept))
    end
    local version = #record.forced > 0 and VERSION or PLAIN
    parts[1] = (kept and kept_bytes(kept) or '') .. pack(HEADER, 'SL', version, first_due, record.last, record.limit,
        #record.tenures, #record.queue, offers, #record.done)
    local only_done = #record.tenures + #record.queue == 0
    local after = only_done and GARBAGE_DONE_MS or GARBAGE_MS
    redis.call('SET', key, table.concat(parts), 'PX', math.ceil((last_due - now) / 1000) + after)
end

local function of(list, inc)
    for i, item in ipairs(list) do
        if item.inc == inc then
            return item, i
        end
    end
end

-- The place of exactly this tenure or entry (P7).
local function find(list, inc, seq)
    local item, i = of(list, inc)
    if item and item.seq == seq then
        return item, i
    end
end

local function units_of(record, inc)
    local tenure = of(record.tenures, inc)
    return tenure and tenure.units or 0
end

-- Units bound by tenures and offers: per incarnation, the greater of the two.
local function used(record)
    local sum = 0
    for _, t in ipairs(record.tenures) do
        sum = sum + t.units
    end
    for _, e in ipairs(record.queue) do
        if e.offered then
            sum = sum + math.max(0, e.units - units_of(record, e.inc))
        end
    end
    return sum
end

-- Somebody else waits and does not fit.
local function contended(record, me)
    for _, e in ipairs(record.queue) do
        if not e.offered and e.inc ~= me then
            return 1
        end
    end
    return 0
end

-- Whether the entry's units are free, given the units in use with the entry's own offer not among them.
local function fits(record, in_use, entry)
    return in_use - units_of(record, entry.inc) + entry.units <= record.limit
end

-- Offers from the head of the queue what fits, and stops at the first entry that does not (P9).
local function offer_on(record)
    local in_use
    for _, e in ipairs(record.queue) do
        if not e.offered then
            in_use = in_use or used(record)
            if not fits(record, in_use, e) then
                break
            end
            in_use = in_use + math.max(0, e.units - units_of(record, e.inc))
            e.offered, e.due = true, now + OFFER_TTL
            wake(e.inc, OFFER, e.inc, e.seq)
        end
    end
end

local function still(list, instant)
    local kept = {}
    for _, item in ipairs(list) do
        if item.due > instant then
            kept[#kept + 1] = item
        end
    end
    return kept
end

-- How every operation begins: drops what is due, offers what that makes free.
local function settle(record)
    record.tenures = still(record.tenures, now)
    record.queue = still(record.queue, now)
    record.done = still(record.done, now - 1)
    record.forced = still(record.forced, now)
    if record.kept and kept_until(record.kept) <= now then
        record.kept = nil
    end
    offer_on(record)
end

-- Shrinks a tenure to `keep` units, or ends it at 0. An ended one gives its unused fences back if nothing was reserved
-- after them; `issued` is nil where it is not known.
local function keep_units(record, tenure, i, keep, issued)
    tenure.units = math.min(tenure.units, keep)
    if tenure.units > 0 then
        return
    end
    table.remove(record.tenures, i)
    if issued and tenure.last == record.last then
        record.last = math.max(tenure.first - 1, math.min(issued, tenure.last))
    end
end

-- Remembers that asks up to this one are over (P7). No tombstone is wanted where `due` is 0.
local function bury(record, inc, seq, due)
    if due == 0 or due < now then
        return
    end
    local done = of(record.done, inc)
    if done then
        done.seq, done.due = math.max(done.seq, seq), math.max(done.due, due)
    else
        record.done[#record.done + 1] = { inc = inc, seq = seq, due = due }
    end
end

local function granted(record, t)
    return granted_answer(t.units, t.due - now, t.first, t.last, contended(record, t.inc))
end

-- What an incarnation is told that has not shown to know of its tenure's end by force (P19).
local function taken(record, inc)
    local forced = of(record.forced, inc)
    return forced and TAKEN .. pack('<I8I4', forced.seq, forced.by) .. forced.reason, forced
end

-- There is no such tenure: was it taken, it or what it had grown into?
local function taken_or_gone(record, inc, seq)
    local answer, forced = taken(record, inc)
    return answer and forced.seq >= seq and answer or GONE
end

-- Its sidecar has ended everything that stood on this tenure.
local function acknowledged(record, inc, seq)
    local _, i = find(record.forced, inc, seq)
    if i then
        table.remove(record.forced, i)
    end
end
-- ask: enter the queue, refresh the place in it, take up an offer, or repeat a granted ask.
--
-- Argument  '\1' incarnation:16 seq:8 units:4 limit:4 ttl:8 entry_ttl:8 floor:8 refuse_after:8 upgrade:1
--           [ back_seq:8 back_keep:4 back_issued:8 ] [ waiting_since:8 ]                        (times in us)
--           the last for a once key, and only there
-- Answers   granted | queued ahead:4 retry_us:8 [ holder:16 ] | stale | too_late | limit_mismatch limit:4
--           | clock_regressed | upgrade_conflict upgrader:16 | taken (see force) | finished (see finish)
-- Keeps     units in use never exceed the limit; nobody is granted past another's entry (P9); one range of fences, all
--           above `last`, per tenure (P1); an ask that is over, or older than `refuse_after`, does nothing (P7).

-- Done with, or followed by a newer ask of the same incarnation (P7).
local function overtaken(record, me, seq)
    local done, tenure, entry = of(record.done, me), of(record.tenures, me), of(record.queue, me)
    return done and seq <= done.seq or tenure and seq < tenure.seq or entry and seq < entry.seq
end

-- Another incarnation whose upgrade is in the queue (P16).
local function other_upgrader(record, me)
    for _, e in ipairs(record.queue) do
        if e.upgrade and e.inc ~= me then
            return e.inc
        end
    end
end

-- Puts the ask in the queue, or refreshes its place there: where it stands, and whether it is new.
local function enter(record, me, seq, units, entry_ttl, upgrade)
    local entry, i = of(record.queue, me)
    if entry and entry.seq == seq then
        local offered = entry.offered
        entry.units, entry.offered = units, false
        entry.offered = offered and fits(record, used(record), entry)
        if not entry.offered then
            entry.due = now + entry_ttl
        end
        return entry, i, false
    end
    if entry then
        table.remove(record.queue, i)
    end
    entry = { inc = me, seq = seq, units = units, due = now + entry_ttl, offered = false, upgrade = upgrade }
    -- Ahead of offers too: one that is not taken up but grows would wait for the upgrader's share.
    i = upgrade and 1 or #record.queue + 1
    table.insert(record.queue, i, entry)
    return entry, i, true
end

-- The offer becomes the incarnation's tenure, in the place of an older one (P3). What the older one was confirmed to
-- last is never shortened: leases may stand on it.
local function take_up(record, entry, place, ttl, floor)
    table.remove(record.queue, place)
    local first, last = reserve(record.last, floor)
    record.last = last
    local older = of(record.tenures, entry.inc)
    local tenure = older or {}
    tenure.due = math.max(now + ttl, older and older.due or 0)
    tenure.inc, tenure.seq, tenure.units, tenure.first, tenure.last = entry.inc, entry.seq, entry.units, first, last
    if not older then
        record.tenures[#record.tenures + 1] = tenure
    end
    -- It may be smaller than the older one.
    offer_on(record)
    return granted(record, tenure)
end

-- Tells every other holder that this ask waits.
local function recall(record, me, seq)
    for _, t in ipairs(record.tenures) do
        if t.inc ~= me then
            wake(t.inc, RECALL, me, seq)
        end
    end
end

local function queued(record, entry, place)
    local due, holder
    local function in_the_way(item)
        if item.inc ~= entry.inc then
            due, holder = math.min(due or item.due, item.due), holder or item.inc
        end
    end
    for _, t in ipairs(record.tenures) do
        in_the_way(t)
    end
    for _, e in ipairs(record.queue) do
        if e.offered then
            in_the_way(e)
        end
    end
    -- Nobody else in the way: the head waits for units of this very sidecar, or for more than there are.
    due = due or record.queue[1].due
    return QUEUED .. pack('<I4I8', place - 1, math.max(0, due - now)) .. (holder or '')
end

-- Whether `entry` is the first that is not offered.
local function is_head(record, entry)
    for _, e in ipairs(record.queue) do
        if not e.offered then
            return e == entry
        end
    end
end

-- The success that answers this ask, if there is one. Then nothing of the ask stays in the queue (P18).
local function already_done(record, me, waiting_since)
    local kept = record.kept
    if kept and waiting_since and (now < kept.window_end or waiting_since <= kept.finished) then
        local _, place = of(record.queue, me)
        if place then
            table.remove(record.queue, place)
            offer_on(record)
        end
        return finished(kept)
    end
end

local function ask(raw, arg)
    local me, seq, units, limit, ttl, entry_ttl, floor, refuse_after, upgrade, at =
        unpack_at('<c16I8I4I4I8I8I8I8I1', arg, 2)
    if floor > now + CLOCK_REGRESSION_MAX then
        return CLOCK_REGRESSED
    end
    local record = raw and decode(raw) or blank(limit)
    settle(record)
    if now > refuse_after then
        return TOO_LATE, record
    end
    local waiting_since
    if (#arg + 1 - at) % 20 == 8 then
        waiting_since = unpack_at('<I8', arg, #arg - 7)
    end
    if at + 20 <= #arg + 1 then
        local back_seq, back_keep, back_issued = unpack_at('<I8I4I8', arg, at)
        local tenure, i = find(record.tenures, me, back_seq)
        if tenure then
            keep_units(record, tenure, i, back_keep, back_issued)
            offer_on(record)
        elseif back_keep == 0 then
            acknowledged(record, me, back_seq)
        end
    end
    local forced = taken(record, me)
    if forced then
        return forced, record
    end
    local tenure = find(record.tenures, me, seq)
    if tenure then
        return granted(record, tenure), record
    end
    if overtaken(record, me, seq) then
        return STALE, record
    end
    local answer = already_done(record, me, waiting_since)
    if answer then
        return answer, record
    end
    if (#record.tenures > 0 or #record.queue > 0) and record.limit ~= limit then
        recall(record, me, seq)
        return LIMIT_MISMATCH .. pack('<I4', record.limit), record
    end
    upgrade = upgrade == 1 and of(record.tenures, me) ~= nil and not find(record.queue, me, seq)
    local upgrader = upgrade and other_upgrader(record, me)
    if upgrader then
        return UPGRADE_CONFLICT .. upgrader, record
    end
    record.limit = limit
    local entry, place, entered = enter(record, me, seq, units, entry_ttl, upgrade)
    offer_on(record)
    -- Of an own offer the reply tells.
    for i = #wakes, 1, -1 do
        if wakes[i].to == me then
            table.remove(wakes, i)
        end
    end
    if entry.offered then
        return take_up(record, entry, place, ttl, floor), record
    end
    -- Whoever enters says so to the holders; after that it is enough that the head repeats it.
    if entered or is_head(record, entry) then
        recall(record, me, seq)
    end
    return queued(record, entry, place), record
end
-- renew: extend a tenure, and reserve more fences for it if wanted.
--
-- Argument  '\2' incarnation:16 seq:8 ttl:8 floor:8 top_up:1                                      (times in us)
-- Answers   renewed remaining_ms:8 contended:1 [ first:8 last:8 ] | gone | clock_regressed | taken (see force)
-- Keeps     only exactly this tenure is extended, never shortened, never created (P7).

local function renew(raw, arg)
    local me, seq, ttl, floor, top_up = unpack_at('<c16I8I8I8I1', arg, 2)
    if floor > now + CLOCK_REGRESSION_MAX then
        return CLOCK_REGRESSED
    end
    if not raw then
        return GONE
    end
    local record = decode(raw)
    settle(record)
    local tenure = find(record.tenures, me, seq)
    if not tenure then
        return taken_or_gone(record, me, seq), record
    end
    local range = ''
    if top_up == 1 then
        tenure.first, tenure.last = reserve(record.last, floor)
        record.last = tenure.last
        range = pack('<I8I8', tenure.first, tenure.last)
    end
    tenure.due = math.max(tenure.due, now + ttl)
    return RENEWED .. pack('<I8I1', math.floor((tenure.due - now) / 1000), contended(record, me)) .. range, record
end
-- give_back: return all but `keep` units of a tenure, and offer on.
--
-- Argument  '\3' incarnation:16 seq:8 keep:4 issued:8 tombstone:8                    (times in us, 0: no tombstone)
-- Answers   returned | gone | taken (see force)
-- Keeps     only exactly this tenure shrinks, however late or often this arrives (P7); with a tombstone, the ask that
--           made it can not come back, whatever the answer.

local function give_back(raw, arg)
    local me, seq, keep, issued, tombstone = unpack_at('<c16I8I4I8I8', arg, 2)
    if not raw and tombstone == 0 then
        return GONE
    end
    local record = raw and decode(raw) or blank(0)
    settle(record)
    bury(record, me, seq, tombstone)
    local tenure, i = find(record.tenures, me, seq)
    if not tenure then
        local answer = taken_or_gone(record, me, seq)
        if keep == 0 then
            acknowledged(record, me, seq)
        end
        return answer, record
    end
    keep_units(record, tenure, i, keep, issued)
    offer_on(record)
    return RETURNED, record
end
-- withdraw: undo an ask, whatever became of it. Queued or offered: removed; granted: shrunk to `keep` units.
--
-- Argument  '\4' incarnation:16 seq:8 keep:4 tombstone:8                             (times in us, 0: no tombstone)
-- Answers   withdrawn | granted (as in ask: a tenure of `keep` units stands) | taken (see force)
-- Keeps     as give_back. `last` stays: whether a fence was handed out under the tenure is not known.

local function withdraw(raw, arg)
    local me, seq, keep, tombstone = unpack_at('<c16I8I4I8', arg, 2)
    if not raw and tombstone == 0 then
        return WITHDRAWN
    end
    local record = raw and decode(raw) or blank(0)
    settle(record)
    bury(record, me, seq, tombstone)
    local _, place = find(record.queue, me, seq)
    if place then
        table.remove(record.queue, place)
    end
    local forced = taken(record, me)
    if keep == 0 then
        acknowledged(record, me, seq)
    elseif forced then
        offer_on(record)
        return forced, record
    end
    local tenure, i = find(record.tenures, me, seq)
    if tenure then
        keep_units(record, tenure, i, keep)
    end
    offer_on(record)
    if tenure and tenure.units > 0 then
        return granted(record, tenure), record
    end
    return WITHDRAWN, record
end
-- finish: end a turn of a once key with success.
--
-- Argument  '\6' incarnation:16 seq:8 fence:8 granted:8 per:8 align:1 refuse_after:8 result        (times in us)
--           align: 0 the window begins with the grant, 1 at whole multiples of `per` since the epoch
-- Answers   finished finished:8 window_end:8 result | gone | too_late | taken (see force)
-- Keeps     one success per turn: only exactly this tenure, under a fence that it reserved, and what repeats it is told
--           the same; the tenure is over, and whoever waits in the queue is woken to hear of it (P18).

local function finish(raw, arg)
    local me, seq, fence, granted_at, per, align, refuse_after, at = unpack_at('<c16I8I8I8I8I1I8', arg, 2)
    if not raw then
        return now > refuse_after and TOO_LATE or GONE
    end
    local record = decode(raw)
    settle(record)
    if now > refuse_after then
        return TOO_LATE, record
    end
    local kept = record.kept
    if kept and kept.inc == me and kept.seq == seq and kept.fence == fence then
        return finished(kept), record
    end
    local tenure, i = find(record.tenures, me, seq)
    -- A range that was topped up begins later than the first token of its tenure.
    if not tenure or fence > tenure.last then
        return taken_or_gone(record, me, seq), record
    end
    keep_units(record, tenure, i, 0, fence)
    for _, e in ipairs(record.queue) do
        if e.inc ~= me then
            wake(e.inc, OFFER, e.inc, e.seq)
        end
    end
    record.queue = {}
    granted_at = math.min(granted_at, now)
    local window_end = align == 1 and (math.floor(granted_at / per) + 1) * per or granted_at + per
    kept = { inc = me, seq = seq, fence = fence, finished = now, window_end = window_end, result = arg:sub(at) }
    record.kept = kept
    return finished(kept), record
end
-- publish, read_board: what a sidecar writes down about itself, under a key of its own (P15). No record is touched.
--
-- Argument  publish: '\10' version:8 ttl:8 refuse_after:8 body         (times in us; an empty body takes the board down)
--           read:    '\11'
-- Answers   published | too_late | board [ body ]
-- Keeps     a board is followed by newer ones only, however late or often it arrives: one that was taken down is as well
--           known as another for as long. What is stored is version:8 body.

local function publish(raw, arg)
    local version, ttl, refuse_after, at = unpack_at('<I8I8I8', arg, 2)
    if now > refuse_after then
        return TOO_LATE
    end
    if not raw or #raw < 8 or unpack_at('<I8', raw) < version then
        redis.call('SET', key, pack('<I8', version) .. arg:sub(at), 'PX', math.ceil(ttl / 1000))
    end
    return PUBLISHED
end

local function read_board(raw)
    return BOARD .. (raw and raw:sub(9) or '')
end
-- peek: look at a record.
--
-- Argument  '\12'
-- Answers   record limit:4 tenures:4 queue:4, tenures x [ incarnation:16 seq:8 units:4 remaining_ms:8 ],
--           queue x [ incarnation:16 seq:8 units:4 offered:1 ]: the first PEEKED_MAX of each that are not due
-- Keeps     nothing is written, nobody is offered anything; a queue of thousands is not taken apart.

local function peek(whole)
    if not whole then
        return RECORD .. pack('<I4I4I4', 0, 0, 0)
    end
    local _, raw = split(whole)
    if #raw < HEADER_BYTES or raw:sub(1, 3) ~= 'SL\1' then
        -- Says what is wrong with it.
        decode(raw)
    end
    local _, _, _, _, limit, tenures, queue, _, done = unpack_at(HEADER, raw)
    if #raw ~= HEADER_BYTES + tenures * TENURE_BYTES + queue * ENTRY_BYTES + done * DONE_BYTES then
        decode(raw)
    end
    local held, waiting = {}, {}
    for i = 0, math.min(tenures, PEEKED_MAX) - 1 do
        local inc, seq, units, due = unpack_at(TENURE, raw, HEADER_BYTES + 1 + i * TENURE_BYTES)
        if due > now then
            held[#held + 1] = pack('<c16I8I4I8', inc, seq, units, math.floor((due - now) / 1000))
        end
    end
    local from = HEADER_BYTES + 1 + tenures * TENURE_BYTES
    for i = 0, math.min(queue, PEEKED_MAX) - 1 do
        local inc, seq, units, due, offered = unpack_at(ENTRY, raw, from + i * ENTRY_BYTES)
        if due > now then
            waiting[#waiting + 1] = pack('<c16I8I4I1', inc, seq, units, offered % 2)
        end
    end
    return RECORD .. pack('<I4I4I4', limit, #held, #waiting) .. table.concat(held) .. table.concat(waiting)
end
-- force: end every tenure of a key and every offer, by order of a person (P19).
--
-- Counterpart of src/force.rs; what the victims are told is in record.lua.
--
-- Argument  '\13' incarnation:16 seq:8 (0) refuse_after:8 by:4 reason                                  (times in us)
-- Answers   unlocked { incarnation:16 seq:8 units:4 left_us:8 } per tenure | too_late
--           To ask, renew, give_back and withdraw of a victim:  taken seq:8 by:4 reason
-- Keeps     `last` stays the highest fence ever reserved; a tenure that was taken can not come back, and is remembered
--           until its deadline or until its sidecar gives it back whole, whichever is first.

local function force(raw, arg)
    local from, _, refuse_after, by, at = unpack_at('<c16I8I8I4', arg, 2)
    if not raw then
        return now > refuse_after and TOO_LATE or UNLOCKED
    end
    local record = decode(raw)
    settle(record)
    if now > refuse_after then
        return TOO_LATE, record
    end
    local reason, answer, tenures = arg:sub(at), { UNLOCKED }, record.tenures
    record.tenures = {}
    for _, t in ipairs(tenures) do
        answer[#answer + 1] = pack('<c16I8I4I8', t.inc, t.seq, t.units, t.due - now)
        -- Copies of its ask may still be on their way, and none was sent later than now.
        bury(record, t.inc, t.seq, now + REFUSE_AFTER)
        record.forced[#record.forced + 1] = { inc = t.inc, seq = t.seq, due = t.due, by = by, reason = reason }
        if t.inc ~= from then
            wake(t.inc, LOST, t.inc, t.seq)
        end
    end
    for i = #record.queue, 1, -1 do
        if record.queue[i].offered then
            table.remove(record.queue, i)
        end
    end
    offer_on(record)
    return table.concat(answer), record
end

return { ask, renew, give_back, withdraw, [6] = finish, [10] = publish, [11] = read_board, [12] = peek, [13] = force, store = store }
end

local function registers()
-- register: read a value, write it, delete it (P17).
--
-- Counterpart of src/register.rs, function by function and name by name: change both or none. The body of a function, as the
-- rules of locks are; it is only called where a call has a register's operation in it.
--
-- Argument  '\7' known:1 number:8 incarnation:16 seq:8 watch:1 watcher:16 ttl:8 bound           read; times in us
--             known: 0 nothing, 1 absent, 2 this version
--           '\8' incarnation:16 seq:8 refuse_after:8 condition:1 number:8 incarnation:16 seq:8 bound put:1 value   write
--             condition: 0 any, 1 absent, 2 present, 3 this version; put: 0 deletes
--           bound  0  |  1 incarnation:16 seq:8 fence:8: under this lease of the lock with the same text
-- Answers   register number:8 incarnation:16 seq:8 value | absent | unchanged | written number:8 incarnation:16 seq:8
--           | conflict [ number:8 incarnation:16 seq:8 value ] | stale_fence | stale | too_late
-- Keeps     a write runs once, however often and late its copies arrive (P7); nobody reads or writes under a lease whose
--           tenure does not stand, or after one with a greater fence; versions rise.
--
-- Format 1, little endian:
--   'SR' version:1  number:8 incarnation:16 seq:8  repeats_due:8 fence_seen:8 due:8 present:1  done:4 watchers:4
--   done     x [ number:8 incarnation:16 seq:8 due:8 ]
--   watchers x [ incarnation:16 due:8 ]
--   value, where `present`; else the register is forgotten at `due`

local WRITTEN_BEFORE, WATCHER = '<I8c16I8I8', '<c16I8'
local ETAG = '<I8c16I8'
local ABSENT_TTL = 10000000
local NOBODY = ('\0'):rep(16)

local function decode(raw)
    if not raw then
        return { number = 0, inc = NOBODY, seq = 0, repeats = 0, seen = 0, due = 0, done = {}, watchers = {} }
    end
    if #raw < REGISTER_BYTES or raw:sub(1, 2) ~= 'SR' then
        error({ 'corrupt: it does not begin like a register' })
    end
    local _, version, number, inc, seq, repeats, seen, due, present, done, watchers, at = unpack_at(REGISTER, raw)
    if version > 1 then
        error({ 'record_too_new: it has format ' .. version .. ', this version reads up to 1' })
    end
    local value_at = REGISTER_BYTES + 1 + done * WRITTEN_BEFORE_BYTES + watchers * WATCHER_BYTES
    if version < 1 or present > 1 or value_at > #raw + 1 or present == 0 and value_at ~= #raw + 1 then
        error({ 'corrupt: its length does not match what it says it contains' })
    end
    if present == 0 and due <= now then
        return decode(nil)
    end
    local register = { number = number, inc = inc, seq = seq, repeats = repeats, seen = seen, due = due,
        value = present == 1 and raw:sub(value_at) or nil, done = {}, watchers = {} }
    for _ = 1, done do
        local d_number, d_inc, d_seq, d_due, following = unpack_at(WRITTEN_BEFORE, raw, at)
        if d_due >= now then
            register.done[#register.done + 1] = { number = d_number, inc = d_inc, seq = d_seq, due = d_due }
        end
        at = following
    end
    for _ = 1, watchers do
        local w_inc, w_due, following = unpack_at(WATCHER, raw, at)
        if w_due > now then
            register.watchers[#register.watchers + 1] = { inc = w_inc, due = w_due }
        end
        at = following
    end
    return register
end

-- The step's one write, and its last act.
local function store(register)
    local parts = { pack(REGISTER, 'SR', 1, register.number, register.inc, register.seq, register.repeats, register.seen,
        register.due, register.value and 1 or 0, #register.done, #register.watchers) }
    for _, d in ipairs(register.done) do
        parts[#parts + 1] = pack(WRITTEN_BEFORE, d.number, d.inc, d.seq, d.due)
    end
    for _, w in ipairs(register.watchers) do
        parts[#parts + 1] = pack(WATCHER, w.inc, w.due)
    end
    parts[#parts + 1] = register.value
    if register.value then
        redis.call('SET', key, table.concat(parts))
    else
        redis.call('SET', key, table.concat(parts), 'PX', math.max(1, math.ceil((register.due - now) / 1000)))
    end
end

-- Without a value it is remembered until then at least.
local function stay(register, due)
    if not register.value then
        register.due = math.max(register.due, due)
    end
end

-- Whether the lock's record has this tenure, with fences up to this one.
local function stands(lock_key, id, fence)
    local raw = redis.call('GET', lock_key)
    if not raw or #raw < HEADER_BYTES or raw:sub(1, 2) ~= 'SL' then
        return false
    end
    local _, version, _, _, _, tenures = unpack_at(HEADER, raw)
    if version > VERSION then
        return false
    end
    local at = place(raw, id, HEADER_BYTES + 1, TENURE_BYTES, tenures)
    if not at then
        return false
    end
    local _, _, _, due, _, last = unpack_at(TENURE, raw, at)
    return due > now and fence <= last
end

-- Whether the lease that the operation is bound to stands, where its argument begins at `at`; if so, no earlier one gets in
-- after it. The second result: where the next field begins.
local function enters(register, arg, at, lock_key)
    if arg:byte(at) == 0 then
        return true, at + 1
    end
    local id, fence = arg:sub(at + 1, at + 24), unpack_at('<I8', arg, at + 25)
    if not stands(lock_key, id, fence) or fence < register.seen then
        return false, at + 33
    end
    if fence > register.seen then
        register.seen, register.changed = fence, true
        stay(register, now + ABSENT_TTL)
    end
    return true, at + 33
end

-- Enters a watcher, or refreshes it once half of its time is over: a refresh costs a write.
local function watch(register, inc, ttl)
    local watcher
    for _, w in ipairs(register.watchers) do
        watcher = w.inc == inc and w or watcher
    end
    if watcher and watcher.due >= now + math.floor(ttl / 2) then
        return
    end
    if not watcher then
        watcher = { inc = inc }
        register.watchers[#register.watchers + 1] = watcher
    end
    watcher.due, register.changed = now + ttl, true
    stay(register, now + ttl)
end

local function version(register)
    return register.value and pack(ETAG, register.number, register.inc, register.seq) .. register.value or ''
end

local function value_answer(register)
    return register.value and REGISTER_VALUE .. version(register) or REGISTER_ABSENT
end

-- Whether this version is what is there.
local function is_current(register, number, inc, seq)
    return register.value and register.number == number and register.inc == inc and register.seq == seq
end

local function read(raw, arg, lock_key)
    local known, number, inc, seq, watched, watcher, ttl, at = unpack_at('<I1I8c16I8I1c16I8', arg, 2)
    local register = decode(raw)
    if not enters(register, arg, at, lock_key) then
        return STALE_FENCE
    end
    if watched == 1 then
        watch(register, watcher, ttl)
    end
    local answer = value_answer(register)
    if known == 1 and not register.value or known == 2 and is_current(register, number, inc, seq) then
        answer = UNCHANGED
    end
    return answer, register.changed and register
end

-- The answer to a write that was done before, or that a later one of its incarnation followed (P7).
local function repeated(register, inc, seq)
    local mine = register.inc == inc and register
    for _, d in ipairs(register.done) do
        if d.inc == inc and (not mine or d.number > mine.number) then
            mine = d
        end
    end
    if not mine or mine.seq < seq then
        return
    end
    return mine.seq == seq and WRITTEN .. pack(ETAG, mine.number, mine.inc, mine.seq) or STALE
end

local function drop_done(register, inc)
    for i = #register.done, 1, -1 do
        if register.done[i].inc == inc then
            table.remove(register.done, i)
        end
    end
end

local function put(register, me, seq, refuse_after, value)
    drop_done(register, me)
    if register.number > 0 and register.inc ~= me and register.repeats >= now then
        drop_done(register, register.inc)
        register.done[#register.done + 1] =
            { number = register.number, inc = register.inc, seq = register.seq, due = register.repeats }
    end
    register.number = math.max(now, register.number + 1)
    register.inc, register.seq, register.repeats, register.value, register.due = me, seq, refuse_after, value, 0
    local due = now + ABSENT_TTL
    for _, w in ipairs(register.watchers) do
        due = math.max(due, w.due)
        if w.inc ~= me then
            wake(w.inc, CHANGED, me, seq)
        end
    end
    stay(register, due)
    return WRITTEN .. pack(ETAG, register.number, me, seq), register
end

local function write(raw, arg, lock_key)
    local me, seq, refuse_after, condition, number, inc, its_seq, at = unpack_at('<c16I8I8I1I8c16I8', arg, 2)
    local register = decode(raw)
    local before = repeated(register, me, seq)
    if before or now > refuse_after then
        return before or TOO_LATE
    end
    local entered, following = enters(register, arg, at, lock_key)
    if not entered then
        return STALE_FENCE
    end
    if condition == 1 and register.value or condition == 2 and not register.value
        or condition == 3 and not is_current(register, number, inc, its_seq) then
        return CONFLICT .. version(register), register.changed and register
    end
    local value = arg:byte(following) == 1 and arg:sub(following + 1) or nil
    if not value and not register.value then
        return REGISTER_ABSENT, register.changed and register
    end
    return put(register, me, seq, refuse_after, value)
end

return { [7] = read, [8] = write, store = store }
end
-- turn: the operations of one turn of a sidecar, each on its own key, one after the other.
--
-- KEYS[i]   sl:<version>:<namespace>:{<escaped key>}:<space>, the record that operation i is about and all it touches,
--           but for a register's operations that are bound to a lease: behind the others stand, in the order of those
--           operations, the records of their locks, which are read
-- ARGV[i]   the operation: a verb byte and packed fields, see the file of the verb; tell: '\5' incarnation:16 seq:8
--           free_us:8, which is 0 or says when time brings a unit back; inquire: '\14' incarnation:16 seq:8 to:16 keys;
--           declare: '\15' incarnation:16 seq:8 from:16 stands
-- Returns   { now_us, answer 1, answer 2, … }: per operation a code byte and packed fields, or '\12' and what is wrong
--           with the record; in a cluster, behind them { inbox, message, inbox, message … }
-- Keeps     a record is read once and written once, last (P2); an operation that fails has written nothing and does
--           not disturb the others; pushes go out when everything is written (P21).
-- A push    kind:1 incarnation:16 seq:8 [ free_us:8, of a busy one ] [ from:16, of a declared one ] [ length:2 keys or
--           stands, of an inquired and a declared one ] space:1 (its first letter) escaped key
--
-- One call for many operations because a call costs more than what is in it. Measured on 7.0.15, server time of a cycle
-- of ask and return on a free key: 17 us in calls of one, 8 us in calls of eight, 6.5 us in calls of 32; SET NX PX and a
-- compare-and-delete script, 3.2 us. In Redis Cluster, where a call must stay in one slot, a call has one key.

local ASK, RENEW, GIVE_BACK, TELL, READ, WRITE, INQUIRE = 1, 2, 3, 5, 7, 8, 14
local verbs, register_verbs
-- Locks that bound operations before this one had.
local locks = 0

local function short_way(verb, raw, arg)
    if not raw then
        return verb == ASK and ask_unknown(arg)
    end
    if #raw < HEADER_BYTES or raw:sub(1, 3) ~= 'SL\1' then
        return
    end
    local _, _, next_due, last, limit, tenures, queue, offers, done = unpack_at(HEADER, raw)
    if #raw ~= HEADER_BYTES + tenures * TENURE_BYTES + queue * ENTRY_BYTES + done * DONE_BYTES or now >= next_due then
        return
    end
    if verb == GIVE_BACK then
        return #raw == SINGLE_BYTES and give_back_single(raw, arg)
    elseif verb == RENEW then
        return queue == 0 and renew_in_place(raw, arg, next_due, last, limit, tenures, done)
    elseif verb == ASK then
        return queue > 0 and offers + done == 0 and ask_in_place(raw, arg, next_due, last, limit, tenures, queue)
    end
end

-- Whether it is a register's operation that looks at the lock's record too.
local function is_bound(arg)
    local verb = arg:byte(1)
    return verb == READ and arg:byte(READ_BOUND_AT) == 1 or verb == WRITE and arg:byte(WRITE_BOUND_AT) == 1
end

-- One sidecar tells another something; no record is read.
local function tell(verb, arg)
    local inc, seq = unpack_at('<c16I8', arg, 2)
    if verb == TELL then
        wake(inc, BUSY, inc, seq)
        wakes[#wakes].more = arg:sub(26, 33)
        return TOLD
    end
    local other, more = arg:sub(26, 41), pack('<I2', #arg - 41) .. arg:sub(42)
    if verb == INQUIRE then
        wake(other, INQUIRED, inc, seq)
        wakes[#wakes].more = more
    else
        wake(inc, DECLARED, inc, seq)
        wakes[#wakes].more = other .. more
    end
    return TOLD
end

local function step(arg)
    local verb = arg:byte(1)
    if verb == TELL or verb >= INQUIRE then
        return tell(verb, arg)
    end
    local raw = redis.call('GET', key)
    if verb == READ or verb == WRITE then
        local written = verb == WRITE and raw and write_over(raw, arg)
        if written then
            return written
        end
        register_verbs = register_verbs or registers()
        local answer, register = register_verbs[verb](raw, arg, KEYS[#ARGV + locks])
        if register then
            register_verbs.store(register)
        end
        return answer
    end
    local answer, record = short_way(verb, raw, arg)
    if not answer then
        verbs = verbs or rules()
        answer, record = verbs[verb](raw, arg)
    end
    if record then
        verbs.store(record)
    end
    return answer
end

local answers, pushes = { now }, {}
for i = 1, #ARGV do
    key = KEYS[i]
    if is_bound(ARGV[i]) then
        locks = locks + 1
    end
    local ok, answer = pcall(step, ARGV[i])
    if not ok then
        -- What `decode` found, or what Redis or Lua said.
        answer = FAULT .. tostring(type(answer) == 'table' and (answer[1] or answer.err) or answer)
    end
    answers[i + 1] = answer
    if #wakes > 0 then
        for _, w in ipairs(ok and wakes or {}) do
            pushes[#pushes + 1] = w
        end
        wakes = {}
    end
end

-- An inbox and what is for it, one after the other. What becomes of them stands in publish.lua and hand_over.lua.
local messages = {}
for _, w in ipairs(pushes) do
    local prefix, escaped, space = w.key:match('^(.-){(.*)}:(.)')
    messages[#messages + 1] = prefix .. 'inbox:' .. (('%02x'):rep(16)):format(w.to:byte(1, 16))
    messages[#messages + 1] = pack('<I1c16I8', w.kind, w.inc, w.seq) .. (w.more or '') .. space .. escaped
end
-- publish: how a turn ends on a single Redis, where every inbox is heard.
for i = 1, #messages, 2 do
    -- A push is a hint: one that can not be sent must not turn a written answer into an error.
    redis.pcall('PUBLISH', messages[i], messages[i + 1])
end
return answers
