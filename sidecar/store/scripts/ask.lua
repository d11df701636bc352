-- ask: enter the queue, refresh the place in it, take up an offer, or repeat a granted ask.
--
-- Argument  '\1' incarnation:16 seq:8 units:4 limit:4 ttl:8 entry_ttl:8 floor:8 refuse_after:8 upgrade:1
--           [ back_seq:8 back_keep:4 back_issued:8 ] [ waiting_since:8 ]                        (times in us)
--           the last for a once key, and only there
-- Answers   granted | queued ahead:4 retry_us:8 [ holder:16 ] | stale | too_late | limit_mismatch limit:4
--           | quarantined ahead:4 left_us:8 (see strict)
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
        entry.offered = offered and not quarantine and fits(record, used(record), entry)
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
    local tenure = older or { origin = first }
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
    if quarantine then
        return quarantined(place, quarantine.ends - now), record
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
