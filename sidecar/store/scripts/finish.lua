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
