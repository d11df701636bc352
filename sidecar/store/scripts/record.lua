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
    local known = {}
    for i = 1, tenures do
        local inc, seq, units, due, first, final, following = unpack_at(TENURE, raw, at)
        local tenure = { inc = inc, seq = seq, units = units, due = due, origin = first, first = first, last = final }
        if done > 0 then
            known[alias(inc)] = tenure
        end
        record.tenures[i], at = tenure, following
    end
    for i = 1, queue do
        local inc, seq, units, due, flags, following = unpack_at(ENTRY, raw, at)
        record.queue[i] = { inc = inc, seq = seq, units = units, due = due, offered = flags % 2 == OFFERED,
            upgrade = flags % 4 >= UPGRADE }
        at = following
    end
    for i = 1, done do
        local inc, seq, due, following = unpack_at(DONE, raw, at)
        if known[inc] then
            known[inc].origin = seq
        else
            record.done[#record.done + 1] = { inc = inc, seq = seq, due = due }
        end
        at = following
    end
    record.forced = version > PLAIN and decode_forced(raw, at) or {}
    return record
end

local function blank(limit)
    return { last = 0, limit = limit, tenures = {}, queue = {}, done = {}, forced = {} }
end

-- What is over, and the origins that are not the first fences of their tenures.
local function with_origins(record)
    local done, known = {}, {}
    for _, t in ipairs(record.tenures) do
        if t.origin ~= t.first or #record.done > 0 then
            known[alias(t.inc)] = t
        end
    end
    for _, d in ipairs(record.done) do
        -- That of a tenure before, which was ended by a version that knows no origins, is not this one's.
        if not known[d.inc] then
            done[#done + 1] = d
        end
    end
    for _, t in ipairs(record.tenures) do
        if t.origin ~= t.first then
            done[#done + 1] = { inc = alias(t.inc), seq = t.origin, due = t.due - 1 }
        end
    end
    return done
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
    local done = with_origins(record)
    for _, d in ipairs(done) do
        put(d.due, pack(DONE, d.inc, d.seq, d.due))
    end
    if #record.forced > 0 then
        parts[#parts + 1] = pack('<I4', #record.forced)
    end
    for _, f in ipairs(record.forced) do
        put(f.due, pack(FORCED, f.inc, f.seq, f.due, f.by, #f.reason) .. f.reason)
    end
    local kept = record.kept
    local ahead = record.last - forgotten_above()
    if #parts == 1 and not kept and ahead <= 0 then
        redis.call('DEL', key)
        return
    end
    if #parts == 1 then
        first_due = 0
    end
    if quarantine and #record.queue > 0 then
        -- Then settle has to offer what became free meanwhile.
        first_due = math.min(first_due, quarantine.ends)
    end
    if kept then
        last_due = math.max(last_due, kept_until(kept))
    end
    last_due = math.max(last_due, now + ahead)
    local version = #record.forced > 0 and VERSION or PLAIN
    parts[1] = (kept and kept_bytes(kept) or '') .. pack(HEADER, 'SL', version, first_due, record.last, record.limit,
        #record.tenures, #record.queue, offers, #done)
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

-- Somebody else waits and does not fit. In a quarantine nobody would get what they were given.
local function contended(record, me)
    if quarantine then
        return 0
    end
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
    if quarantine then
        -- It would only lapse, and its place in the queue with it.
        return
    end
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

-- Exactly this one is not in the list any more.
local function drop(list, inc, seq)
    local _, place = find(list, inc, seq)
    if place then
        table.remove(list, place)
    end
end

-- Remembers that asks up to this one are over (P7). A copy of it may have come after its tenure ended: nobody waits there. No
-- tombstone is wanted where `due` is 0.
local function bury(record, inc, seq, due)
    if due == 0 then
        return
    end
    drop(record.queue, inc, seq)
    if due < now then
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
    return granted_answer(t.units, t.due - now, t.origin, t.first, t.last, contended(record, t.inc))
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
    drop(record.forced, inc, seq)
end
