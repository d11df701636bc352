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
