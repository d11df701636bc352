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
