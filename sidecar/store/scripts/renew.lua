-- renew: extend a tenure, and reserve more fences for it if wanted.
--
-- Argument  '\2' incarnation:16 seq:8 ttl:8 floor:8 top_up:1                                      (times in us)
-- Answers   renewed remaining_ms:8 origin:8 contended:1 [ first:8 last:8 ] | gone | clock_regressed | taken (see force)
--           | quarantined 0:4 left_us:8 | forgotten (see strict)
-- Keeps     only exactly this tenure is extended, never shortened, never created (P7).

local function renew(raw, arg)
    local me, seq, ttl, floor, top_up = unpack_at('<c16I8I8I8I1', arg, 2)
    if floor > now + CLOCK_REGRESSION_MAX then
        return CLOCK_REGRESSED
    end
    local wait = quarantine and too_soon_to_extend()
    if not raw then
        return wait or quarantine and FORGOTTEN or GONE
    end
    local record = decode(raw)
    settle(record)
    if wait then
        return wait, record
    end
    local tenure = find(record.tenures, me, seq)
    if not tenure then
        return (quarantine and forgotten_or_gone or taken_or_gone)(record, me, seq), record
    end
    local range = ''
    -- In a quarantine the record may know less than was reserved.
    if top_up == 1 and not quarantine then
        tenure.first, tenure.last = reserve(record.last, floor)
        record.last = tenure.last
        range = pack('<I8I8', tenure.first, tenure.last)
    end
    tenure.due = math.max(tenure.due, now + ttl)
    return renewed_answer(tenure.due, tenure.origin, contended(record, me), range), record
end
