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
