-- reassert: put back a live tenure that the store forgot, or renew it. Only where the store is strict.
--
-- Argument  '\9' incarnation:16 seq:8 units:4 limit:4 origin:8 first:8 last:8 ttl:8 refuse_after:8   (times in us)
-- Answers   renewed remaining_ms:8 origin:8 contended:1 | gone | too_late | quarantined 0:4 left_us:8 | taken (see force)
-- Keeps     nothing that was reserved later is displaced by what was reserved before it; what is over stays so (P7); no
--           fences are reserved.
--
-- Counterpart of src/strict.rs.

-- Its incarnation is done with it, or has another one in its stead.
local function is_over(record, me, seq)
    local done, tenure = of(record.done, me), of(record.tenures, me)
    return done and seq <= done.seq or tenure and seq < tenure.seq
end

-- There is no such tenure: was it taken, is it over, or was it forgotten?
local function forgotten_or_gone(record, me, seq)
    local answer = taken_or_gone(record, me, seq)
    return answer == GONE and not is_over(record, me, seq) and FORGOTTEN or answer
end

-- Puts a tenure in that the record does not have, if that is for this record to believe.
local function put_back(record, tenure, limit)
    local me = tenure.inc
    if not quarantine or taken(record, me) or is_over(record, me, tenure.seq) then
        return
    end
    local newest = tenure.first > record.last
    local _, older = of(record.tenures, me)
    if older then
        -- One that it grew out of.
        table.remove(record.tenures, older)
    end
    local in_use = 0
    for _, t in ipairs(record.tenures) do
        in_use = in_use + t.units
    end
    local same_limit = record.limit == limit or #record.tenures == 0
    if not (same_limit and in_use + tenure.units <= limit) then
        if not newest then
            return
        end
        -- What was reserved before it, and does not fit beside it, was over when it began.
        record.tenures = {}
    end
    record.limit, record.last = limit, math.max(record.last, tenure.last)
    record.tenures[#record.tenures + 1] = tenure
    return tenure
end

local function reassert(raw, arg)
    local me, seq, units, limit, origin, first, last, ttl, refuse_after = unpack_at('<c16I8I4I4I8I8I8I8I8', arg, 2)
    local record = raw and decode(raw) or blank(limit)
    settle(record)
    if now > refuse_after then
        return TOO_LATE, record
    end
    local wait = quarantine and too_soon_to_extend()
    if wait then
        return wait, record
    end
    local mine = { inc = me, seq = seq, units = units, due = now, origin = origin, first = first, last = last }
    local tenure = find(record.tenures, me, seq) or put_back(record, mine, limit)
    if not tenure then
        return taken_or_gone(record, me, seq), record
    end
    tenure.units, tenure.due = math.min(tenure.units, units), math.max(tenure.due, now + ttl)
    return renewed_answer(tenure.due, tenure.origin, contended(record, me), ''), record
end
